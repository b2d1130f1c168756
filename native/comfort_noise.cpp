#include "comfort_noise.h"

#include <algorithm>
#include <cmath>

namespace sdpserver {
namespace {

/// 0 dBov is the power of a full-scale square wave (RFC 3389 section 3.1).
constexpr float kOverload = 32768.0F * 32768.0F;
/// The floor rises by this much a second where there is only speech, and falls at once.
constexpr float kRiseDbPerSecond = 6;
/// What is louder than this is no background: -50 dBov.
constexpr float kLoudestFloor = kOverload * 1e-5F;

}  // namespace

bool ComfortNoise::set_payload(ConstBytes payload) {
    if (payload.empty()) return false;
    power_ = kOverload * std::pow(10.0F, -static_cast<float>(payload[0] & 0x7f) / 10);
    order_ = std::min(payload.size() - 1, kMaxOrder);
    float prediction = 1;
    for (size_t i = 0; i < order_; ++i) {
        // Section 3.2: 127 is 0, the range is -1 to 1; the ends would let the filter ring for ever.
        const float quantised = 258.0F * (static_cast<float>(payload[i + 1]) - 127) / 32768;
        reflection_[i] = std::clamp(quantised, -0.99F, 0.99F);
        prediction *= 1 - reflection_[i] * reflection_[i];
    }
    scale_ = std::sqrt(prediction);
    return true;
}

void ComfortNoise::set_power(float power) {
    power_ = power;
    order_ = 0;
    scale_ = 1;
}

void ComfortNoise::generate(std::span<int16_t> out) {
    const float target = std::sqrt(power_) * scale_;
    const float step = out.empty() ? 0 : (target - gain_) / static_cast<float>(out.size());
    constexpr float kUniform = 1.7320508F / 2147483648.0F;  // an even distribution of variance 1
    for (int16_t& sample : out) {
        gain_ += step;
        random_ ^= random_ << 13;
        random_ ^= random_ >> 17;
        random_ ^= random_ << 5;
        float forward = static_cast<float>(static_cast<int32_t>(random_)) * kUniform * gain_;
        // The all-pole lattice of the reflection coefficients.
        for (size_t i = order_; i-- > 0;) {
            forward -= reflection_[i] * backward_[i];
            backward_[i + 1] = backward_[i] + reflection_[i] * forward;
        }
        backward_[0] = forward;
        sample = static_cast<int16_t>(std::clamp(forward, -32768.0F, 32767.0F));
    }
}

void NoiseFloor::heard(float power, uint32_t duration_ms) {
    const float risen = power_ * (1 + kRiseDbPerSecond * 0.23F * static_cast<float>(duration_ms) / 1000);
    power_ = std::min({power, started_ ? std::max(risen, 1.0F) : power, kLoudestFloor});
    started_ = true;
}

float mean_square(std::span<const int16_t> samples) {
    if (samples.empty()) return 0;
    int64_t sum = 0;
    for (const int16_t sample : samples) sum += sample * sample;
    return static_cast<float>(sum) / static_cast<float>(samples.size());
}

uint8_t comfort_noise_level(float power) {
    const float level = -10 * std::log10(std::max(power, 1e-9F) / kOverload);
    return static_cast<uint8_t>(std::clamp(std::lround(level), 0L, 127L));
}

}  // namespace sdpserver
