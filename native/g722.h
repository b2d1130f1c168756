#pragma once
// G.722 at 64 kbit/s (ITU-T G.722 mode 1), by spandsp, with 8 or 16 kHz on the linear side. An octet is two samples of
// 16 kHz, although its RTP clock runs at 8000 Hz (RFC 3551 section 4.5.2).

#include <memory>

#include "bytes.h"

struct g722_encode_state_s;
struct g722_decode_state_s;

namespace sdpserver {

class G722Encoder {
   public:
    /// Samples of 8 kHz, else of 16 kHz.
    explicit G722Encoder(bool narrowband);
    /// One octet for each sample of 8 kHz, or for each two of 16 kHz.
    size_t encode(std::span<const int16_t> samples, Bytes out);

   private:
    struct Free {
        void operator()(g722_encode_state_s* state) const;
    };
    std::unique_ptr<g722_encode_state_s, Free> state_;
    size_t samples_per_octet_;
};

class G722Decoder {
   public:
    explicit G722Decoder(bool narrowband);
    /// Samples written to `out`; at most as many octets are taken as it has room for.
    size_t decode(ConstBytes octets, std::span<int16_t> out);

   private:
    struct Free {
        void operator()(g722_decode_state_s* state) const;
    };
    std::unique_ptr<g722_decode_state_s, Free> state_;
    size_t samples_per_octet_;
};

}  // namespace sdpserver
