#pragma once
// Plays a line of samples sooner or later without changing its pitch: one period of the voice is left out or said twice,
// cross-faded where the signal resembles itself (WSOLA: Verhelst and Roelands, ICASSP 1993). What has no pitch, silence
// and noise, is cut or repeated anywhere.

#include "sample_line.h"

namespace sdpserver {

struct StretchLimits {
    size_t max_samples = 0;         // to leave out or to add
    float min_correlation = 0.85F;  // of where the cross-fade takes place
    float quiet_power = 0;          // mean square below which any place will do
};

/// Samples left out of what waits; 0: there is too little of it, or no good place.
size_t shorten(SampleLine& line, uint32_t rate_hz, const StretchLimits& limits);
/// Samples added to what waits.
size_t lengthen(SampleLine& line, uint32_t rate_hz, const StretchLimits& limits);

}  // namespace sdpserver
