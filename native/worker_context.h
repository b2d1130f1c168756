#pragma once
// What a worker lends its legs while they handle a packet, a command or a timer.

#include "event_queue.h"
#include "timers.h"

namespace sdpserver {

struct WorkerContext {
    EventQueue& events;
    TimerHeap& timers;
    TimeNs report_interval;  // mean time between RTCP reports
    TimeNs now;              // read once a round
};

}  // namespace sdpserver
