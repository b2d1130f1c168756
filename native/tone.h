#pragma once
// Steady and interrupted tones: ringback, busy, the `tone` and `silence` far ends.

#include <array>
#include <span>
#include <vector>

#include "clock.h"

namespace sdpserver {

class Tone {
   public:
    static constexpr size_t kMaxFrequencies = 4;

    /// The sum of the frequencies, each at `level_dbm0`; none: silence. `cadence_ms`: on, off, on, ..., repeated; empty:
    /// always on. Throws std::invalid_argument.
    Tone(std::span<const double> frequencies_hz, std::vector<uint32_t> cadence_ms, double level_dbm0);

    /// The next samples, at 8 kHz.
    void generate(std::span<int16_t> out);

   private:
    int16_t next_sample();

    std::array<uint32_t, kMaxFrequencies> step_{};   // of a turn of 2^32, in a sample
    std::array<uint32_t, kMaxFrequencies> phase_{};
    size_t frequencies_ = 0;
    double amplitude_ = 0.0;
    std::vector<uint32_t> cadence_samples_;
    size_t interval_ = 0;  // of the cadence; even ones sound
    uint32_t left_ = 0;    // samples of it
};

}  // namespace sdpserver
