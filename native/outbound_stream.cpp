#include "outbound_stream.h"

#include <opus/opus.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "comfort_noise.h"

namespace sdpserver {
namespace {

/// Marks the id of a leg in the rewriter: what we encode of it is not the stream that is relayed of it.
constexpr LegId kEncoded = LegId{1} << 63;
constexpr uint32_t kPtimeStepMs = 10;
constexpr uint32_t kMaxPtimeMs = 200;
/// Noise is described anew when it has changed by so much, not more often than so, and so often if it has not.
constexpr int kNoiseStepDb = 3;
constexpr TimeNs kNoiseInterval = 200 * kMillisecond;
constexpr TimeNs kNoiseRepeated = 2 * kSecond;
/// The end of a press is sent three times.
constexpr TimeNs kEndRepeated = 60 * kMillisecond;

/// 0: not a whole packet of that codec.
uint32_t duration_ms(Codec codec, ConstBytes payload) {
    if (codec != Codec::opus) return static_cast<uint32_t>(payload.size() / 8);  // G.711 and G.722: 64 kb/s
    const int samples =
        opus_packet_get_nb_samples(payload.data(), static_cast<opus_int32>(payload.size()), kNarrowbandHz);
    return samples > 0 ? static_cast<uint32_t>(samples) * 1000 / kNarrowbandHz : 0;
}

}  // namespace

void OutboundStream::set_enabled(bool enabled) {
    if (enabled != enabled_) detach();
    enabled_ = enabled;
}

void OutboundStream::restart() {
    rewriter_.restart();
    packets_ = octets_ = 0;
    presses_ = {};
}

uint32_t OutboundStream::wanted_rate_hz() const {
    const Format* out = formats_.first_linear();
    if (out == nullptr || !is_wideband(out->codec)) return kNarrowbandHz;
    const bool narrow = out->codec == Codec::opus && opus_receiver_ && opus_receiver_->max_playback_rate_hz < kWidebandHz;
    return narrow ? kNarrowbandHz : kWidebandHz;
}

void OutboundStream::set_opus_receiver(const OpusReceiver& receiver) {
    if (opus_receiver_ == receiver) return;
    opus_receiver_ = receiver;
    encoder_.reset();  // made anew with what follows
}

void OutboundStream::set_expected_loss(double fraction) {
    expected_loss_ = fraction;
    if (encoder_) encoder_->set_expected_loss(fraction);
}

OutboundStream::Forwarded OutboundStream::forward(WorkerContext& context, LegId source, const RtpPacket& packet,
                                                  const Format& in) {
    if (!enabled_ || !transport_.can_send()) {
        detach();  // what was not sent on purpose must not look like loss
        return Forwarded::dropped;
    }
    if (muted_) {
        skip(source, packet);
        return Forwarded::dropped;
    }
    if (in.codec == Codec::telephone_event) {
        return forward_event(context, source, packet, in) ? Forwarded::sent : Forwarded::dropped;
    }

    const uint32_t packet_ms = is_audio(in.codec) ? duration_ms(in.codec, packet.payload) : 0;
    const Format* out = formats_.same(in);
    Conversion conversion = Conversion::relay;
    if (out == nullptr && is_g711(in.codec)) {
        const Format* first = formats_.first_linear();
        if (first != nullptr && is_g711(first->codec)) {
            out = first;
            conversion = Conversion::convert;
        }
    }
    // Opus is never repacketised: taking it apart would cost quality, and every receiver takes any length. Nor is what
    // has no length that SDP's ptime can have, the end of a talk spurt for instance.
    const bool right_length = in.codec == Codec::opus || packet_ms == ptime_ms_ || packet_ms == 0 ||
                              packet_ms % kPtimeStepMs != 0 || packet_ms > kMaxPtimeMs;
    if (packet.payload.empty()) {  // a keep-alive without audio
        skip(source, packet);
        return Forwarded::dropped;
    }
    if (out == nullptr || !right_length) {
        skip(source, packet);
        if (formats_.first_linear() != nullptr && (is_linear(in.codec) || in.codec == Codec::comfort_noise)) {
            return Forwarded::needs_audio;
        }
        figures_.dropped_conversion.add(1);
        return Forwarded::dropped;
    }

    const Rewriter::Source stream{
        .id = source, .ssrc = packet.ssrc, .clock_rate_in = in.clock_rate_hz, .clock_rate_out = out->clock_rate_hz};
    uint8_t* payload = transport_.slot() + kRtpHeaderLength;
    if (conversion == Conversion::convert) {
        convert_g711(in.codec, packet.payload, payload);
    } else {
        std::ranges::copy(packet.payload, payload);
    }
    const auto numbers = rewriter_.map(stream, packet, context.now, packet_ms);
    if (!numbers) return Forwarded::dropped;
    figures_.conversion.set(conversion);
    const bool marker = packet.marker || numbers->first;
    return send(context, *out, *numbers, marker, packet.payload.size()) ? Forwarded::sent : Forwarded::dropped;
}

void OutboundStream::skip(LegId source, const RtpPacket& packet) { rewriter_.skip(source, packet); }

AudioEncoder& OutboundStream::encoder(const WorkerContext& context) {
    if (!encoder_) {
        AudioEncoder::Settings settings = context.audio.encoder;
        if (opus_receiver_) {
            settings.opus_max_bitrate_bps = opus_receiver_->max_average_bitrate_bps;
            settings.opus_max_rate_hz = opus_receiver_->max_playback_rate_hz;
            settings.opus_fec = opus_receiver_->use_inband_fec;
            settings.opus_dtx = settings.opus_dtx || opus_receiver_->use_dtx;
        }
        encoder_ = std::make_unique<AudioEncoder>(settings);
        encoder_->set_expected_loss(expected_loss_);
    }
    return *encoder_;
}

bool OutboundStream::send_audio(WorkerContext& context, LegId source, const AudioFrame& frame) {
    // A press takes the place of audio (RFC 4733 section 2.6); what the jitter buffer makes up meanwhile is nothing that
    // anyone said, and phones take audio within a press for its end.
    if (!muted_ && !relays_press(context.now)) return encode(context, source, frame);
    if (const Format* out = formats_.first_linear(); out != nullptr && source == encoded_source_) {
        encoded_timestamp_ += frame.duration_ms() * (out->clock_rate_hz / 1000);
    }
    return false;
}

bool OutboundStream::encode(WorkerContext& context, LegId source, const AudioFrame& frame) {
    const Format* out = formats_.first_linear();
    if (out == nullptr || !enabled_ || !transport_.can_send()) {
        if (out == nullptr) figures_.dropped_conversion.add(1);
        detach();
        return false;
    }
    AudioEncoder& codec = encoder(context);
    if (source != encoded_source_) {
        encoded_source_ = source;
        pausing_ = false;
        codec.reset();
        detach();
    }
    codec.set_format(out->codec, ptime_ms_);
    if (const Format* noise = noise_format(frame, *out); noise != nullptr && codec.empty()) {
        return send_noise(context, *out, *noise, frame);
    }
    codec.put(frame);

    // Encoded audio is a stream of its own, without gaps; where it takes turns with relayed packets, each change is one.
    const Rewriter::Source stream = encoded_stream(*out);
    bool sent = false;
    while (const auto payload = codec.take({transport_.slot() + kRtpHeaderLength, AudioEncoder::kMaxPayload})) {
        const RtpPacket packet{.sequence = encoded_sequence_, .timestamp = encoded_timestamp_};
        encoded_timestamp_ += payload->duration_ms * (out->clock_rate_hz / 1000);
        if (payload->dtx || payload->octets == 0) continue;  // silence that is not sent: the timestamps go on
        ++encoded_sequence_;
        const auto numbers = rewriter_.map(stream, packet, context.now, payload->duration_ms);
        if (!numbers) continue;
        const bool own = source == kOwnAudio || source == kOwnPresses;
        figures_.conversion.set(own ? Conversion::none : Conversion::transcode);
        sent |= send(context, *out, *numbers, numbers->first || std::exchange(pausing_, false), payload->octets);
    }
    return sent;
}

Rewriter::Source OutboundStream::encoded_stream(const Format& audio) const {
    return {.id = encoded_source_ | kEncoded,
            .ssrc = 0,
            .clock_rate_in = audio.clock_rate_hz,
            .clock_rate_out = audio.clock_rate_hz};
}

/// Of a frame in which the source pauses, for a peer that takes noise in place of it (RFC 3389); else null.
const Format* OutboundStream::noise_format(const AudioFrame& frame, const Format& audio) const {
    const bool pause = frame.kind == AudioKind::comfort_noise || frame.kind == AudioKind::silence;
    return pause ? formats_.comfort_noise(audio.clock_rate_hz) : nullptr;
}

/// The level of a pause: at its beginning, when it changes, and now and then in case one is lost.
bool OutboundStream::send_noise(WorkerContext& context, const Format& audio, const Format& noise, const AudioFrame& frame) {
    const RtpPacket packet{.sequence = encoded_sequence_, .timestamp = encoded_timestamp_};
    encoded_timestamp_ += frame.duration_ms() * (audio.clock_rate_hz / 1000);
    const uint8_t level = comfort_noise_level(mean_square(frame.samples));
    const bool changed = std::abs(int{level} - int{noise_level_}) >= kNoiseStepDb;
    if (pausing_ && context.now - noise_sent_ < (changed ? kNoiseInterval : kNoiseRepeated)) return false;
    ++encoded_sequence_;
    const auto numbers = rewriter_.map(encoded_stream(audio), packet, context.now, 0);
    if (!numbers) return false;
    transport_.slot()[kRtpHeaderLength] = level;
    pausing_ = true;
    noise_sent_ = context.now;
    noise_level_ = level;
    return send(context, noise, *numbers, false, 1);
}

bool OutboundStream::forward_event(WorkerContext& context, LegId source, const RtpPacket& packet, const Format& in) {
    auto event = TelephoneEvent::parse(packet.payload);
    // Events share the audio's timestamps (RFC 4733 section 2.1), so they keep its clock rates where there are any.
    Rewriter::Source stream = rewriter_.source();
    if (press_source_ != source || press_ssrc_ != packet.ssrc) {
        presses_ = {};
        press_source_ = source;
        press_ssrc_ = packet.ssrc;
    }
    if (!rewriter_.attached_to(source, packet.ssrc)) {
        const Format* audio = formats_.first_linear();
        stream = {
            .id = source,
            .ssrc = packet.ssrc,
            .clock_rate_in = in.clock_rate_hz,
            .clock_rate_out = audio != nullptr ? audio->clock_rate_hz : in.clock_rate_hz,
        };
    }
    const Format* out = formats_.telephone_event(stream.clock_rate_out);
    if (!event || out == nullptr) {
        figures_.dropped_conversion.add(1);
        rewriter_.skip(source, packet);
        return false;
    }
    auto numbers = rewriter_.map(stream, packet, context.now, 0);
    if (!numbers) return false;

    const PressTracker::Place place = presses_.place(*event, packet.timestamp);
    if (place == PressTracker::Place::first) press_timestamp_ = numbers->timestamp;
    uint32_t duration = event->duration;
    if (place != PressTracker::Place::in_earlier_press) {
        // All of a press keeps to one timestamp; segments are cut anew, since they end elsewhere at another clock rate.
        numbers->timestamp = press_timestamp_;
        duration = presses_.duration(*event, packet.timestamp);
        relayed_press_until_ = context.now + (event->end() ? kEndRepeated : PressDetector::kTimeout);
    }
    const ScaledDuration scaled = ScaledDuration::of(duration, in.clock_rate_hz, out->clock_rate_hz);
    event->duration = scaled.duration;
    numbers->timestamp += static_cast<uint32_t>(uint64_t{scaled.timestamp_advance} * stream.clock_rate_out /
                                                out->clock_rate_hz);
    event->write(transport_.slot() + kRtpHeaderLength);
    if (!send(context, *out, *numbers, packet.marker, TelephoneEvent::kLength)) return false;
    if (place == PressTracker::Place::first) figures_.telephone_events_sent.add(1);
    return true;
}

bool OutboundStream::send_press(WorkerContext& context, const PressSender::Packet& press) {
    const Format* audio = formats_.first_linear();
    uint32_t clock_rate_hz = audio != nullptr ? audio->clock_rate_hz : kNarrowbandHz;
    if (rewriter_.sent_anything()) clock_rate_hz = rewriter_.source().clock_rate_out;
    const Format* out = formats_.telephone_event(clock_rate_hz);
    if (out == nullptr || !enabled_ || !transport_.can_send()) {
        figures_.dropped_conversion.add(1);
        return false;
    }
    const TimeNs heard = press.start + static_cast<TimeNs>(std::min(press.elapsed_ms, ptime_ms_)) * kMillisecond;
    const auto inserted = rewriter_.insert(press.first, clock_rate_hz, heard, press.elapsed_ms);
    const auto [duration, advance] = ScaledDuration::of(press.elapsed_ms, 1000, out->clock_rate_hz);
    const TelephoneEvent event{
        .event = press.event,
        .flags_volume = static_cast<uint8_t>((press.end ? TelephoneEvent::kEnd : 0) | press.volume),
        .duration = duration,
    };
    event.write(transport_.slot() + kRtpHeaderLength);
    const Rewriter::Numbers numbers{
        .sequence = inserted.sequence,
        .timestamp = inserted.timestamp +
                     static_cast<uint32_t>(uint64_t{advance} * clock_rate_hz / out->clock_rate_hz),
    };
    if (!send(context, *out, numbers, press.first, TelephoneEvent::kLength)) return false;
    if (press.first) figures_.telephone_events_sent.add(1);
    return true;
}

bool OutboundStream::send(WorkerContext& context, const Format& format, const Rewriter::Numbers& numbers, bool marker,
                          size_t payload_length) {
    write_rtp_header(transport_.slot(), RtpPacket{
                                            .payload_type = format.send_type,
                                            .marker = marker,
                                            .sequence = numbers.sequence,
                                            .timestamp = numbers.timestamp,
                                            .ssrc = rewriter_.ssrc(),
                                        });
    if (!transport_.send_rtp(kRtpHeaderLength + payload_length)) return false;
    if (figures_.packets_sent.get() == 0) {
        context.events.push({EventKind::first_rtp_sent, leg_, context.now, codec_name(format.codec)});
    }
    ++packets_;
    octets_ += static_cast<uint32_t>(payload_length);
    figures_.packets_sent.add(1);
    figures_.octets_sent.add(payload_length);
    figures_.last_sent.set(context.now);
    if (is_audio(format.codec)) figures_.codec_sent.set(format.codec);
    return true;
}

std::optional<SenderInfo> OutboundStream::sender_info(TimeNs now) const {
    if (packets_ == 0) return std::nullopt;
    return SenderInfo{.rtp_timestamp = rewriter_.timestamp_at(now), .packets = packets_, .octets = octets_};
}

}  // namespace sdpserver
