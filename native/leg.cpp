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

/// In 1/65536 s, as reports count delays.
uint32_t ntp_units(TimeNs time) { return static_cast<uint32_t>(time / kMicrosecond * 65536 / 1'000'000); }

/// How soon to look again whether a press that is relayed is over.
constexpr TimeNs kPressRetry = 20 * kMillisecond;
constexpr size_t kMaxFrameSamples = 60 * kWidebandHz / 1000;

}  // namespace

Leg::Leg(LegId id, std::shared_ptr<LegFigures> figures, const UdpSocket& shared, SendQueue& queue, IceAgent ice)
    : id_(id),
      figures_(std::move(figures)),
      ice_(std::move(ice)),
      transport_(shared, queue, *figures_),
      outbound_(id, transport_, formats_, *figures_),
      inlet_(id, timers_, figures_.get()),
      reception_(*figures_),
      remote_reception_(*figures_),
      presses_(id, timers_, *figures_),
      cname_(random_cname()) {}

Leg::Leg(LegId id, std::shared_ptr<LegFigures> figures, RtpSockets sockets, SendQueue& queue)
    : id_(id),
      figures_(std::move(figures)),
      transport_(std::move(sockets), queue, *figures_),
      outbound_(id, transport_, formats_, *figures_),
      inlet_(id, timers_, figures_.get()),
      reception_(*figures_),
      remote_reception_(*figures_),
      presses_(id, timers_, *figures_),
      cname_(random_cname()) {}

void Leg::set_formats(FormatTable formats, uint32_t ptime_ms) {
    formats_ = std::move(formats);
    outbound_.set_ptime(ptime_ms);
}

void Leg::set_direction(bool send, bool receive) {
    outbound_.set_enabled(send);
    if (!send) drop_presses();
    receives_ = receive;
}

void Leg::set_keys(SrtpProfile profile, ConstBytes send_master, ConstBytes receive_master) {
    transport_.set_keys(profile, send_master, receive_master);
    outbound_.restart();
    inlet_.restart();
    reception_.reset();
    remote_reception_.restart();
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
    figures_->last_heard.set(context.now);
    if (due(Timer::media_timeout) == 0) start_timeout(context, Timer::media_timeout, media_timeout_, context.now);
}

void Leg::send_from(Inlet* source) {
    if (source != nullptr && source_ == source) return;
    if (source_ != nullptr) source_->remove(*this);
    own_source_.reset();
    outbound_.detach();
    source_ = source;
    if (source_ != nullptr) source_->add(*this);
}

void Leg::send_from(WorkerContext& context, std::unique_ptr<AudioSource> source) {
    send_from(nullptr);
    own_source_ = std::move(source);
    start_frames(context);
}

void Leg::on_inlet_gone() {
    source_ = nullptr;
    outbound_.detach();
}

void Leg::play(WorkerContext& context, std::unique_ptr<AudioSource> sound, std::string tag) {
    stop_playing(context);
    playing_ = std::move(sound);
    playing_tag_ = std::move(tag);
    outbound_.detach();
    start_frames(context);
}

void Leg::stop_playing(WorkerContext& context) {
    if (!playing_) return;
    playing_.reset();
    outbound_.detach();
    context.events.push({EventKind::play_ended, id_, context.now, std::exchange(playing_tag_, {})});
}

void Leg::fade_playing(WorkerContext& context) {
    if (playing_ && transport_.can_send() && playing_->fade_out()) return;
    stop_playing(context);
}

void Leg::start_frames(WorkerContext& context) {
    if (due(Timer::frame) != 0) return;
    // Spread over the frame's time, so that a thousand waiting callers are not served in one burst.
    const TimeNs phase = static_cast<TimeNs>(id_ * 7 % outbound_.ptime_ms()) * kMillisecond;
    context.timers.set(timers_, id_, Timer::frame, context.now + phase);
}

void Leg::send_frame_of(WorkerContext& context, AudioSource& from) {
    const uint32_t rate_hz = std::min(from.natural_rate_hz(), outbound_.wanted_rate_hz());
    std::array<int16_t, kMaxFrameSamples> buffer;
    const auto samples = std::span(buffer).first(size_t{rate_hz} * outbound_.ptime_ms() / 1000);
    const bool goes_on = from.generate(samples, rate_hz);
    if (outbound_.send_audio(context, OutboundStream::kOwnAudio, {.samples = samples, .rate_hz = rate_hz})) {
        start_reports(context);
    }
    if (goes_on) return;
    if (playing_) {
        stop_playing(context);
    } else {
        own_source_.reset();
    }
}

