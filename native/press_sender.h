#pragma once
// Presses that are sent on one leg, one after the other: when which packet of which press is due, or its tones. Time comes in
// as an argument.

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "clock.h"
#include "tone.h"

namespace sdpserver {

struct PressOrder {
    uint8_t event = 0;         // RFC 4733 section 3.2: 0 to 15
    uint8_t volume = 10;       // of the tone, dBm0 without its sign (RFC 4733 section 2.3.4)
    bool in_band = false;      // tones in the audio instead of event packets
    uint32_t duration_ms = 0;
    uint32_t gap_ms = 0;       // from its end to the next press
};

class PressSender {
   public:
    static constexpr size_t kMaxQueued = 128;
    static constexpr uint8_t kEvents = 16;
    /// The end packet is sent this often (RFC 4733 section 2.5.1.4), so far apart.
    static constexpr uint32_t kEnds = 3;
    static constexpr uint32_t kEndIntervalMs = 20;

    /// A packet of a press. `elapsed_ms` is its duration so far.
    struct Packet {
        uint8_t event = 0;
        uint8_t volume = 0;
        bool first = false;
        bool end = false;
        uint32_t elapsed_ms = 0;
        TimeNs start = 0;  // of the press
    };
    /// What is due.
    enum class Step : uint8_t { nothing, packet, audio, over };

    /// After those that are queued. False: the queue is full, and nothing has changed.
    bool queue(const PressOrder& order);
    /// Forget all of it, also the press that is being sent.
    void clear();
    size_t queued() const { return count_ + (active_ ? 1 : 0); }
    /// A press or the pause after one is under way, or one waits.
    bool busy() const { return active_ || count_ > 0; }
    /// A press or, unless it was the last, the pause after it is under way.
    bool sending() const { return active_; }
    /// When to call `step`; only while busy.
    TimeNs due() const { return due_; }

    /// Go on to `now`. `interval_ms`: between packets, and of a frame of audio. Late calls catch up: a packet tells how
    /// long the press has lasted by then, and those that were missed are left out.
    Step step(TimeNs now, uint32_t interval_ms);
    /// After `Step::packet`.
    const Packet& packet() const { return packet_; }
    /// After `Step::audio`: tones, and silence in the pause after them.
    void generate(std::span<int16_t> out, uint32_t rate_hz);
    /// How many presses have ended since the last call.
    uint32_t take_ended();

   private:
    void begin(TimeNs now, uint32_t interval_ms);
    Step step_packet(TimeNs now, uint32_t interval_ms);
    Step step_audio(TimeNs now, uint32_t interval_ms);
    void end(TimeNs at);

    std::array<PressOrder, kMaxQueued> orders_{};  // a ring
    size_t first_ = 0;
    size_t count_ = 0;

    bool active_ = false;
    PressOrder current_;
    TimeNs start_ = 0;
    TimeNs due_ = 0;
    TimeNs next_start_ = 0;  // the pause after the last press ends then
    uint32_t ends_ = 0;      // end packets sent
    bool any_packet_ = false;
    uint32_t ended_ = 0;
    Packet packet_;
    std::optional<Tone> tone_;
};

}  // namespace sdpserver
