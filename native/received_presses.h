#pragma once
// The presses that a leg receives, as event packets or as tones in the audio: each is reported once, when it is over.

#include <memory>
#include <optional>

#include "codec.h"
#include "counters.h"
#include "inband_dtmf.h"
#include "rtp.h"
#include "telephone_event.h"
#include "timers.h"
#include "worker_context.h"

namespace sdpserver {

class ReceivedPresses {
   public:
    ReceivedPresses(LegId leg, LegTimers& timers, LegFigures& figures) : leg_(leg), timers_(timers), figures_(figures) {}

    /// A packet of a press.
    void on_packet(WorkerContext& context, const RtpPacket& packet, const Format& format);
    /// `Timer::press` is due.
    void on_timer(WorkerContext& context);
    /// What comes next is another stream.
    void restart(WorkerContext& context);
    /// What finds presses in the leg's audio and reports them here. `events` must outlive it, and so must this.
    std::shared_ptr<AudioSink> listen(EventQueue& events);

   private:
    enum class Method : uint8_t { rfc4733, inband };
    /// Some peers send a press both ways; whichever is over second is left out.
    static constexpr TimeNs kSamePress = 500 * kMillisecond;
    /// More presses than anybody can make are no presses: this many at once, then this many a second.
    static constexpr double kMaxAtOnce = 32.0;
    static constexpr double kMaxPerSecond = 25.0;

    struct Seen {
        uint8_t event = 0;
        TimeNs at = 0;
    };

    void over(EventQueue& events, const PressDetector::Press& press, Method method, TimeNs now);
    bool take_allowance(TimeNs now);
    void set_timer(WorkerContext& context);

    LegId leg_;
    LegTimers& timers_;
    LegFigures& figures_;
    PressDetector detector_;
    bool listening_ = false;
    std::optional<Seen> by_packets_;  // the newest, until the other way has brought it too
    std::optional<Seen> by_tones_;
    double allowance_ = kMaxAtOnce;
    TimeNs allowance_at_ = 0;
};

}  // namespace sdpserver
