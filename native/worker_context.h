#pragma once
// What a worker lends its legs while they handle a packet, a command or a timer.

#include "audio_encoder.h"
#include "event_queue.h"
#include "playout.h"
#include "timers.h"

namespace sdpserver {

struct AudioSettings {
    Playout::Settings playout;
    AudioEncoder::Settings encoder;
};

struct WorkerContext {
    EventQueue& events;
    TimerHeap& timers;
    const AudioSettings& audio;
    TimeNs report_interval;  // mean time between RTCP reports
    TimeNs now;              // read once a round
};

}  // namespace sdpserver
