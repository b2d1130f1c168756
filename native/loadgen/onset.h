#pragma once
// When the sound that begins anew each second of the prepared audio is heard. A packet that was transcoded has nothing
// of the one that it was made of but its sound, so this is how its delay can be told, however long it is.

#include <opus.h>

#include <memory>
#include <optional>

#include "audio.h"
#include "bytes.h"

namespace sdpserver::loadgen {

class OnsetListener {
   public:
    explicit OnsetListener(Codec codec);

    /// How many samples at 8 kHz into this packet the sound begins; nothing: it does not begin here.
    std::optional<int64_t> hear(ConstBytes payload);

   private:
    bool decode(ConstBytes payload);

    Codec codec_;
    std::unique_ptr<OpusDecoder, decltype(&opus_decoder_destroy)> opus_{nullptr, opus_decoder_destroy};
    std::vector<int16_t> samples_;
    size_t quiet_ = 0;  // samples in a row
};

}  // namespace sdpserver::loadgen
