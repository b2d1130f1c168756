#include "tone.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <stdexcept>

#include "transcoder.h"

namespace sdpserver {
namespace {

// A sine of full scale is +3.17 dBm0 in the mu law (ITU-T G.711, table 5); the A law's +3.14 is as good as the same.
constexpr double kFullScaleDbm0 = 3.17;
constexpr double kFullScale = 8159.0 * 4;
constexpr uint32_t kMaxIntervalMs = 3'600'000;

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

}  // namespace

Tone::Tone(std::span<const double> frequencies_hz, std::vector<uint32_t> cadence_ms, double level_dbm0)
    : frequencies_(frequencies_hz.size()), cadence_samples_(std::move(cadence_ms)) {
    if (frequencies_ > kMaxFrequencies) throw std::invalid_argument("more than four frequencies");
    if (!(level_dbm0 >= -60.0 && level_dbm0 <= kFullScaleDbm0)) {
        throw std::invalid_argument("a level outside -60 to 3.17 dBm0");
    }
    for (size_t i = 0; i < frequencies_; ++i) {
        if (!(frequencies_hz[i] > 0.0 && frequencies_hz[i] < kLinearRateHz / 2.0)) {
            throw std::invalid_argument("a frequency outside 0 to 4000 Hz");
        }
        step_[i] = static_cast<uint32_t>(std::llround(frequencies_hz[i] / kLinearRateHz * 0x1p32));
    }
    for (uint32_t& interval : cadence_samples_) {
        if (interval > kMaxIntervalMs) throw std::invalid_argument("a cadence interval over an hour");
        interval *= kSamplesPerMs;
    }
    if (cadence_samples_.size() % 2 != 0) throw std::invalid_argument("a cadence that does not end in an off interval");
    if (!cadence_samples_.empty()) {
        if (std::ranges::all_of(cadence_samples_, [](uint32_t interval) { return interval == 0; })) {
            throw std::invalid_argument("a cadence of no length");
        }
        left_ = cadence_samples_.front();
    }
    amplitude_ = kFullScale * std::pow(10.0, (level_dbm0 - kFullScaleDbm0) / 20.0);
}

int16_t Tone::next_sample() {
    double sum = 0.0;
    for (size_t i = 0; i < frequencies_; ++i) {
        sum += static_cast<double>(sine()[phase_[i] >> (32 - kTableBits)]);
        phase_[i] += step_[i];
    }
    return static_cast<int16_t>(std::clamp(sum * amplitude_, -32768.0, 32767.0));
}

void Tone::generate(std::span<int16_t> out) {
    for (int16_t& sample : out) {
        if (!cadence_samples_.empty()) {
            while (left_ == 0) {
                interval_ = (interval_ + 1) % cadence_samples_.size();
                left_ = cadence_samples_[interval_];
                if (interval_ % 2 == 0) phase_.fill(0);  // each beep starts at a zero crossing
            }
            --left_;
            if (interval_ % 2 != 0) {
                sample = 0;
                continue;
            }
        }
        sample = next_sample();
    }
}

}  // namespace sdpserver
