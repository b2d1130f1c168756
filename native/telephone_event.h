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

    static ScaledDuration of(uint16_t duration, uint32_t clock_rate_in, uint32_t clock_rate_out);
};

/// Counts presses in a stream of event packets, of which each press has many.
class PressCounter {
   public:
    /// Whether this packet is the first of a press.
    bool is_new(const TelephoneEvent& event, uint32_t timestamp);

   private:
    static constexpr uint32_t kMaxDuration = 0xffff;

    bool any_ = false;
    uint8_t event_ = 0;
    uint32_t timestamp_ = 0;  // of the segment
};

}  // namespace sdpserver
