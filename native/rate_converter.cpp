#include "rate_converter.h"

#include <algorithm>

namespace sdpserver {
namespace {

/// As VoIP uses it: aliases are 60 dB down, for 3 us per 20 ms.
constexpr int kQuality = SPEEX_RESAMPLER_QUALITY_VOIP;

}  // namespace

void RateConverter::set_rates(uint32_t from_hz, uint32_t to_hz) {
    if (from_hz == from_hz_ && to_hz == to_hz_) return;
    from_hz_ = from_hz;
    to_hz_ = to_hz;
    int error = RESAMPLER_ERR_SUCCESS;
    state_.reset(from_hz == to_hz ? nullptr : speex_resampler_init(1, from_hz, to_hz, kQuality, &error));
}

size_t RateConverter::convert(std::span<const int16_t> in, std::span<int16_t> out) {
    if (!state_) {
        const size_t count = std::min(in.size(), out.size());
        std::copy_n(in.begin(), count, out.begin());
        return count;
    }
    auto taken = static_cast<spx_uint32_t>(in.size());
    auto made = static_cast<spx_uint32_t>(out.size());
    speex_resampler_process_int(state_.get(), 0, in.data(), &taken, out.data(), &made);
    return made;
}

void RateConverter::reset() {
    if (state_) speex_resampler_reset_mem(state_.get());
}

}  // namespace sdpserver
