#pragma once
// When a wait for packets may go on after the first one has come.
//
// Half of what a busy relay costs is waking up for each packet. Letting them gather for a moment has a few share one
// wake-up, for at most that much delay. A wait that ends early when many have come costs bursts nothing, so the load of
// the last moments is all that decides; and after a pause the first packet goes on at once.

#include <cstdint>

#include "clock.h"

namespace sdpserver {

class Gathering {
   public:
    /// A wait that lets packets gather ends when so many have come.
    static constexpr unsigned kMany = 32;

    /// `longest` 0: never.
    explicit Gathering(TimeNs longest) : longest_(longest) {}

    /// For how long the next wait goes on for the sake of more packets; 0: it ends with the first.
    TimeNs wait() const { return engaged_ && heard_ ? longest_ : 0; }

    /// After each round.
    void served(TimeNs now, uint64_t packets_in_all) {
        heard_ = packets_in_all != packets_;
        packets_ = packets_in_all;
        if (now - window_start_ < kWindow) return;
        const uint64_t packets = packets_in_all - packets_before_;
        engaged_ = longest_ > 0 && now - window_start_ < 2 * kWindow && packets >= (engaged_ ? kStillEnough : kEnough);
        window_start_ = now;
        packets_before_ = packets_in_all;
    }

   private:
    static constexpr TimeNs kWindow = 20 * kMillisecond;
    static constexpr uint64_t kEnough = 40;  // in a window: 2,000 a second, 20 calls
    static constexpr uint64_t kStillEnough = 30;

    TimeNs longest_;
    bool engaged_ = false;
    bool heard_ = false;
    uint64_t packets_ = 0;
    uint64_t packets_before_ = 0;
    TimeNs window_start_ = 0;
};

}  // namespace sdpserver
