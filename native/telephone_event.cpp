#include "telephone_event.h"

#include <algorithm>

namespace sdpserver {
namespace {

/// How many segments of a long press may be lost as a whole.
constexpr uint32_t kMaxSegmentsLost = 2;
/// A timestamp further back than this is no late packet but a sender that has begun anew: 2 s at 48,000 Hz.
constexpr uint32_t kMaxLate = 96'000;

}  // namespace

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
    const auto seen = [&] {
        covered_ = std::max(covered_, duration(event, timestamp));
        ended_ |= event.end();
        return Place::later;
    };
    if (any_) {
        const uint32_t since_start = timestamp - start_;
        if (event.event == event_) {
            const uint32_t since_segment = timestamp - segment_;
            if (!ended_ && since_segment % kSegment == 0 && since_segment / kSegment <= 1 + kMaxSegmentsLost) {
                segment_ = timestamp;
                return seen();
            }
            // A press of the same key cannot begin before the last one was over, so this is no other one, also where a
            // sender wrongly moves the timestamp on.
            if (since_start <= covered_) return seen();
        }
        if (const uint32_t late = start_ - timestamp; late > 0 && late <= kMaxLate) return Place::in_earlier_press;
    }
    any_ = true;
    ended_ = event.end();
    event_ = event.event;
    start_ = segment_ = timestamp;
    covered_ = event.duration;
    return Place::first;
}

uint32_t PressTracker::duration(const TelephoneEvent& event, uint32_t timestamp) const {
    return (timestamp - start_) / kSegment * kSegment + event.duration;
}

PressDetector::Outcome PressDetector::packet(const TelephoneEvent& event, uint32_t timestamp, uint32_t clock_rate_hz,
                                             TimeNs now) {
    Outcome outcome;
    switch (tracker_.place(event, timestamp)) {
        case PressTracker::Place::in_earlier_press: return outcome;
        case PressTracker::Place::later: break;
        case PressTracker::Place::first:
            outcome.begun = true;
            outcome.ended = close();
            open_ = true;
            event_ = event.event;
            clock_rate_hz_ = clock_rate_hz;
            duration_ = 0;
            break;
    }
    if (!open_) return outcome;  // its end is repeated
    duration_ = std::max(duration_, tracker_.duration(event, timestamp));
    last_packet_ = now;
    // When this press's first packet to arrive is its end, and ends the one before, it is over with the next copy of
    // its end, or when that is late.
    if (event.end() && !outcome.ended) outcome.ended = close();
    return outcome;
}

std::optional<PressDetector::Press> PressDetector::expire(TimeNs now) {
    return open_ && now >= due() ? close() : std::nullopt;
}

std::optional<PressDetector::Press> PressDetector::restart() {
    tracker_ = {};
    return close();
}

std::optional<PressDetector::Press> PressDetector::close() {
    if (!open_) return std::nullopt;
    open_ = false;
    return Press{.event = event_,
                 .duration_ms = static_cast<uint32_t>(uint64_t{duration_} * 1000 / clock_rate_hz_)};
}

}  // namespace sdpserver
