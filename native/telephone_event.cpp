#include "telephone_event.h"

namespace sdpserver {

std::optional<TelephoneEvent> TelephoneEvent::parse(ConstBytes payload) {
    if (payload.size() < kLength) return std::nullopt;
    return TelephoneEvent{.event = payload[0], .flags_volume = payload[1], .duration = load_be16(&payload[2])};
}

void TelephoneEvent::write(uint8_t* out) const {
    out[0] = event;
    out[1] = flags_volume;
    store_be16(out + 2, duration);
}

ScaledDuration ScaledDuration::of(uint32_t duration, uint32_t clock_rate_in, uint32_t clock_rate_out) {
    constexpr uint64_t kSegment = 0xffff;
    const uint64_t whole = uint64_t{duration} * clock_rate_out / clock_rate_in;
    if (whole <= kSegment) return {.duration = static_cast<uint16_t>(whole), .timestamp_advance = 0};
    const uint64_t earlier = (whole - 1) / kSegment * kSegment;
    return {.duration = static_cast<uint16_t>(whole - earlier), .timestamp_advance = static_cast<uint32_t>(earlier)};
}

PressTracker::Place PressTracker::place(const TelephoneEvent& event, uint32_t timestamp) {
    if (any_) {
        const bool same = event.event == event_;
        if (same && timestamp - segment_ == kSegment) {
            segment_ = timestamp;
            return Place::later;
        }
        if (same && timestamp - start_ <= segment_ - start_) return Place::later;
        if (static_cast<int32_t>(timestamp - segment_) < 0) return Place::in_earlier_press;
    }
    any_ = true;
    event_ = event.event;
    start_ = segment_ = timestamp;
    return Place::first;
}

}  // namespace sdpserver
