#include "leg.h"

#include <algorithm>
#include <array>

#include "random.h"

namespace sdpserver {
namespace {

/// RFC 7022 section 4.2: 96 random bits for each session, so that calls of one user cannot be linked.
std::string random_cname() {
    static constexpr std::string_view kDigits = "0123456789abcdef";
    std::array<uint8_t, 12> octets;
    random_bytes(octets);
    std::string name;
    for (const uint8_t octet : octets) {
        name += kDigits[octet >> 4];
        name += kDigits[octet & 15];
    }
    return name;
}

/// 0.5 to 1.5 times the mean (RFC 3550 section 6.2).
TimeNs randomised(TimeNs mean) {
    return mean / 2 + static_cast<TimeNs>(random_u32() * 0x1p-32 * static_cast<double>(mean));
}

/// 1/65536 s, as reports count delays.
double ntp_units_to_ms(uint32_t units) { return units * 1000.0 / 65536.0; }

constexpr double kMaxRoundTripMs = 60'000.0;
/// A worker held up for longer than this goes on from now instead of sending all that it missed.
constexpr TimeNs kMaxCatchUp = 100 * kMillisecond;

}  // namespace

Leg::Leg(LegId id, std::shared_ptr<LegFigures> figures, const UdpSocket& shared, SendQueue& queue, IceAgent ice)
    : id_(id),
      figures_(std::move(figures)),
      ice_(std::move(ice)),
      transport_(shared, queue, *figures_),
      outbound_(id, transport_, formats_, *figures_),
      cname_(random_cname()) {}

Leg::Leg(LegId id, std::shared_ptr<LegFigures> figures, RtpSockets sockets, SendQueue& queue)
    : id_(id),
      figures_(std::move(figures)),
      transport_(std::move(sockets), queue, *figures_),
      outbound_(id, transport_, formats_, *figures_),
      cname_(random_cname()) {}

void Leg::set_formats(FormatTable formats, uint32_t ptime_ms) {
    formats_ = std::move(formats);
    ptime_ms_ = ptime_ms;
}

void Leg::set_direction(bool send, bool receive) {
    outbound_.set_enabled(send);
    receives_ = receive;
}

void Leg::set_keys(SrtpProfile profile, ConstBytes send_master, ConstBytes receive_master) {
    transport_.set_keys(profile, send_master, receive_master);
    outbound_.restart();
    lost_before_ = figures_->packets_lost.get();
    reception_.reset();
}

void Leg::set_timeouts(WorkerContext& context, TimeNs ice_timeout, TimeNs media_timeout) {
    ice_timeout_ = ice_timeout;
    media_timeout_ = media_timeout;
    if (last_check_ != 0) {
        last_check_ = context.now;
        start_timeout(context, Timer::ice_timeout, ice_timeout_, context.now);
    }
    last_media_ = context.now;
    start_timeout(context, Timer::media_timeout, media_timeout_, context.now);
}

/// A timer that runs already is left alone if it is early enough: when it is due, it looks and runs on. So neither
/// packets nor commands, however many, add to the heap.
void Leg::start_timeout(WorkerContext& context, Timer timer, TimeNs limit, TimeNs since) {
    if (limit == 0 || (due(timer) != 0 && due(timer) <= since + limit)) return;
    context.timers.set(timers_, id_, timer, since + limit);
}

/// RTP or RTCP has come.
void Leg::heard(WorkerContext& context) {
    last_media_ = context.now;
    if (due(Timer::media_timeout) == 0) start_timeout(context, Timer::media_timeout, media_timeout_, context.now);
}

void Leg::send_nothing() {
    if (source_ != nullptr) std::erase(source_->sinks_, this);
    source_ = nullptr;
    tone_.reset();
    due(Timer::frame) = 0;
    outbound_.detach();
}

void Leg::send_from(Leg& source) {
    if (source_ == &source) return;
    send_nothing();
    source_ = &source;
    source.sinks_.push_back(this);
}

void Leg::send_tone(WorkerContext& context, Tone tone) {
    send_nothing();
    tone_ = std::make_unique<Tone>(std::move(tone));
    // Spread over the frame's time, so that a thousand waiting callers are not served in one burst.
    const TimeNs phase = static_cast<TimeNs>(id_ * 7 % ptime_ms_) * kMillisecond;
    context.timers.set(timers_, id_, Timer::frame, context.now + phase);
}

void Leg::leave(WorkerContext& context) {
    if (figures_->packets_sent.get() > 0 || figures_->rtcp_sent.get() > 0) send_report(context, true);
    send_nothing();
    for (Leg* sink : std::exchange(sinks_, {})) {
        sink->source_ = nullptr;
        sink->outbound_.detach();
    }
}

void Leg::on_check(WorkerContext& context) {
    const bool first = last_check_ == 0;
    last_check_ = context.now;
    if (first) start_timeout(context, Timer::ice_timeout, ice_timeout_, context.now);
}

void Leg::on_shared_datagram(WorkerContext& context, Bytes datagram) {
    if (is_rtcp(datagram)) {
        on_rtcp(context, datagram, nullptr);
    } else {
        on_rtp(context, datagram, nullptr);
    }
}

void Leg::on_own_datagram(WorkerContext& context, Transport::Component component, const SocketAddress& source,
                          Bytes datagram) {
    if (transport_.multiplexed() && datagram.size() > 1 && is_rtcp(datagram)) component = Transport::Component::rtcp;
    if (transport_.check_source(component, source) == Transport::Verdict::dropped) return;
    if (component == Transport::Component::rtcp) {
        on_rtcp(context, datagram, &source);
    } else {
        on_rtp(context, datagram, &source);
    }
}

void Leg::on_rtp(WorkerContext& context, Bytes datagram, const SocketAddress* learn) {
    if (transport_.open_rtp(datagram) == Transport::Verdict::dropped) return;
    const auto packet = parse_rtp(datagram);
    if (!packet) return figures_->dropped_malformed.add(1);
    const Format* format = formats_.received(packet->payload_type);
    if (format == nullptr) return figures_->dropped_payload_type.add(1);
    if (learn != nullptr) transport_.learn_rtp(*learn);

    heard(context);
    if (!receives_) {
        for (Leg* sink : sinks_) sink->outbound_.detach();
        return figures_->dropped_direction.add(1);
    }

    if (figures_->packets_received.get() == 0) {
        context.events.push({EventKind::first_rtp_received, id_, context.now, codec_name(format->codec)});
    }
    start_reports(context);
    measure(context, *packet, *format);
    forward_to_sinks(context, *packet, *format);
}

void Leg::forward_to_sinks(WorkerContext& context, const RtpPacket& packet, const Format& format) {
    for (Leg* sink : sinks_) {
        if (sink->outbound_.forward(context, id_, packet, format)) sink->start_reports(context);
    }
}

void Leg::measure(WorkerContext& context, const RtpPacket& packet, const Format& format) {
    figures_->packets_received.add(1);
    figures_->octets_received.add(packet.payload.size());
    if (!reception_ || reception_->ssrc() != packet.ssrc) {
        lost_before_ = figures_->packets_lost.get();
        reception_.emplace(packet.ssrc, packet.sequence);
        presses_ = {};
    }
    const bool event = format.codec == Codec::telephone_event;
    if (event) {
        const auto press = TelephoneEvent::parse(packet.payload);
        if (press && presses_.place(*press, packet.timestamp) == PressTracker::Place::first) {
            figures_->telephone_events_received.add(1);
        }
    } else {
        figures_->codec_received.set(format.codec);
    }
    reception_->received(packet, event ? 0 : format.clock_rate_hz, context.now);
    figures_->packets_lost.set(lost_before_ + reception_->lost());
    figures_->jitter_ms.set(reception_->jitter_ms());
}

void Leg::on_rtcp(WorkerContext& context, Bytes datagram, const SocketAddress* learn) {
    if (transport_.open_rtcp(datagram) == Transport::Verdict::dropped) return;
    const auto feedback = parse_rtcp(datagram, outbound_.ssrc());
    if (!feedback) return figures_->dropped_malformed.add(1);
    if (learn != nullptr) transport_.learn_rtcp(*learn);
    figures_->rtcp_received.add(1);
    heard(context);

    if (feedback->sender_report && reception_ && feedback->sender_report->ssrc == reception_->ssrc()) {
        reception_->sender_report(feedback->sender_report->ntp_middle, context.now);
    }
    if (!feedback->block) return;
    figures_->remote_packets_lost.set(feedback->block->lost);
    if (const uint32_t clock_rate = outbound_.clock_rate_hz(); clock_rate > 0) {
        figures_->remote_jitter_ms.set(feedback->block->jitter * 1000.0 / clock_rate);
    }
    if (feedback->block->last_report != 0) {
        const uint32_t units = ntp_middle(context.now) - feedback->block->last_report - feedback->block->delay;
        // Rounding can make a short trip negative; a long one is a lie or a report of another stream.
        const double trip_ms = static_cast<int32_t>(units) < 0 ? 0.0 : ntp_units_to_ms(units);
        if (trip_ms <= kMaxRoundTripMs) figures_->round_trip_ms.set(trip_ms);
    }
}

void Leg::start_reports(WorkerContext& context) {
    if (due(Timer::report) != 0) return;
    context.timers.set(timers_, id_, Timer::report, context.now + randomised(context.report_interval / 2));
}

void Leg::send_report(WorkerContext& context, bool bye) {
    const uint64_t sent = figures_->packets_sent.get();
    RtcpReport report{.ssrc = outbound_.ssrc(), .sender = {}, .reception = nullptr, .cname = cname_, .bye = bye};
    // A sender report only of what was sent since the last one (RFC 3550 section 6.4).
    if (sent != sent_at_last_report_) report.sender = outbound_.sender_info(context.now);
    if (reception_) report.reception = &*reception_;
    const size_t length = write_rtcp({transport_.slot(), SendQueue::kSlot}, report, context.now);
    if (transport_.send_rtcp(length)) {
        figures_->rtcp_sent.add(1);
        sent_at_last_report_ = sent;
    }
}

void Leg::on_timeout(WorkerContext& context, Timer timer, EventKind kind, TimeNs limit, TimeNs since) {
    due(timer) = 0;
    if (limit == 0) return;  // no longer wanted
    if (context.now - since < limit) {
        start_timeout(context, timer, limit, since);
    } else {
        context.events.push({kind, id_, context.now, {}});
    }
}

void Leg::on_timer(WorkerContext& context, Timer timer) {
    switch (timer) {
        case Timer::frame: {
            if (!tone_) return;
            const TimeNs ptime = static_cast<TimeNs>(ptime_ms_) * kMillisecond;
            const TimeNs frame = due(Timer::frame);
            if (outbound_.send_tone(context, *tone_, ptime_ms_)) start_reports(context);
            const TimeNs next = context.now - frame > kMaxCatchUp ? context.now + ptime : frame + ptime;
            context.timers.set(timers_, id_, Timer::frame, next);
            return;
        }
        case Timer::report:
            send_report(context, false);
            context.timers.set(timers_, id_, Timer::report, context.now + randomised(context.report_interval));
            return;
        case Timer::ice_timeout:
            on_timeout(context, timer, EventKind::ice_timeout, ice_timeout_, last_check_);
            return;
        case Timer::media_timeout:
            on_timeout(context, timer, EventKind::media_timeout, media_timeout_, last_media_);
            return;
        case Timer::ice_check: return;  // the shared port's
    }
}

}  // namespace sdpserver
