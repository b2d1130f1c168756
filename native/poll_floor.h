#pragma once
// When to let packets gather before looking again.
//
// Half of what a busy relay costs is one wake-up for each packet. Not polling more often than once a millisecond, say, lets
// a dozen packets share one, for at most that much delay. It gains nothing, and costs delay, at low load or when packets come
// in bursts anyway, so it is engaged only by a window of many wake-ups with few packets each.

#include <cstdint>
#include <ctime>

#include "clock.h"

namespace sdpserver {

class PollFloor {
   public:
    /// 0: never.
    explicit PollFloor(TimeNs floor = kMillisecond) : floor_(floor) {}

    bool engaged() const { return engaged_; }

    /// Sleep until the floor is up, if it is engaged and packets are still few.
    void wait() const {
        if (!engaged_) return;
        const TimeNs left = last_poll_ + floor_ - monotonic_ns();
        if (left <= 0) return;
        const timespec pause{.tv_sec = 0, .tv_nsec = left};
        nanosleep(&pause, nullptr);
    }

    /// After each poll.
    void polled(TimeNs now, uint64_t packets_in_all) {
        last_poll_ = now;
        ++polls_;
        if (now - window_start_ < kWindow) return;
        const uint64_t packets = packets_in_all - packets_before_;
        if (engaged_) {
            // Too few packets to be worth it, or most of the window was quiet, which means that they come in bursts.
            engaged_ = packets >= kWorthIt && polls_ >= kFloors / 2;
            if (!engaged_) left_at_ = now;
        } else {
            engaged_ = floor_ > 0 && packets >= kMany && packets < kFewEach * polls_ && now - left_at_ >= kHoldOff;
        }
        window_start_ = now;
        packets_before_ = packets_in_all;
        polls_ = 0;
    }

   private:
    static constexpr TimeNs kWindow = 20 * kMillisecond;
    static constexpr TimeNs kHoldOff = kSecond;  // a load that the floor does not suit is not tried in every window
    static constexpr uint64_t kFloors = kWindow / kMillisecond;
    static constexpr uint64_t kMany = 6 * kFloors;     // packets in a window: 6,000 a second, 60 calls
    static constexpr uint64_t kWorthIt = 4 * kFloors;
    static constexpr uint64_t kFewEach = 8;

    TimeNs floor_;
    bool engaged_ = false;
    TimeNs last_poll_ = 0;
    TimeNs left_at_ = -kHoldOff;
    TimeNs window_start_ = 0;
    uint64_t polls_ = 0;
    uint64_t packets_before_ = 0;
};

}  // namespace sdpserver
