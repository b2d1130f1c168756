#include "pitch.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdlib>

namespace sdpserver {
namespace {

/// 36 ms of 16 kHz.
constexpr size_t kMaxSamples = 576;
/// Products of samples below this, 320 of them, fit 32 bits, which vectorises to two samples an instruction step.
constexpr int kScaledBits = 11;

int32_t product(const int16_t* a, const int16_t* b, size_t count) {
    int32_t sum = 0;
    for (size_t i = 0; i < count; ++i) sum += a[i] * b[i];
    return sum;
}

}  // namespace

Resemblance best_resemblance(const int16_t* at, size_t window, size_t min_lag, size_t max_lag) {
    std::array<int16_t, kMaxSamples> scaled;
    const size_t count = std::min(window + max_lag, kMaxSamples);
    max_lag = count - window;
    const int16_t* from = at - max_lag;
    int peak = 0;
    for (size_t i = 0; i < count; ++i) peak = std::max(peak, std::abs(int{from[i]}));
    const int shift = std::max(0, static_cast<int>(std::bit_width(static_cast<unsigned>(peak))) - kScaledBits);
    for (size_t i = 0; i < count; ++i) scaled[i] = static_cast<int16_t>(from[i] >> shift);

    const int16_t* late = scaled.data() + max_lag;
    const auto energy = static_cast<float>(product(late, late, window));
    Resemblance best{.lag = min_lag, .correlation = 0, .power = energy * static_cast<float>(1 << 2 * shift) / static_cast<float>(window)};
    float best_score = 0;
    for (size_t lag = min_lag; lag <= max_lag; ++lag) {
        const int16_t* early = late - lag;
        const int32_t common = product(late, early, window);
        if (common <= 0) continue;
        const float both = energy * static_cast<float>(product(early, early, window));
        if (both <= 0) continue;
        const float correlation = static_cast<float>(common) / std::sqrt(both);
        if (correlation > best_score + 0.002F) {
            best_score = correlation;
            best.lag = lag;
            best.correlation = correlation;
        }
    }
    return best;
}

}  // namespace sdpserver
