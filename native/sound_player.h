#pragma once
// Plays a sound, once or over and over.

#include <memory>

#include "sound.h"

namespace sdpserver {

class SoundPlayer final : public AudioSource {
   public:
    /// `gain_db`: -60 to 20; what gets too loud is clipped. Throws std::invalid_argument.
    SoundPlayer(std::shared_ptr<const Sound> sound, bool loop, double gain_db = 0.0);

    /// False once it has been played; a loop has no end and no seam. The rate may change from call to call.
    bool generate(std::span<int16_t> out, uint32_t rate_hz) override;
    uint32_t natural_rate_hz() const override { return sound_->natural_rate_hz(); }
    bool fade_out() override { return fading_ = true; }

   private:
    void play(std::span<int16_t> out, uint32_t rate_hz);

    std::shared_ptr<const Sound> sound_;
    bool loop_;
    bool fading_ = false;
    int32_t gain_ = 0;     // in 1/4096
    size_t position_ = 0;  // in samples at 16 kHz
};

}  // namespace sdpserver