/// A frame of our own is due.
void Leg::send_frame(WorkerContext& context) {
    const TimeNs was_due = std::exchange(due(Timer::frame), 0);
    AudioSource* from = playing_ ? playing_.get() : own_source_.get();
    if (from == nullptr) return;
    const uint32_t ptime_ms = outbound_.ptime_ms();
    // What is played waits until it can be heard: a browser's keys come after its answer.
    if (!playing_ || transport_.can_send()) send_frame_of(context, *from);
    const TimeNs ptime = static_cast<TimeNs>(ptime_ms) * kMillisecond;
    context.timers.set(timers_, id_, Timer::frame, next_tick(was_due, context.now, ptime));
}

InletSink::Verdict Leg::on_packet(WorkerContext& context, LegId source, const RtpPacket& packet, const Format& format) {
    if (playing_) {
        outbound_.skip(source, packet);
        return Verdict::passed;
    }
    const auto forwarded = outbound_.forward(context, source, packet, format);
    if (forwarded == OutboundStream::Forwarded::sent) start_reports(context);
    return forwarded == OutboundStream::Forwarded::needs_audio ? Verdict::needs_audio : Verdict::passed;
}

void Leg::on_audio(WorkerContext& context, LegId source, const AudioFrame& frame) { send_audio(context, source, frame); }

void Leg::send_audio(WorkerContext& context, LegId source, const AudioFrame& frame) {
    if (playing_) return;
    if (outbound_.send_audio(context, source, frame)) start_reports(context);
}

void Leg::send_presses(WorkerContext& context, std::span<const PressOrder> orders) {
    if (!press_sender_) press_sender_ = std::make_unique<PressSender>();
    uint32_t refused = 0;
    for (const PressOrder& order : orders) refused += press_sender_->queue(order) ? 0 : 1;
    figures_->presses_queued.fetch_sub(refused, std::memory_order_relaxed);
    if (due(Timer::press_out) == 0) context.timers.set(timers_, id_, Timer::press_out, context.now);
}

void Leg::send_press(WorkerContext& context) {
    due(Timer::press_out) = 0;
    if (!press_sender_ || !press_sender_->busy()) return;
    if (!press_sender_->sending() && outbound_.relays_press(context.now)) {
        context.timers.set(timers_, id_, Timer::press_out, context.now + kPressRetry);
        return;
    }
    const uint32_t ptime_ms = outbound_.ptime_ms();
    switch (press_sender_->step(context.now, ptime_ms)) {
        case PressSender::Step::packet:
            if (outbound_.send_press(context, press_sender_->packet())) start_reports(context);
            break;
        case PressSender::Step::audio: {
            const uint32_t rate_hz = outbound_.wanted_rate_hz();
            std::array<int16_t, kMaxFrameSamples> buffer;
            const auto samples = std::span(buffer).first(size_t{rate_hz} * ptime_ms / 1000);
            press_sender_->generate(samples, rate_hz);
            if (outbound_.send_press_audio(context, {.samples = samples, .rate_hz = rate_hz})) start_reports(context);
            break;
        }
        default: break;
    }
    figures_->presses_queued.fetch_sub(press_sender_->take_ended(), std::memory_order_relaxed);
    // Also in the pause between two, so that no scrap of speech is heard between their tones.
    outbound_.set_muted(press_sender_->busy());
    if (press_sender_->busy()) context.timers.set(timers_, id_, Timer::press_out, press_sender_->due());
}

void Leg::drop_presses() {
    if (!press_sender_) return;
    press_sender_->clear();
    figures_->presses_queued.fetch_sub(press_sender_->take_ended(), std::memory_order_relaxed);
    outbound_.set_muted(false);
    due(Timer::press_out) = 0;
}

void Leg::detect_inband_presses(WorkerContext& context, bool enabled) {
    if (enabled == (inband_presses_ != nullptr)) return;
    if (enabled) {
        inband_presses_ = presses_.listen(context.events);
        inlet_.add(inband_presses_);
    } else {
        inlet_.remove(*inband_presses_);
        inband_presses_.reset();
    }
}

void Leg::leave(WorkerContext& context) {
    if (figures_->packets_sent.get() > 0 || figures_->rtcp_sent.get() > 0) send_report(context, true);
    send_from(nullptr);
    inlet_.disconnect();
}

void Leg::prepare_move() {
    if (source_ != nullptr) source_->remove(*this);
    source_ = nullptr;
    outbound_.detach();
    inlet_.leave_sinks();
}

void Leg::settle_move(WorkerContext& context, SendQueue& queue) {
    transport_.set_queue(queue);
    for (size_t i = 0; i < kTimers; ++i) {
        if (timers_[i] != 0) context.timers.set(timers_, id_, static_cast<Timer>(i), timers_[i]);
    }
}

void Leg::prefetch(unsigned step) const {
    if (step == 0) return sdpserver::prefetch(this, sizeof *this);
    sdpserver::prefetch(figures_.get(), sizeof(LegFigures));
    formats_.prefetch();
    transport_.prefetch_sending();
}

