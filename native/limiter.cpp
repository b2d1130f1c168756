#include "limiter.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace sdpserver {
namespace {

constexpr float kFullScale = 32767.0F;

int32_t peak_of(std::span<const int32_t> samples) {
    int32_t peak = 0;
    for (const int32_t sample : samples) peak = std::max(peak, std::abs(sample));
    return peak;
}

/// Above the ceiling a curve that reaches full scale only at infinity, and goes on with the same slope where it begins.
float soft(float sample) {
    const float size = std::fabs(sample);
    if (size <= Limiter::kCeiling) return sample;
    constexpr float kRoom = kFullScale - Limiter::kCeiling;
    return std::copysign(Limiter::kCeiling + kRoom * std::tanh((size - Limiter::kCeiling) / kRoom), sample);
}

}  // namespace

Limiter::Limiter(uint32_t rate_hz) : block_samples_(rate_hz * kBlockMs / 1000), attack_samples_(rate_hz / 1000) {}

bool Limiter::passes(std::span<const int32_t> in) const {
    return gain_ == 1.0F && peak_of(in) <= static_cast<int32_t>(kCeiling);
}

float Limiter::wanted_gain(std::span<const int32_t> block) const {
    const auto peak = static_cast<float>(peak_of(block));
    return peak > kCeiling ? kCeiling / peak : 1.0F;
}

void Limiter::process(std::span<const int32_t> in, std::span<int16_t> out) {
    for (size_t start = 0; start < in.size(); start += block_samples_) {
        const auto block = in.subspan(start, std::min(block_samples_, in.size() - start));
        const float allowed = wanted_gain(block);
        const size_t after = start + block.size();
        const float next = after < in.size() ? wanted_gain(in.subspan(after, std::min(block_samples_, in.size() - after)))
                                             : 1.0F;
        const float from = gain_;
        float to = std::min(allowed, next);
        if (to >= from) {  // it may rise, after a while and slowly
            const bool held = held_blocks_ > 0;
            if (held) --held_blocks_;
            to = held ? from : std::min(to, from * kRelease);
        } else {
            held_blocks_ = kHoldMs / kBlockMs;
        }
        gain_ = to;
        // A peak that the block before could not know of: down within a millisecond, and `soft` takes what is above.
        const size_t ramp = allowed < from ? std::min(attack_samples_, block.size()) : block.size();
        const float step = (to - from) / static_cast<float>(ramp);
        float gain = from;
        for (size_t i = 0; i < block.size(); ++i) {
            gain = i < ramp ? gain + step : to;
            out[start + i] = static_cast<int16_t>(std::lrint(soft(static_cast<float>(block[i]) * gain)));
        }
    }
}

}  // namespace sdpserver
