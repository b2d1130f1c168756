#include "sound_player.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

namespace sdpserver {
namespace {

constexpr int32_t kUnity = 4096;
constexpr uint32_t kFadeMs = 10;

}  // namespace

SoundPlayer::SoundPlayer(std::shared_ptr<const Sound> sound, bool loop, double gain_db)
    : sound_(std::move(sound)), loop_(loop) {
    if (!(gain_db >= -60.0 && gain_db <= 20.0)) throw std::invalid_argument("a gain outside -60 to 20 dB");
    gain_ = static_cast<int32_t>(std::lround(kUnity * std::pow(10.0, gain_db / 20.0)));
}

bool SoundPlayer::generate(std::span<int16_t> out, uint32_t rate_hz) {
    play(out, rate_hz);
    if (fading_) {
        const size_t length = std::min(out.size(), size_t{rate_hz} * kFadeMs / 1000);
        for (size_t i = 0; i < length; ++i) {
            out[i] = static_cast<int16_t>(out[i] * static_cast<int>(length - i) / static_cast<int>(length));
        }
        std::ranges::fill(out.subspan(length), int16_t{0});
        return false;
    }
    return loop_ || position_ * rate_hz / kWidebandHz < sound_->samples(rate_hz).size();
}

void SoundPlayer::play(std::span<int16_t> out, uint32_t rate_hz) {
    const std::span<const int16_t> samples = sound_->samples(rate_hz);
    const size_t ticks = kWidebandHz / rate_hz;
    while (!out.empty()) {
        if (loop_ && position_ / ticks >= samples.size()) position_ = 0;
        const size_t at = std::min(position_ / ticks, samples.size());
        const size_t count = std::min(out.size(), samples.size() - at);
        if (count == 0) break;
        const auto part = samples.subspan(at, count);
        if (gain_ == kUnity) {
            std::ranges::copy(part, out.begin());
        } else {
            std::ranges::transform(part, out.begin(), [this](int16_t sample) {
                return static_cast<int16_t>(std::clamp(sample * gain_ / kUnity, -32768, 32767));
            });
        }
        position_ += count * ticks;
        out = out.subspan(count);
    }
    std::ranges::fill(out, int16_t{0});
}

}  // namespace sdpserver
