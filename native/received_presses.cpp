#include "received_presses.h"

#include <algorithm>
#include <string>
#include <utility>

namespace sdpserver {

void ReceivedPresses::on_packet(WorkerContext& context, const RtpPacket& packet, const Format& format) {
    const auto event = TelephoneEvent::parse(packet.payload);
    if (!event) return;
    const auto outcome = detector_.packet(*event, packet.timestamp, format.clock_rate_hz, context.now);
    if (outcome.begun) figures_.telephone_events_received.add(1);
    if (outcome.ended) over(context.events, *outcome.ended, Method::rfc4733, context.now);
    set_timer(context);
}

/// Not moved with every packet: when it is due, it looks and runs on.
void ReceivedPresses::set_timer(WorkerContext& context) {
    const TimeNs due = detector_.due();
    if (due != 0 && timers_[static_cast<size_t>(Timer::press)] == 0) {
        context.timers.set(timers_, leg_, Timer::press, due);
    }
}

void ReceivedPresses::on_timer(WorkerContext& context) {
    timers_[static_cast<size_t>(Timer::press)] = 0;
    if (const auto press = detector_.expire(context.now)) {
        over(context.events, *press, Method::rfc4733, context.now);
    }
    set_timer(context);
}

void ReceivedPresses::restart(WorkerContext& context) {
    if (const auto press = detector_.restart()) over(context.events, *press, Method::rfc4733, context.now);
}

std::shared_ptr<AudioSink> ReceivedPresses::listen(EventQueue& events) {
    listening_ = true;
    return std::make_shared<InbandDtmfDetector>([this, &events](const InbandDtmfDetector::Press& press, TimeNs now) {
        over(events, {.event = press.event, .duration_ms = press.duration_ms}, Method::inband, now);
    });
}

void ReceivedPresses::over(EventQueue& events, const PressDetector::Press& press, Method method, TimeNs now) {
    if (listening_) {
        auto& other = method == Method::inband ? by_packets_ : by_tones_;
        if (other && other->event == press.event && now - other->at < kSamePress) {
            other.reset();
            return;
        }
        (method == Method::inband ? by_tones_ : by_packets_) = Seen{.event = press.event, .at = now};
    }
    if (!take_allowance(now)) return;
    events.push({EventKind::dtmf, leg_, now,
                 std::to_string(press.event) + ' ' + std::to_string(press.duration_ms) +
                     (method == Method::inband ? " inband" : " rfc4733")});
}

bool ReceivedPresses::take_allowance(TimeNs now) {
    const double passed_s = static_cast<double>(now - std::exchange(allowance_at_, now)) / static_cast<double>(kSecond);
    allowance_ = std::min(kMaxAtOnce, allowance_ + passed_s * kMaxPerSecond);
    if (allowance_ < 1.0) return false;
    allowance_ -= 1.0;
    return true;
}

}  // namespace sdpserver
