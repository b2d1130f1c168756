#include "press_sender.h"

#include <algorithm>
#include <utility>

namespace sdpserver {
namespace {

// ITU-T Q.23: a key is one tone of its row and one of its column.
constexpr std::array<double, 4> kRowHz{697.0, 770.0, 852.0, 941.0};
constexpr std::array<double, 4> kColumnHz{1209.0, 1336.0, 1477.0, 1633.0};

/// (row, column) of events 0 to 9, *, #, A to D.
struct Key {
    uint8_t row;
    uint8_t column;
};
/// Of events 0 to 9, *, #, A to D.
constexpr std::array<Key, PressSender::kEvents> kKeys{
    {{3, 1}, {0, 0}, {0, 1}, {0, 2}, {1, 0}, {1, 1}, {1, 2}, {2, 0}, {2, 1}, {2, 2}, {3, 0}, {3, 2}, {0, 3}, {1, 3}, {2, 3}, {3, 3}}};

/// The volume of a press is that of both tones together (RFC 4733 section 2.3.4).
constexpr double kOneOfTwoDb = 3.0;

Tone tones_of(const PressOrder& order) {
    const auto [row, column] = kKeys[order.event % PressSender::kEvents];
    const std::array<double, 2> frequencies{kRowHz[row], kColumnHz[column]};
    return Tone(frequencies, {order.duration_ms, order.gap_ms}, -static_cast<double>(order.volume) - kOneOfTwoDb, 0.0, 1);
}

}  // namespace

bool PressSender::queue(const PressOrder& order) {
    if (count_ == kMaxQueued) return false;
    if (!busy()) due_ = next_start_;  // in the past, unless the pause after the last press is not over
    orders_[(first_ + count_++) % kMaxQueued] = order;
    return true;
}

void PressSender::clear() {
    ended_ += static_cast<uint32_t>(queued());
    count_ = 0;
    active_ = false;
}

uint32_t PressSender::take_ended() { return std::exchange(ended_, 0); }

void PressSender::begin(TimeNs now, uint32_t interval_ms) {
    current_ = orders_[first_];
    first_ = (first_ + 1) % kMaxQueued;
    --count_;
    active_ = true;
    start_ = now;
    ends_ = 0;
    any_packet_ = false;
    if (current_.in_band) {
        tone_.emplace(tones_of(current_));
        due_ = start_;
    } else {
        due_ = start_ + std::min(interval_ms, current_.duration_ms) * kMillisecond;
    }
}

PressSender::Step PressSender::step(TimeNs now, uint32_t interval_ms) {
    if (!active_) {
        if (count_ == 0) return Step::over;
        if (now < next_start_) {
            due_ = next_start_;
            return Step::nothing;
        }
        begin(now, interval_ms);
    }
    if (now < due_) return Step::nothing;
    return current_.in_band ? step_audio(now, interval_ms) : step_packet(now, interval_ms);
}

PressSender::Step PressSender::step_packet(TimeNs now, uint32_t interval_ms) {
    const TimeNs interval = interval_ms * kMillisecond;
    const TimeNs duration = current_.duration_ms * kMillisecond;
    const TimeNs elapsed = now - start_;
    packet_ = {
        .event = current_.event,
        .volume = current_.volume,
        .first = !std::exchange(any_packet_, true),
        .start = start_,
    };
    if (elapsed < duration) {
        const TimeNs steps = std::max<TimeNs>(elapsed / interval, 1);  // 0 only if the interval has grown meanwhile
        packet_.elapsed_ms = std::min(static_cast<uint32_t>(steps) * interval_ms, current_.duration_ms);
        due_ = start_ + std::min(duration, (steps + 1) * interval);
        return Step::packet;
    }
    packet_.end = true;
    packet_.elapsed_ms = current_.duration_ms;
    if (++ends_ == kEnds) {
        end(std::max(start_ + duration + current_.gap_ms * kMillisecond, now));
    } else {
        due_ = now + kEndIntervalMs * kMillisecond;
    }
    return Step::packet;
}

PressSender::Step PressSender::step_audio(TimeNs now, uint32_t interval_ms) {
    const TimeNs whole = (current_.duration_ms + current_.gap_ms) * kMillisecond;
    const TimeNs interval = interval_ms * kMillisecond;
    due_ += interval;
    if (due_ + 5 * interval < now) due_ = now + interval;  // held up for long: go on from here
    if (due_ >= start_ + whole) end(due_);
    return Step::audio;
}

void PressSender::end(TimeNs at) {
    active_ = false;
    ++ended_;
    next_start_ = due_ = at;
}

void PressSender::generate(std::span<int16_t> out, uint32_t rate_hz) {
    if (tone_) tone_->generate(out, rate_hz);
}

}  // namespace sdpserver
