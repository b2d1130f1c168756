#include "rtp.h"

#include <algorithm>

#include "random.h"

namespace sdpserver {
namespace {

// RFC 3550 appendix A.1: a jump beyond these is a restart rather than loss or reordering.
constexpr int kMaxDropout = 3000;
constexpr int kMaxMisorder = 100;

constexpr uint8_t kVersion = 2 << 6;
constexpr uint8_t kVersionMask = 0xc0;
constexpr uint8_t kPadding = 0x20;
constexpr uint8_t kExtension = 0x10;

}  // namespace

size_t rtp_header_length(ConstBytes packet) {
    if (packet.size() < kRtpHeaderLength || (packet[0] & kVersionMask) != kVersion) return 0;
    size_t length = kRtpHeaderLength + 4 * static_cast<size_t>(packet[0] & 0x0f);
    if ((packet[0] & kExtension) != 0) {
        if (packet.size() < length + 4) return 0;
        length += 4 + 4 * static_cast<size_t>(load_be16(&packet[length + 2]));
    }
    return length <= packet.size() ? length : 0;
}

std::optional<RtpPacket> parse_rtp(ConstBytes packet) {
    const size_t header_length = rtp_header_length(packet);
    if (header_length == 0) return std::nullopt;
    ConstBytes payload = packet.subspan(header_length);
    if ((packet[0] & kPadding) != 0) {
        if (payload.empty() || payload.back() == 0 || payload.back() > payload.size()) return std::nullopt;
        payload = payload.first(payload.size() - payload.back());
    }
    return RtpPacket{
        .payload_type = static_cast<uint8_t>(packet[1] & 0x7f),
        .marker = (packet[1] & 0x80) != 0,
        .sequence = load_be16(&packet[2]),
        .timestamp = load_be32(&packet[4]),
        .ssrc = load_be32(&packet[8]),
        .payload = payload,
    };
}

void write_rtp_header(uint8_t* out, const RtpPacket& packet) {
    out[0] = kVersion;
    out[1] = static_cast<uint8_t>((packet.marker ? 0x80 : 0) | packet.payload_type);
    store_be16(out + 2, packet.sequence);
    store_be32(out + 4, packet.timestamp);
    store_be32(out + 8, packet.ssrc);
}

Rewriter::Rewriter() { restart(); }

void Rewriter::restart() {
    ssrc_ = random_u32();
    // Below 2^15, so that losing the first packets cannot confuse the receiver's rollover counter (RFC 3711 3.3.1).
    last_sequence_ = static_cast<uint16_t>(random_u32() & 0x7fff);
    last_timestamp_ = random_u32();
    last_sent_ = 0;
    attached_ = false;
}

void Rewriter::attach(const Source& source, const RtpPacket& packet, TimeNs now) {
    const auto next = static_cast<uint16_t>(last_sequence_ + 1);
    sequence_offset_ = static_cast<uint16_t>(next - packet.sequence);
    highest_in_ = static_cast<uint16_t>(packet.sequence - 1);
    go_on_in_time(packet, source.clock_rate_out, now);
    restart_suspected_ = false;
    barrier_.reset();
    source_ = source;
    attached_ = true;
}

/// This packet's timestamp becomes the stream's after the time that has passed.
void Rewriter::go_on_in_time(const RtpPacket& packet, uint32_t clock_rate_hz, TimeNs now) {
    if (last_sent_ == 0) {
        timestamp_base_ = last_timestamp_;
    } else {
        const auto elapsed_us = static_cast<uint64_t>(now - last_sent_) / kMicrosecond;
        const uint64_t passed_us = std::max<uint64_t>(elapsed_us, uint64_t{last_duration_ms_} * 1000);
        timestamp_base_ = last_timestamp_ + static_cast<uint32_t>(passed_us * clock_rate_hz / 1'000'000);
    }
    timestamp_in_ = 0;
    newest_in_ = packet.timestamp;
    has_audio_ = false;
}

bool Rewriter::jumped(const RtpPacket& packet, int sequence_step, TimeNs now, uint32_t duration_ms) const {
    if (!has_audio_ || duration_ms == 0 || sequence_step <= 0) return false;
    const int64_t passed_ms = (now - audio_at_) / kMillisecond + int64_t{sequence_step} * duration_ms;
    const uint32_t rate = source_.clock_rate_in;
    return timestamp_jumped(packet.timestamp - audio_in_, passed_ms * rate / 1000, rate);
}

/// Numbers behind the barrier were given to other packets, or no packet can have them any more.
bool Rewriter::has_number(uint16_t sequence) {
    if (!barrier_) return true;
    if (static_cast<int16_t>(sequence - *barrier_) <= 0) return false;
    if (static_cast<int16_t>(sequence - *barrier_) > kMaxMisorder) barrier_.reset();
    return true;
}

uint32_t Rewriter::scaled(uint32_t timestamp) const {
    int64_t since_attached = timestamp_in_ + static_cast<int32_t>(timestamp - newest_in_);
    if (source_.clock_rate_in != source_.clock_rate_out) {
        since_attached = since_attached * source_.clock_rate_out / source_.clock_rate_in;
    }
    return timestamp_base_ + static_cast<uint32_t>(since_attached);
}

std::optional<Rewriter::Numbers> Rewriter::map(const Source& source, const RtpPacket& packet, TimeNs now,
                                               uint32_t duration_ms) {
    bool first = false;
    if (!attached_ || source != source_) {
        attach(source, packet, now);
        first = true;
    } else if (const int step = static_cast<int16_t>(packet.sequence - highest_in_);
               step > kMaxDropout || step < -kMaxMisorder) {
        if (!restart_suspected_ || packet.sequence != expected_restart_) {
            restart_suspected_ = true;
            expected_restart_ = static_cast<uint16_t>(packet.sequence + 1);
            return std::nullopt;
        }
        attach(source, packet, now);
        first = true;
    } else if (jumped(packet, step, now, duration_ms)) {
        go_on_in_time(packet, source_.clock_rate_out, now);
        barrier_ = static_cast<uint16_t>(packet.sequence - 1);  // what is late is of the clock before
        first = true;
    }
    if (!has_number(packet.sequence)) return std::nullopt;

    const Numbers numbers{
        .sequence = static_cast<uint16_t>(packet.sequence + sequence_offset_),
        .timestamp = scaled(packet.timestamp),
        .first = first,
    };
    // Also of a packet that was skipped and came again: what a later source sends must not fall behind it.
    if (static_cast<int16_t>(numbers.sequence - last_sequence_) > 0) last_sequence_ = numbers.sequence;
    if (static_cast<int16_t>(packet.sequence - highest_in_) > 0) {
        highest_in_ = packet.sequence;
        timestamp_in_ += static_cast<int32_t>(packet.timestamp - newest_in_);
        newest_in_ = packet.timestamp;
        if (numbers.timestamp != last_timestamp_ || last_sent_ == 0) {  // a telephone-event repeats its start's
            last_timestamp_ = numbers.timestamp;
            last_duration_ms_ = duration_ms;
            last_sent_ = now;
        }
        if (duration_ms != 0) {
            has_audio_ = true;
            audio_in_ = packet.timestamp;
            audio_at_ = now;
        }
        restart_suspected_ = false;
    }
    return numbers;
}

void Rewriter::skip(uint64_t source, const RtpPacket& packet) {
    if (!attached_to(source, packet.ssrc)) return;
    const int step = static_cast<int16_t>(packet.sequence - highest_in_);
    if (step <= 0 || step > kMaxDropout) return;
    highest_in_ = packet.sequence;
    barrier_ = highest_in_;
    --sequence_offset_;
}

Rewriter::Inserted Rewriter::insert(bool first, uint32_t clock_rate_hz, TimeNs at, uint32_t duration_ms) {
    if (first) {
        if (last_sent_ != 0) {
            const auto elapsed_us = static_cast<uint64_t>(std::max<TimeNs>(at - last_sent_, 0)) / kMicrosecond;
            const uint64_t passed_us = std::max<uint64_t>(elapsed_us, uint64_t{last_duration_ms_} * 1000);
            last_timestamp_ += static_cast<uint32_t>(passed_us * clock_rate_hz / 1'000'000);
        }
        last_sent_ = at;
        last_duration_ms_ = duration_ms;
        if (!attached_) source_.clock_rate_out = clock_rate_hz;  // for sender reports
    }
    if (attached_) {
        barrier_ = highest_in_;
        ++sequence_offset_;
    }
    return {.sequence = ++last_sequence_, .timestamp = last_timestamp_};
}

uint32_t Rewriter::timestamp_at(TimeNs now) const {
    const auto elapsed_us = static_cast<uint64_t>(now - last_sent_) / kMicrosecond;
    return last_timestamp_ + static_cast<uint32_t>(elapsed_us * source_.clock_rate_out / 1'000'000);
}

}  // namespace sdpserver