void Leg::prefetch_receiving(unsigned step) const {
    switch (step) {
        case 0: return sdpserver::prefetch(this, sizeof *this);
        case 1:
            sdpserver::prefetch(figures_.get(), sizeof(LegFigures));
            formats_.prefetch();
            transport_.prefetch_receiving();
            return inlet_.prefetch();
        default: return inlet_.prefetch_sinks(step - 2);
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
    count_reception(context, *packet, *format);
    if (!receives_) {
        inlet_.pause();
        return figures_->dropped_direction.add(1);
    }

    if (figures_->packets_received.get() == 0) {
        context.events.push({EventKind::first_rtp_received, id_, context.now, codec_name(format->codec)});
    }
    start_reports(context);
    measure(context, *packet, *format);
    if (format->codec == Codec::red) {
        unwrap(context, *packet);
    } else {
        inlet_.on_packet(context, *packet, *format);
    }
}

/// What was lost is passed on with what came, so that those behind us need not know of redundancy.
void Leg::unwrap(WorkerContext& context, const RtpPacket& packet) {
    const uint64_t before = red_.recovered();
    const auto packets = red_.unwrap(packet);
    if (!packets) return figures_->dropped_malformed.add(1);
    figures_->packets_recovered.add(red_.recovered() - before);
    for (const RtpPacket& one : *packets) {
        const Format* format = formats_.received(one.payload_type);
        if (format == nullptr || !is_audio(format->codec)) {
            figures_->dropped_payload_type.add(1);
        } else {
            inlet_.on_packet(context, one, *format);
        }
    }
}

/// Also of what we drop on purpose: the network has not lost it.
void Leg::count_reception(WorkerContext& context, const RtpPacket& packet, const Format& format) {
    // The numbers of a telephone-event's packets count, their arrival does not: a press keeps one timestamp.
    const uint32_t clock_rate_hz = format.codec == Codec::telephone_event ? 0 : format.clock_rate_hz;
    if (reception_.received(packet, clock_rate_hz, context.now)) presses_.restart(context);
}

void Leg::measure(WorkerContext& context, const RtpPacket& packet, const Format& format) {
    figures_->packets_received.add(1);
    figures_->octets_received.add(packet.payload.size());
    if (format.codec == Codec::telephone_event) {
        presses_.on_packet(context, packet, format);
    } else if (is_audio(format.codec) || format.codec == Codec::red) {
        figures_->codec_received.set(format.codec);
    }
}

void Leg::on_rtcp(WorkerContext& context, Bytes datagram, const SocketAddress* learn) {
    if (transport_.open_rtcp(datagram) == Transport::Verdict::dropped) return;
    const auto feedback = parse_rtcp(datagram, outbound_.ssrc());
    if (!feedback) return figures_->dropped_malformed.add(1);
    if (learn != nullptr) transport_.learn_rtcp(*learn);
    figures_->rtcp_received.add(1);
    heard(context);

    if (const auto& report = feedback->sender_report) {
        reception_.sender_report(report->ssrc, report->ntp_middle, report->packets, context.now);
    }
    if (feedback->block) {
        remote_reception_.reported(*feedback->block, outbound_.clock_rate_hz(), context.now);
        outbound_.set_expected_loss(figures_->expected_loss.get());
    }
    if (feedback->voip_metrics) figures_->set_voip_metrics(*feedback->voip_metrics);
    if (feedback->reference_time) {
        reference_time_ = feedback->reference_time;
        reference_time_at_ = context.now;
    }
}

void Leg::start_reports(WorkerContext& context) {
    if (due(Timer::report) != 0) return;
    context.timers.set(timers_, id_, Timer::report, context.now + randomised(context.report_interval / 2));
}

void Leg::send_report(WorkerContext& context, bool bye) {
    const uint64_t sent = figures_->packets_sent.get();
    RtcpReport report{
        .ssrc = outbound_.ssrc(),
        .sender = {},
        .block = reception_.report(context.now),
        .cname = cname_,
        .reference_time = std::exchange(reference_time_, std::nullopt),
        .bye = bye,
    };
    if (report.reference_time) report.reference_time->delay = ntp_units(context.now - reference_time_at_);
    // A sender report only of what was sent since the last one (RFC 3550 section 6.4).
    if (sent != sent_at_last_report_) report.sender = outbound_.sender_info(context.now);
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
        case Timer::frame: send_frame(context); return;
        case Timer::playout: inlet_.on_timer(context); return;
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
        case Timer::press: presses_.on_timer(context); return;
        case Timer::press_out: send_press(context); return;
        case Timer::ice_check: return;  // the shared port's
    }
}

}  // namespace sdpserver
