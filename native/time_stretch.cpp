#include "time_stretch.h"

#include <array>

#include "pitch.h"

namespace sdpserver {
namespace {

// In samples per second: 400 Hz is the highest voice, 66 Hz the lowest. Higher tones are found at several periods.
constexpr uint32_t kShortestPeriodHz = 400;
constexpr uint32_t kLongestPeriodHz = 66;
constexpr uint32_t kWindowHz = 100;  // 10 ms are compared and cross-faded
constexpr size_t kMaxWindow = 160;   // at 16 kHz

struct Place {
    size_t window = 0;
    size_t lag = 0;  // 0: none that is good enough
};

Place find(const int16_t* at, uint32_t rate_hz, size_t max_lag, const StretchLimits& limits) {
    const size_t window = rate_hz / kWindowHz;
    const size_t min_lag = rate_hz / kShortestPeriodHz;
    max_lag = std::min({max_lag, limits.max_samples, size_t{rate_hz / kLongestPeriodHz}});
    if (max_lag < min_lag) return {};
    const Resemblance found = best_resemblance(at, window, min_lag, max_lag);
    if (found.power <= limits.quiet_power) return {window, max_lag};
    return found.correlation >= limits.min_correlation ? Place{window, found.lag} : Place{};
}

/// `to` over `from`, from one to the other.
void cross_fade(const int16_t* from, const int16_t* to, int16_t* out, size_t count) {
    const auto steps = static_cast<int>(count + 1);
    for (size_t i = 0; i < count; ++i) {
        const int weight = static_cast<int>(i) + 1;
        out[i] = static_cast<int16_t>((from[i] * (steps - weight) + to[i] * weight) / steps);
    }
}

}  // namespace

size_t shorten(SampleLine& line, uint32_t rate_hz, const StretchLimits& limits) {
    const size_t window = rate_hz / kWindowHz;
    const size_t longest = rate_hz / kLongestPeriodHz;
    if (line.waiting() < longest + window) return 0;
    int16_t* late = line.next() + longest;
    const Place place = find(late, rate_hz, longest, limits);
    if (place.lag == 0) return 0;
    int16_t* early = late - place.lag;
    cross_fade(early, late, early, place.window);  // reads ahead of where it writes
    const size_t rest = line.waiting() - longest - place.window;
    std::copy_n(late + place.window, rest, early + place.window);
    line.truncate(line.waiting() - place.lag);
    return place.lag;
}

size_t lengthen(SampleLine& line, uint32_t rate_hz, const StretchLimits& limits) {
    const size_t window = rate_hz / kWindowHz;
    if (line.waiting() < window) return 0;
    const Place place = find(line.next(), rate_hz, line.room(), limits);
    if (place.lag == 0) return 0;
    line.reserve(place.lag);  // may move the line
    int16_t* next = line.next();
    std::array<int16_t, kMaxWindow> faded;
    cross_fade(next, next - place.lag, faded.data(), window);
    // Behind the fade all goes on from a period earlier.
    std::copy_backward(next + window - place.lag, next + line.waiting(), next + line.waiting() + place.lag);
    std::copy_n(faded.data(), window, next);
    line.commit(place.lag);
    return place.lag;
}

}  // namespace sdpserver
