#pragma once
// Linear audio at another rate, by speexdsp.

#include <speex/speex_resampler.h>

#include <cstdint>
#include <memory>
#include <span>

namespace sdpserver {

class RateConverter {
   public:
    /// Cheap when unchanged; a change forgets what was heard.
    void set_rates(uint32_t from_hz, uint32_t to_hz);
    /// Samples written to `out`, which has room for `bound(in.size())`. Between 8 and 16 kHz exactly twice or half as
    /// many, for an even number in. The filter delays by 3 ms.
    size_t convert(std::span<const int16_t> in, std::span<int16_t> out);
    size_t bound(size_t samples) const { return samples * to_hz_ / from_hz_ + 1; }
    void reset();

   private:
    struct Free {
        void operator()(SpeexResamplerState* state) const { speex_resampler_destroy(state); }
    };

    uint32_t from_hz_ = 1;
    uint32_t to_hz_ = 1;
    std::unique_ptr<SpeexResamplerState, Free> state_;  // none while the rates are the same
};

}  // namespace sdpserver
