#include "media_timeline.h"

#include <algorithm>
#include <cstdlib>

namespace sdpserver {
namespace {

constexpr int64_t kMediaHz = 48'000;
/// Timestamps that run ahead of or behind the time that passes by more than this have jumped.
constexpr int64_t kMaxDeviation = 2 * kMediaHz;
/// Packets later than this say nothing about a new clock.
constexpr int kMaxStep = 100;
/// A change of clock in the middle of a pause is told from one in the middle of speech by more time than jitter takes.
constexpr int64_t kPause = kMediaHz / 4;

int64_t media_time(TimeNs time) { return time * 6 / 125'000; }

}  // namespace

int64_t MediaTimeline::Anchor::place(uint32_t other) const {
    return at + static_cast<int64_t>(static_cast<int32_t>(other - timestamp)) * kMediaHz / clock_rate_hz;
}

std::optional<int64_t> MediaTimeline::place(const Stamp& stamp, TimeNs now) {
    const auto advance = [&](int64_t at) {
        current_ = {stamp.clock_rate_hz, stamp.timestamp, at};
        newest_sequence_ = stamp.sequence;
        newest_duration_ = stamp.duration;
        newest_arrival_ = now;
        jump_suspected_ = false;
        return at;
    };
    if (!started_) {
        started_ = true;
        return advance(0);
    }

    const int step = static_cast<int16_t>(stamp.sequence - newest_sequence_);
    const int64_t elapsed = media_time(now - newest_arrival_);
    if (stamp.clock_rate_hz == current_.clock_rate_hz) {
        const int64_t at = current_.place(stamp.timestamp);
        // A later packet from an earlier time: the clock was set back.
        const bool set_back = step > 0 && step <= kMaxStep && at < current_.at;
        if (!set_back && std::abs(at - current_.at - elapsed) <= kMaxDeviation) {
            return at > current_.at ? advance(at) : at;
        }
    }
    if (step < 0 && step > -kMaxStep && stamp.clock_rate_hz == previous_.clock_rate_hz) {
        const int64_t at = previous_.place(stamp.timestamp);
        if (at < changed_at_ && changed_at_ - at < kMaxDeviation) return at;
    }
    const bool in_sequence = step > 0 && step <= kMaxStep;
    if (!in_sequence && !(jump_suspected_ && stamp.sequence == expected_after_jump_)) {
        jump_suspected_ = true;
        expected_after_jump_ = static_cast<uint16_t>(stamp.sequence + 1);
        return std::nullopt;
    }
    const int64_t missed = static_cast<int64_t>(newest_duration_) * (in_sequence ? step : 1);
    previous_ = current_;
    changed_at_ = current_.at + (elapsed > missed + kPause ? elapsed : missed);
    return advance(changed_at_);
}

}  // namespace sdpserver
