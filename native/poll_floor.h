#pragma once
// When to let packets gather before looking again.
//
// Half of what a busy relay costs is one wake-up for each packet. Not polling more often than once a millisecond lets
// a dozen packets share one, for at most that much delay. It gains nothing, and costs delay, at low load or when packets come
// in bursts anyway, so it is engaged only by a window of many wake-ups with few packets each.

#include <cstdint>
#include <ctime>

#include "clock.h"

namespace sdpserver {

class PollFloor {
   public:
    static constexpr TimeNs kFloor = kMillisecond;

    bool engaged() const { return engaged_; }

    /// Sleep until the floor is up, if it is engaged and packets are still few.
    void wait() const {
        if (!engaged_) return;
        const TimeNs left = last_poll_ + kFloor - monotonic_ns();
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
            // Left when a floor's worth of packets is too few to matter, or when most of the window was quiet, which
            // means that they come in bursts.
            engaged_ = packets >= kMinGathered * polls_ && polls_ >= kBusyPolls / 2;
        } else {
            engaged_ = polls_ > 2 * kBusyPolls && packets < kFewPackets * polls_;
        }
        window_start_ = now;
        packets_before_ = packets_in_all;
        polls_ = 0;
    }

   private:
    static constexpr TimeNs kWindow = 20 * kMillisecond;
    static constexpr uint64_t kBusyPolls = kWindow / kFloor;
    static constexpr uint64_t kMinGathered = 4;
    static constexpr uint64_t kFewPackets = 8;

    bool engaged_ = false;
    TimeNs last_poll_ = 0;
    TimeNs window_start_ = 0;
    uint64_t polls_ = 0;
    uint64_t packets_before_ = 0;
};

}  // namespace sdpserver
