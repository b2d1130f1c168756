#pragma once
// RFC 4733 telephone-event payloads: telling presses apart, how long each was, and carrying them to another clock rate.

#include <cstdint>
#include <optional>

#include "bytes.h"
#include "clock.h"

namespace sdpserver {

struct TelephoneEvent {
    static constexpr size_t kLength = 4;
    static constexpr uint8_t kEnd = 0x80;

    uint8_t event = 0;
    uint8_t flags_volume = 0;  // E, R and volume, passed on as they are
    uint16_t duration = 0;     // in timestamp units

    bool end() const { return (flags_volume & kEnd) != 0; }
    /// Of the first event in the payload; nothing if it is too short.
    static std::optional<TelephoneEvent> parse(ConstBytes payload);
    void write(uint8_t* out) const;
};

/// The duration at another clock rate. One that no longer fits 16 bits goes on as a new segment of the event, with a
/// timestamp that much later (RFC 4733 section 2.5.1.3).
struct ScaledDuration {
    uint16_t duration = 0;
    uint32_t timestamp_advance = 0;  // in the new clock rate

    /// `duration` is that of the whole press, over all its segments so far.
    static ScaledDuration of(uint32_t duration, uint32_t clock_rate_in, uint32_t clock_rate_out);
};

/// Tells presses apart in one stream of event packets: each press has many of them and, if it is long, several segments.
class PressTracker {
   public:
    /// Where in its press a packet is.
    enum class Place : uint8_t { first, later, in_earlier_press };

    Place place(const TelephoneEvent& event, uint32_t timestamp);
    /// The timestamp that the last press began with.
    uint32_t start() const { return start_; }
    /// How long the press has lasted by a packet of it, over all its segments, in its clock's units.
    uint32_t duration(const TelephoneEvent& event, uint32_t timestamp) const;

   private:
    static constexpr uint32_t kSegment = 0xffff;

    bool any_ = false;
    bool ended_ = false;  // an end packet was seen
    uint8_t event_ = 0;
    uint32_t start_ = 0;
    uint32_t segment_ = 0;  // the timestamp of the newest
    uint32_t covered_ = 0;  // since start_, by what its packets say
};

/// Says once of each press that it is over and how long it was, whatever was lost: by an end packet, by the next press, or
/// when nothing has come of it for a while.
class PressDetector {
   public:
    /// The end of a press is late by no more than this when all end packets are lost. Packets come every 10 to 60 ms.
    static constexpr TimeNs kTimeout = 200 * kMillisecond;

    struct Press {
        uint8_t event = 0;
        uint32_t duration_ms = 0;
    };
    struct Outcome {
        bool begun = false;  // the first packet of a press
        std::optional<Press> ended;
    };

    Outcome packet(const TelephoneEvent& event, uint32_t timestamp, uint32_t clock_rate_hz, TimeNs now);
    /// A press that nothing more has come of; call it when `due`.
    std::optional<Press> expire(TimeNs now);
    /// When to call `expire`; 0: no press is open.
    TimeNs due() const { return open_ ? last_packet_ + kTimeout : 0; }
    /// Another stream begins. A press that was open is over.
    std::optional<Press> restart();

   private:
    std::optional<Press> close();

    PressTracker tracker_;
    bool open_ = false;
    uint8_t event_ = 0;
    uint32_t clock_rate_hz_ = 0;
    uint32_t duration_ = 0;
    TimeNs last_packet_ = 0;
};

}  // namespace sdpserver
