#include "tone.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <stdexcept>
#include <utility>

namespace sdpserver {
namespace {

// A sine of full scale is +3.17 dBm0 in the mu law (ITU-T G.711, table 5); the A law's +3.14 is as good as the same.
constexpr double kFullScaleDbm0 = 3.17;
constexpr double kFullScale = 8159.0 * 4;
constexpr uint32_t kMaxIntervalMs = 3'600'000;
constexpr double kMaxModulationHz = 100.0;
/// Of the carrier's amplitude. Networks that modulate theirs state 85 %, give or take 15.
constexpr float kModulationDepth = 0.85f;

constexpr uint32_t kTicksPerMs = kWidebandHz / 1000;
constexpr size_t kTableBits = 12;

const std::array<float, size_t{1} << kTableBits>& sine() {
    static const auto table = [] {
        std::array<float, size_t{1} << kTableBits> values{};
        for (size_t i = 0; i < values.size(); ++i) {
            values[i] = static_cast<float>(
                std::sin(2.0 * std::numbers::pi * static_cast<double>(i) / static_cast<double>(values.size())));
        }
        return values;
    }();
    return table;
}

float sine_at(uint32_t phase) { return sine()[phase >> (32 - kTableBits)]; }

uint32_t step_of(double frequency_hz) {
    return static_cast<uint32_t>(std::llround(frequency_hz / kWidebandHz * 0x1p32));
}

}  // namespace

Tone::Tone(std::span<const double> frequencies_hz, std::vector<uint32_t> cadence_ms, double level_dbm0,
           double modulation_hz, uint32_t rounds)
    : frequencies_(frequencies_hz.size()), cadence_ticks_(std::move(cadence_ms)), rounds_(rounds) {
    if (frequencies_ > kMaxFrequencies) throw std::invalid_argument("more than four frequencies");
    if (!(level_dbm0 >= -60.0 && level_dbm0 <= kFullScaleDbm0)) {
        throw std::invalid_argument("a level outside -60 to 3.17 dBm0");
    }
    for (size_t i = 0; i < frequencies_; ++i) {
        if (!(frequencies_hz[i] > 0.0 && frequencies_hz[i] < kNarrowbandHz / 2.0)) {
            throw std::invalid_argument("a frequency outside 0 to 4000 Hz");
        }
        step_[i] = step_of(frequencies_hz[i]);
    }
    if (!(modulation_hz >= 0.0 && modulation_hz <= kMaxModulationHz)) {
        throw std::invalid_argument("a modulation outside 0 to 100 Hz");
    }
    modulation_step_ = step_of(modulation_hz);
    for (uint32_t& interval : cadence_ticks_) {
        if (interval > kMaxIntervalMs) throw std::invalid_argument("a cadence interval over an hour");
        interval *= kTicksPerMs;
    }
    if (cadence_ticks_.size() % 2 != 0) throw std::invalid_argument("a cadence that does not end in an off interval");
    if (!cadence_ticks_.empty()) {
        if (std::ranges::all_of(cadence_ticks_, [](uint32_t interval) { return interval == 0; })) {
            throw std::invalid_argument("a cadence of no length");
        }
        left_ = cadence_ticks_.front();
    } else if (rounds_ != 0) {
        throw std::invalid_argument("rounds without a cadence");
    }
    amplitude_ = kFullScale * std::pow(10.0, (level_dbm0 - kFullScaleDbm0) / 20.0);
}

int16_t Tone::next_sample(uint32_t ticks) {
    double sum = 0.0;
    for (size_t i = 0; i < frequencies_; ++i) {
        sum += static_cast<double>(sine_at(phase_[i]));
        phase_[i] += step_[i] * ticks;
    }
    if (modulation_step_ != 0) {
        sum *= static_cast<double>(1.0f + kModulationDepth * sine_at(modulation_phase_));
        modulation_phase_ += modulation_step_ * ticks;
    }
    return static_cast<int16_t>(std::clamp(sum * amplitude_, -32768.0, 32767.0));
}

/// On to the interval that sounds, or is silent, now.
void Tone::settle() {
    while (left_ == 0 && !cadence_ticks_.empty() && !ended_) {
        if (++interval_ == cadence_ticks_.size()) {
            interval_ = 0;
            ended_ = rounds_ != 0 && ++rounds_over_ == rounds_;
        }
        left_ = cadence_ticks_[interval_];
        if (interval_ % 2 == 0) {
            phase_.fill(0);  // each beep starts at a zero crossing
            modulation_phase_ = 0;
        }
    }
}

bool Tone::generate(std::span<int16_t> out, uint32_t rate_hz) {
    const uint32_t ticks = kWidebandHz / rate_hz;
    settle();
    for (int16_t& sample : out) {
        const bool sounds = !ended_ && interval_ % 2 == 0;
        sample = sounds ? next_sample(ticks) : int16_t{0};
        left_ -= std::min(left_, ticks);
        settle();
    }
    return !ended_;
}

}  // namespace sdpserver
