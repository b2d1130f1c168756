#include "outbound_stream.h"

#include <algorithm>

namespace sdpserver {
namespace {

uint32_t duration_ms(Codec codec, ConstBytes payload) {
    if (codec != Codec::opus) return static_cast<uint32_t>(payload.size() / kSamplesPerMs);  // G.711 and G.722: 64 kb/s
    const int samples =
        opus_packet_get_nb_samples(payload.data(), static_cast<opus_int32>(payload.size()), kLinearRateHz);
    return samples > 0 ? static_cast<uint32_t>(samples) / kSamplesPerMs : 0;
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

bool OutboundStream::forward(WorkerContext& context, LegId source, const RtpPacket& packet, const Format& in) {
    if (!enabled_ || !transport_.can_send()) {
        detach();  // what was not sent on purpose must not look like loss
        return false;
    }
    if (in.codec == Codec::telephone_event) return forward_event(context, source, packet, in);

    const Format* out = formats_.same(in);
    Conversion conversion = Conversion::relay;
    if (out == nullptr && is_linear(in.codec)) {
        out = formats_.first_linear();
        if (out != nullptr) {
            conversion = is_g711(in.codec) && is_g711(out->codec) ? Conversion::convert : Conversion::transcode;
        }
    }
    const Rewriter::Source stream{
        .id = source,
        .ssrc = packet.ssrc,
        .clock_rate_in = in.clock_rate_hz,
        .clock_rate_out = out != nullptr ? out->clock_rate_hz : in.clock_rate_hz,
    };
    if (out == nullptr || packet.payload.empty()) {  // no such format here, or a keep-alive without audio
        if (out == nullptr) figures_.dropped_conversion.add(1);
        rewriter_.skip(stream, packet);
        return false;
    }

    uint8_t* payload = transport_.slot() + kRtpHeaderLength;
    size_t length = packet.payload.size();
    switch (conversion) {
        case Conversion::convert: convert_g711(in.codec, packet.payload, payload); break;
        case Conversion::transcode:
            length = transcode(source, packet, in.codec, out->codec, {payload, kMaxEncoded});
            break;
        default: std::ranges::copy(packet.payload, payload); break;
    }
    if (length == 0) {
        figures_.dropped_conversion.add(1);
        rewriter_.skip(stream, packet);
        return false;
    }
    const auto numbers = rewriter_.map(stream, packet, context.now, duration_ms(in.codec, packet.payload));
    if (!numbers) return false;
    figures_.conversion.set(conversion);
    return send(context, *out, *numbers, packet.marker || numbers->first, length);
}

size_t OutboundStream::transcode(LegId source, const RtpPacket& packet, Codec in, Codec out, Bytes room) {
    if (transcoded_leg_ != source || transcoded_ssrc_ != packet.ssrc) {
        transcoder_.reset();
        transcoded_leg_ = source;
        transcoded_ssrc_ = packet.ssrc;
    }
    std::array<int16_t, kMaxSamples> samples;
    const size_t count = transcoder_.decode(in, packet.payload, samples);
    return count == 0 ? 0 : transcoder_.encode(out, std::span(samples).first(count), room);
}

bool OutboundStream::forward_event(WorkerContext& context, LegId source, const RtpPacket& packet, const Format& in) {
    auto event = TelephoneEvent::parse(packet.payload);
    // Events share the audio's timestamps (RFC 4733 section 2.1), so they keep its clock rates where there are any.
    Rewriter::Source stream = rewriter_.source();
    if (!rewriter_.attached_to(source, packet.ssrc)) {
        presses_ = {};
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
        rewriter_.skip(stream, packet);
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
        duration += packet.timestamp - presses_.start();
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

bool OutboundStream::send_tone(WorkerContext& context, Tone& tone, uint32_t ptime_ms) {
    std::array<int16_t, kMaxSamples> buffer;
    const auto samples = std::span(buffer).first(ptime_ms * kSamplesPerMs);
    tone.generate(samples);  // also while it cannot be heard, so that a cadence keeps time
    const Format* out = formats_.first_linear();
    if (out == nullptr || !enabled_ || !transport_.can_send()) {
        detach();
        return false;
    }

    const RtpPacket packet{.sequence = tone_sequence_++, .timestamp = tone_timestamp_};
    tone_timestamp_ += out->clock_rate_hz / 1000 * ptime_ms;
    const Rewriter::Source stream{
        .id = kOwnTone, .ssrc = 0, .clock_rate_in = out->clock_rate_hz, .clock_rate_out = out->clock_rate_hz};
    const size_t length = transcoder_.encode(out->codec, samples, {transport_.slot() + kRtpHeaderLength, kMaxEncoded});
    const auto numbers = length > 0 ? rewriter_.map(stream, packet, context.now, ptime_ms) : std::nullopt;
    if (!numbers) return false;
    transcoded_leg_ = kOwnTone;
    figures_.conversion.set(Conversion::none);
    return send(context, *out, *numbers, numbers->first, length);
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
    if (format.codec != Codec::telephone_event) figures_.codec_sent.set(format.codec);
    return true;
}

std::optional<SenderInfo> OutboundStream::sender_info(TimeNs now) const {
    if (packets_ == 0) return std::nullopt;
    return SenderInfo{.rtp_timestamp = rewriter_.timestamp_at(now), .packets = packets_, .octets = octets_};
}

}  // namespace sdpserver
