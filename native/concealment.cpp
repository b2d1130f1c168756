#include "concealment.h"

#include <algorithm>

#include "pitch.h"

namespace sdpserver {
namespace {

// Appendix I, sections I.2.2 to I.2.7; in samples per second or ms.
constexpr uint32_t kShortestPeriodHz = 200;
constexpr uint32_t kLongestPeriodHz = 66;
constexpr uint32_t kComparedMs = 20;
constexpr uint32_t kHeardMs = 36;
constexpr uint32_t kFadeStartMs = 10;
constexpr uint32_t kFadeEndMs = 60;
constexpr uint32_t kSecondPeriodMs = 10;
constexpr uint32_t kThirdPeriodMs = 20;
constexpr uint32_t kMaxOverlapMs = 10;

}  // namespace

void Concealment::start(const int16_t* end, uint32_t rate_hz) {
    const size_t per_ms = rate_hz / 1000;
    rate_hz_ = rate_hz;
    std::copy_n(end - kHeardMs * per_ms, kHeardMs * per_ms, heard_.begin());
    const Resemblance found = best_resemblance(end - kComparedMs * per_ms, kComparedMs * per_ms,
                                               rate_hz / kShortestPeriodHz, rate_hz / kLongestPeriodHz);
    period_ = found.lag;
    fade_start_ = kFadeStartMs * per_ms;
    fade_end_ = kFadeEndMs * per_ms;
    made_ = at_ = periods_ = 0;
    use_periods(1);
    seam_ = end[-1] - end[-1 - static_cast<ptrdiff_t>(period_)];
    active_ = true;
}

/// The last `count` periods as a loop, the end of which runs into its start over a quarter of a period.
void Concealment::use_periods(size_t count) {
    const size_t heard = kHeardMs * (rate_hz_ / 1000);
    const size_t quarter = period_ / 4;
    count = std::min(count, (heard - quarter) / period_);
    if (count == periods_) return;
    if (periods_ > 0) at_ = (at_ + (count - periods_) * period_) % (count * period_);  // the same place of the last one
    periods_ = count;
    cycle_length_ = count * period_;
    const int16_t* last = heard_.data() + heard - cycle_length_;
    std::copy_n(last, cycle_length_, cycle_.begin());
    for (size_t i = 0; i < quarter; ++i) {
        const int weight = static_cast<int>(i + 1);
        const int steps = static_cast<int>(quarter + 1);
        int16_t& sample = cycle_[cycle_length_ - quarter + i];
        sample = static_cast<int16_t>((sample * (steps - weight) + last[static_cast<ptrdiff_t>(i) - static_cast<ptrdiff_t>(quarter)] * weight) / steps);
    }
}

void Concealment::generate(std::span<int16_t> out) {
    const size_t per_ms = rate_hz_ / 1000;
    const size_t seam_length = std::max<size_t>(period_ / 4, 1);
    for (int16_t& sample : out) {
        if (made_ == kSecondPeriodMs * per_ms) use_periods(2);
        if (made_ == kThirdPeriodMs * per_ms) use_periods(kMaxPeriods);
        int value = cycle_[at_];
        if (made_ < seam_length) value += seam_ * static_cast<int>(seam_length - made_) / static_cast<int>(seam_length + 1);
        if (made_ >= fade_end_) {
            value = 0;
        } else if (made_ > fade_start_) {
            value = value * static_cast<int>(fade_end_ - made_) / static_cast<int>(fade_end_ - fade_start_);
        }
        sample = static_cast<int16_t>(std::clamp(value, -32768, 32767));
        at_ = at_ + 1 == cycle_length_ ? 0 : at_ + 1;
        ++made_;
    }
}

size_t Concealment::overlap() const {
    const size_t per_ms = rate_hz_ / 1000;
    return std::min(period_ / 4 + made_ * 4 / 10, kMaxOverlapMs * per_ms);
}

void fade_in(std::span<int16_t> line, std::span<const int16_t> from) {
    const size_t count = std::min(line.size(), from.size());
    const auto steps = static_cast<int>(count + 1);
    for (size_t i = 0; i < count; ++i) {
        const int weight = static_cast<int>(i + 1);
        line[i] = static_cast<int16_t>((from[i] * (steps - weight) + line[i] * weight) / steps);
    }
}

}  // namespace sdpserver
