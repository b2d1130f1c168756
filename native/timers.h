#pragma once
// Due times of one worker's legs.

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "clock.h"
#include "event_queue.h"

namespace sdpserver {

enum class Timer : uint8_t { frame, playout, report, ice_check, ice_timeout, media_timeout, press, press_out };
inline constexpr size_t kTimers = 8;

/// When each timer of a leg is due; 0: it is not set.
using LegTimers = std::array<TimeNs, kTimers>;

/// When the next of a line of even ticks is due. What was held up for too long goes on from now, instead of hurrying
/// through all that was missed.
inline TimeNs next_tick(TimeNs was_due, TimeNs now, TimeNs interval) {
    constexpr TimeNs kMaxCatchUp = 100 * kMillisecond;
    return (now - was_due > kMaxCatchUp ? now : was_due) + interval;
}

/// A heap of due times. A timer that was set again, or whose leg has gone, leaves a stale entry, which whoever takes
/// it recognises by comparing with `LegTimers`.
class TimerHeap {
   public:
    struct Entry {
        TimeNs due = 0;
        LegId leg = 0;
        Timer timer{};
    };

    void set(LegTimers& timers, LegId leg, Timer timer, TimeNs due) {
        timers[static_cast<size_t>(timer)] = due;
        entries_.push_back({due, leg, timer});
        std::ranges::push_heap(entries_, later);
    }
    std::optional<Entry> take_due(TimeNs now) {
        if (entries_.empty() || entries_.front().due > now) return std::nullopt;
        std::ranges::pop_heap(entries_, later);
        const Entry entry = entries_.back();
        entries_.pop_back();
        return entry;
    }
    size_t size() const { return entries_.size(); }
    std::optional<TimeNs> next() const { return entries_.empty() ? std::nullopt : std::optional(entries_.front().due); }

   private:
    static bool later(const Entry& a, const Entry& b) { return a.due > b.due; }

    std::vector<Entry> entries_;
};

}  // namespace sdpserver
