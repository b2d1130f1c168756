#pragma once
// Keeps a sum of voices within 16 bits by turning it down, instead of clipping its peaks.

#include <cstdint>
#include <span>

namespace sdpserver {

class Limiter {
   public:
    /// -1 dB of full scale: what a peak is held to.
    static constexpr float kCeiling = 29204.0F;

    explicit Limiter(uint32_t rate_hz);

    /// `in` fits as it is, and nothing is turned down at the moment: what would come out is what goes in.
    bool passes(std::span<const int32_t> in) const;
    void process(std::span<const int32_t> in, std::span<int16_t> out);
    float gain() const { return gain_; }

   private:
    /// Peaks are looked for in blocks of 5 ms; the block after is known but for the last one of a frame.
    static constexpr uint32_t kBlockMs = 5;
    /// How long the gain stays after a peak before it rises again: longer than the beats of two tones.
    static constexpr uint32_t kHoldMs = 200;
    /// In a block: 20 dB a second.
    static constexpr float kRelease = 1.0116F;

    float wanted_gain(std::span<const int32_t> block) const;

    size_t block_samples_;
    size_t attack_samples_;  // of a peak that comes without warning: 1 ms
    float gain_ = 1.0F;
    uint32_t held_blocks_ = 0;
};

}  // namespace sdpserver
