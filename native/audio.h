#pragma once
// Linear audio inside the media plane: mono, 16 bit, 8 or 16 kHz, in frames of 10 ms or more.

#include <cstdint>
#include <span>

#include "clock.h"

namespace sdpserver {

inline constexpr uint32_t kNarrowbandHz = 8000;
inline constexpr uint32_t kWidebandHz = 16000;

/// What a frame is: a listener that looks for speech or presses need not look at what we made up ourselves.
enum class AudioKind : uint8_t { speech, concealment, comfort_noise, silence };

struct AudioFrame {
    std::span<const int16_t> samples;
    uint32_t rate_hz = kNarrowbandHz;
    AudioKind kind = AudioKind::speech;

    uint32_t duration_ms() const { return static_cast<uint32_t>(samples.size() * 1000 / rate_hz); }
};

/// Makes audio: a tone, a sound file. Called on a worker's thread.
class AudioSource {
   public:
    virtual ~AudioSource() = default;
    /// Fills all of `out`. False: it has ended, and what was left of `out` is silence.
    virtual bool generate(std::span<int16_t> out, uint32_t rate_hz) = 0;
    /// More than this would only cost.
    virtual uint32_t natural_rate_hz() const { return kNarrowbandHz; }
    /// Have the next frame be the last one, and end without a click. False: it cannot, and may be cut off at once.
    virtual bool fade_out() { return false; }
};

/// Listens to what a leg receives or sends: a recorder, a detector, a member of a room. Called on a worker's thread, once
/// for each frame, in order; `now` is when the frame is played.
class AudioSink {
   public:
    virtual ~AudioSink() = default;
    /// The rate that it would like; frames may have another, and may change from one to the next.
    virtual uint32_t wanted_rate_hz() const { return kNarrowbandHz; }
    virtual void take(const AudioFrame& frame, TimeNs now) = 0;
};

}  // namespace sdpserver
