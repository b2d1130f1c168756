#pragma once
// RTP timestamps of one source on one continuous line of media time, whatever their clock rate, wraps and jumps.

#include <optional>

#include "clock.h"

namespace sdpserver {

class MediaTimeline {
   public:
    struct Stamp {
        uint16_t sequence = 0;
        uint32_t timestamp = 0;
        uint32_t clock_rate_hz = 0;
        uint32_t duration = 0;  // media time, 1/48000 s
    };

    /// Where the packet begins, in 1/48000 s from the first one. While the clock goes on, timestamps alone decide. When
    /// it jumps, or another clock rate begins (RFC 7160), the packet goes behind the newest one.
    /// Nothing: a lone packet far from where its source was; the next one in sequence shows whether it has started anew.
    std::optional<int64_t> place(const Stamp& stamp, TimeNs now);
    void reset() { *this = {}; }

   private:
    struct Anchor {
        uint32_t clock_rate_hz = 0;
        uint32_t timestamp = 0;
        int64_t at = 0;

        int64_t place(uint32_t other) const;
    };

    bool started_ = false;
    Anchor current_;   // the newest packet
    Anchor previous_;  // the last one before the clock changed
    int64_t changed_at_ = 0;
    uint16_t newest_sequence_ = 0;
    uint32_t newest_duration_ = 0;
    TimeNs newest_arrival_ = 0;
    bool jump_suspected_ = false;
    uint16_t expected_after_jump_ = 0;
};

}  // namespace sdpserver
