#pragma once
// How far back a signal resembles itself most: one period of a voice, or several of a higher one.

#include <cstddef>
#include <cstdint>

namespace sdpserver {

struct Resemblance {
    size_t lag = 0;
    float correlation = 0;  // -1 to 1, of the two stretches
    float power = 0;        // mean square of the stretch, full scale 32768
};

/// Compares the `window` samples at `at` with those `min_lag` to `max_lag` samples earlier. A lag is preferred to a
/// shorter one only if it is clearly better.
Resemblance best_resemblance(const int16_t* at, size_t window, size_t min_lag, size_t max_lag);

}  // namespace sdpserver
