#include "rtcp.h"

#include <algorithm>
#include <cmath>

namespace sdpserver {
namespace {

enum PacketType : uint8_t { kSenderReport = 200, kReceiverReport = 201, kSourceDescription = 202, kBye = 203 };

constexpr size_t kBlockLength = 24;
constexpr uint8_t kCname = 1;
constexpr int kMaxDropout = 3000;

/// The common header; `length` is of the whole packet, a multiple of four.
void write_header(uint8_t* out, uint8_t count, PacketType type, size_t length) {
    out[0] = static_cast<uint8_t>(2 << 6 | count);
    out[1] = type;
    store_be16(out + 2, static_cast<uint16_t>(length / 4 - 1));
}

void read_blocks(ConstBytes blocks, uint32_t our_ssrc, RtcpFeedback& feedback) {
    for (; blocks.size() >= kBlockLength; blocks = blocks.subspan(kBlockLength)) {
        if (load_be32(blocks.data()) != our_ssrc) continue;
        const uint32_t lost = load_be32(&blocks[4]) & 0xffffff;  // 24 bits, signed
        feedback.block = RtcpFeedback::Block{
            .lost = static_cast<int32_t>(lost << 8) >> 8,
            .jitter = load_be32(&blocks[12]),
            .last_report = load_be32(&blocks[16]),
            .delay = load_be32(&blocks[20]),
        };
    }
}

}  // namespace

ReceptionStatistics::ReceptionStatistics(uint32_t ssrc, uint16_t first_sequence)
    : ssrc_(ssrc), base_(first_sequence), highest_(static_cast<uint16_t>(first_sequence - 1)) {
    if (first_sequence == 0) cycles_ = static_cast<uint32_t>(-65536);  // so that 0 counts as the first, not as a wrap
}

void ReceptionStatistics::received(const RtpPacket& packet, uint32_t clock_rate_hz, TimeNs now) {
    const int step = static_cast<int16_t>(packet.sequence - highest_);
    if (step > kMaxDropout || step < -kMaxDropout) {  // the sender started anew
        const ReceptionStatistics old = *this;
        *this = ReceptionStatistics(packet.ssrc, packet.sequence);
        last_report_ = old.last_report_;
        last_report_at_ = old.last_report_at_;
        highest_ = packet.sequence;
        if (packet.sequence == 0) cycles_ = 0;
    } else if (step > 0) {
        if (packet.sequence < highest_) cycles_ += 0x10000;
        highest_ = packet.sequence;
    }
    ++received_;

    if (clock_rate_hz == 0) return;
    if (clock_rate_hz != clock_rate_hz_) {
        clock_rate_hz_ = clock_rate_hz;
        has_transit_ = false;
        jitter_ = 0.0;
    }
    const auto arrival = static_cast<uint32_t>(static_cast<uint64_t>(now / kMicrosecond) * clock_rate_hz / 1'000'000);
    const uint32_t transit = arrival - packet.timestamp;
    if (has_transit_) {
        const double change = std::abs(static_cast<double>(static_cast<int32_t>(transit - transit_)));
        jitter_ += (change - jitter_) / 16.0;
    }
    transit_ = transit;
    has_transit_ = true;
}

int64_t ReceptionStatistics::lost() const {
    return received_ == 0 ? 0 : static_cast<int64_t>(expected()) - static_cast<int64_t>(received_);
}

void ReceptionStatistics::write_block(uint8_t* out, TimeNs now) {
    const uint64_t expected_interval = expected() - expected_before_;
    const uint64_t received_interval = received_ - received_before_;
    expected_before_ = expected();
    received_before_ = received_;
    uint8_t fraction = 0;
    if (expected_interval > received_interval) {
        fraction = static_cast<uint8_t>(
            std::min<uint64_t>(255, ((expected_interval - received_interval) << 8) / expected_interval));
    }
    const auto lost24 = static_cast<uint32_t>(std::clamp<int64_t>(lost(), -0x800000, 0x7fffff)) & 0xffffff;
    uint32_t delay = 0;
    if (last_report_ != 0) {
        delay = static_cast<uint32_t>(static_cast<uint64_t>((now - last_report_at_) / kMicrosecond) * 65536 / 1'000'000);
    }
    store_be32(out, ssrc_);
    store_be32(out + 4, static_cast<uint32_t>(fraction) << 24 | lost24);
    store_be32(out + 8, cycles_ + highest_);
    store_be32(out + 12, static_cast<uint32_t>(jitter_));
    store_be32(out + 16, last_report_);
    store_be32(out + 20, delay);
}

void ReceptionStatistics::sender_report(uint32_t ntp_middle, TimeNs now) {
    last_report_ = ntp_middle;
    last_report_at_ = now;
}

size_t write_rtcp(Bytes out, const RtcpReport& report, TimeNs now) {
    uint8_t* at = out.data();
    const uint8_t blocks = report.reception != nullptr ? 1 : 0;
    size_t length = 8;
    store_be32(at + 4, report.ssrc);
    if (report.sender) {
        const uint64_t ntp = ntp_time(now);
        store_be32(at + 8, static_cast<uint32_t>(ntp >> 32));
        store_be32(at + 12, static_cast<uint32_t>(ntp));
        store_be32(at + 16, report.sender->rtp_timestamp);
        store_be32(at + 20, report.sender->packets);
        store_be32(at + 24, report.sender->octets);
        length += 20;
    }
    if (blocks != 0) {
        report.reception->write_block(at + length, now);
        length += kBlockLength;
    }
    write_header(at, blocks, report.sender ? kSenderReport : kReceiverReport, length);
    at += length;

    // One chunk: SSRC, the CNAME item, and at least one zero octet to end the list (RFC 3550 section 6.5).
    const size_t chunk = (4 + 2 + report.cname.size() + 1 + 3) & ~size_t{3};
    std::fill_n(at, 4 + chunk, uint8_t{0});
    write_header(at, 1, kSourceDescription, 4 + chunk);
    store_be32(at + 4, report.ssrc);
    at[8] = kCname;
    at[9] = static_cast<uint8_t>(report.cname.size());
    std::ranges::copy(report.cname, at + 10);
    at += 4 + chunk;

    if (report.bye) {
        write_header(at, 1, kBye, 8);
        store_be32(at + 4, report.ssrc);
        at += 8;
    }
    return static_cast<size_t>(at - out.data());
}

std::optional<RtcpFeedback> parse_rtcp(ConstBytes packet, uint32_t our_ssrc) {
    if (packet.empty()) return std::nullopt;
    RtcpFeedback feedback;
    while (!packet.empty()) {
        if (packet.size() < 4 || (packet[0] & 0xc0) != 0x80) return std::nullopt;
        const size_t length = 4 + 4 * static_cast<size_t>(load_be16(&packet[2]));
        if (length > packet.size()) return std::nullopt;
        const size_t count = packet[0] & 0x1f;
        const ConstBytes body = packet.first(length);
        if (packet[1] == kSenderReport) {
            if (length < 28 + count * kBlockLength) return std::nullopt;
            const uint32_t middle = load_be32(&body[8]) << 16 | load_be32(&body[12]) >> 16;
            feedback.sender_report = RtcpFeedback::SenderReport{.ssrc = load_be32(&body[4]), .ntp_middle = middle};
            read_blocks(body.subspan(28, count * kBlockLength), our_ssrc, feedback);
        } else if (packet[1] == kReceiverReport) {
            if (length < 8 + count * kBlockLength) return std::nullopt;
            read_blocks(body.subspan(8, count * kBlockLength), our_ssrc, feedback);
        }
        packet = packet.subspan(length);
    }
    return feedback;
}

}  // namespace sdpserver
