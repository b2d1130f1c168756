#pragma once
// Fills what was lost with the last pitch periods, by the method of ITU-T G.711 Appendix I, at 8 or 16 kHz: one period for
// the first 10 ms, then two, then three, so that it does not buzz; fading from 10 ms on, silent after 60 ms. As what came
// before has been played already, there is no delay: the seam to it is closed by letting the step between the two
// decay, instead of by an overlap. (spandsp's plc is the same method for 8 kHz alone, with a period that never grows.)

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace sdpserver {

class Concealment {
   public:
    /// `end` points behind the last good sample; 36 ms before it are read.
    void start(const int16_t* end, uint32_t rate_hz);
    void generate(std::span<int16_t> out);
    void stop() { active_ = false; }
    bool active() const { return active_; }
    /// It has faded away.
    bool silent() const { return made_ >= fade_end_; }
    /// How many samples of what comes after it are to be cross-faded with what goes on being generated: a quarter of a
    /// period, and 4 ms more for each 10 ms, up to 10 ms.
    size_t overlap() const;

   private:
    static constexpr size_t kMaxPeriods = 3;
    static constexpr size_t kMaxStored = 576;  // 36 ms of 16 kHz

    void use_periods(size_t count);

    bool active_ = false;
    uint32_t rate_hz_ = 0;
    std::array<int16_t, kMaxStored> heard_;
    std::array<int16_t, kMaxStored> cycle_;
    size_t period_ = 0;
    size_t periods_ = 0;
    size_t cycle_length_ = 0;
    size_t at_ = 0;
    size_t made_ = 0;
    size_t fade_start_ = 0;
    size_t fade_end_ = 0;
    int seam_ = 0;  // from the last good sample to what would have come before the cycle
};

/// `line` becomes what it is from what `from` is, over as many samples as both have.
void fade_in(std::span<int16_t> line, std::span<const int16_t> from);

}  // namespace sdpserver
