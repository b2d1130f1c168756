#pragma once
// RFC 4733 telephone-event payloads: telling presses apart, and carrying them to another clock rate.

#include <cstdint>
#include <optional>

#include "bytes.h"

namespace sdpserver {

struct TelephoneEvent {
    static constexpr size_t kLength = 4;

    uint8_t event = 0;
    uint8_t flags_volume = 0;  // E, R and volume, passed on as they are
    uint16_t duration = 0;     // in timestamp units

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

   private:
    static constexpr uint32_t kSegment = 0xffff;

    bool any_ = false;
    uint8_t event_ = 0;
    uint32_t start_ = 0;
    uint32_t segment_ = 0;  // the timestamp of the newest
};

}  // namespace sdpserver
