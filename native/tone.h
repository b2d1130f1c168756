#pragma once
// Steady and interrupted tones: ringback, busy, a beep, the `tone` and `silence` far ends.

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "audio.h"

namespace sdpserver {

class Tone final : public AudioSource {
   public:
    static constexpr size_t kMaxFrequencies = 4;

    /// The sum of the frequencies, each at `level_dbm0`; none: silence. `cadence_ms`: on, off, on, ..., repeated
    /// `rounds` times (0: for ever); empty: always on. `modulation_hz`: the sum swells and fades that often, as the
    /// ringing of some networks does (ITU-T E.180 writes 400 x 16). Throws std::invalid_argument.
    Tone(std::span<const double> frequencies_hz, std::vector<uint32_t> cadence_ms, double level_dbm0,
         double modulation_hz = 0.0, uint32_t rounds = 0);

    /// False once all rounds are over. The rate may change from call to call.
    bool generate(std::span<int16_t> out, uint32_t rate_hz) override;

   private:
    int16_t next_sample(uint32_t ticks);
    void settle();

    // A tick is a sample at the higher rate.
    std::array<uint32_t, kMaxFrequencies> step_{};   // of a turn of 2^32, in a tick
    std::array<uint32_t, kMaxFrequencies> phase_{};
    size_t frequencies_ = 0;
    uint32_t modulation_step_ = 0;
    uint32_t modulation_phase_ = 0;
    double amplitude_ = 0.0;
    std::vector<uint32_t> cadence_ticks_;
    size_t interval_ = 0;  // of the cadence; even ones sound
    uint32_t left_ = 0;    // ticks of it
    uint32_t rounds_ = 0;
    uint32_t rounds_over_ = 0;
    bool ended_ = false;
};

}  // namespace sdpserver
