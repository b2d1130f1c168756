#pragma once
// Noise in place of silence (RFC 3389): its payload, and the noise that it describes.

#include <array>
#include <cstdint>
#include <span>

#include "bytes.h"

namespace sdpserver {

class ComfortNoise {
   public:
    /// What a CN payload asks for: a level, and up to 12 reflection coefficients of an all-pole filter (section 3.3).
    /// False: it is empty.
    bool set_payload(ConstBytes payload);
    /// White noise of this mean square, full scale 32768.
    void set_power(float power);
    void generate(std::span<int16_t> out);
    /// It was not heard for a while: fade in.
    void pause() { gain_ = 0; }
    /// Of what it has been asked for; 0 until then.
    float power() const { return power_; }

   private:
    static constexpr size_t kMaxOrder = 12;

    float power_ = 0;
    float gain_ = 0;   // of what is made now; follows the power within a frame
    float scale_ = 1;  // of the excitation, for the filter to give a power of 1
    size_t order_ = 0;
    std::array<float, kMaxOrder> reflection_{};
    std::array<float, kMaxOrder + 1> backward_{};
    uint32_t random_ = 0x2545f491;
};

/// The noise level of frames, as the floor that their power falls back to between words.
class NoiseFloor {
   public:
    void heard(float power, uint32_t duration_ms);
    /// Mean square, full scale 32768; 0 until something was heard.
    float power() const { return power_; }

   private:
    float power_ = 0;
    bool started_ = false;
};

/// Mean square of the samples.
float mean_square(std::span<const int16_t> samples);
/// A payload without spectral information: the noise level in -dBov, 0 to 127 (section 3.1).
uint8_t comfort_noise_level(float power);

}  // namespace sdpserver
