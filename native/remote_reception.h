#pragma once
// What the peer says of the stream that a leg sends.

#include "clock.h"
#include "counters.h"
#include "rtcp.h"

namespace sdpserver {

class RemoteReception {
   public:
    explicit RemoteReception(LegFigures& figures) : figures_(figures) {}

    /// `clock_rate_hz`: of what we send; 0: nothing yet.
    void reported(const ReportBlock& block, uint32_t clock_rate_hz, TimeNs now);
    /// We send with another SSRC from now on, and the peer counts anew.
    void restart() { lost_before_ = figures_.remote_packets_lost.get(); }

   private:
    void smooth(double fraction);

    LegFigures& figures_;
    int64_t lost_before_ = 0;  // of SSRCs that have ended
};

}  // namespace sdpserver
