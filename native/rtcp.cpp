#include "rtcp.h"

#include <algorithm>

namespace sdpserver {
namespace {

enum PacketType : uint8_t {
    kSenderReport = 200,
    kReceiverReport = 201,
    kSourceDescription = 202,
    kBye = 203,
    kExtendedReport = 207,
};
enum BlockType : uint8_t { kReceiverReferenceTime = 4, kDelaySinceLastReceiverReport = 5, kVoipMetrics = 7 };

constexpr uint8_t kCname = 1;
constexpr size_t kHeader = 4;
constexpr size_t kHeaderAndSsrc = 8;
constexpr size_t kSenderInfo = 20;
constexpr size_t kReferenceTimeBlock = 12;
constexpr size_t kVoipMetricsBlock = 36;

uint32_t ntp_middle_at(const uint8_t* timestamp) { return load_be32(timestamp) << 16 | load_be32(timestamp + 4) >> 16; }

/// The common header; `length` is of the whole packet, a multiple of four.
void write_header(uint8_t* out, size_t count, PacketType type, size_t length) {
    out[0] = static_cast<uint8_t>(2 << 6 | count);
    out[1] = type;
    store_be16(out + 2, static_cast<uint16_t>(length / 4 - 1));
}

void write_block(uint8_t* out, const ReportBlock& block) {
    store_be32(out, block.ssrc);
    const uint32_t lost = static_cast<uint32_t>(block.lost) & 0xffffff;
    store_be32(out + 4, static_cast<uint32_t>(block.fraction_lost) << 24 | lost);
    store_be32(out + 8, block.highest_sequence);
    store_be32(out + 12, block.jitter);
    store_be32(out + 16, block.last_report);
    store_be32(out + 20, block.delay);
}

size_t write_report(uint8_t* out, const RtcpReport& report, TimeNs now) {
    size_t length = kHeaderAndSsrc;
    store_be32(out + 4, report.ssrc);
    if (report.sender) {
        const uint64_t ntp = ntp_time(now);
        store_be32(out + 8, static_cast<uint32_t>(ntp >> 32));
        store_be32(out + 12, static_cast<uint32_t>(ntp));
        store_be32(out + 16, report.sender->rtp_timestamp);
        store_be32(out + 20, report.sender->packets);
        store_be32(out + 24, report.sender->octets);
        length += kSenderInfo;
    }
    if (report.block) {
        write_block(out + length, *report.block);
        length += ReportBlock::kLength;
    }
    write_header(out, report.block ? 1 : 0, report.sender ? kSenderReport : kReceiverReport, length);
    return length;
}

/// One chunk: SSRC, the CNAME item, and at least one zero octet to end the list (RFC 3550 section 6.5).
size_t write_source_description(uint8_t* out, uint32_t ssrc, std::string_view cname) {
    const size_t chunk = (4 + 2 + cname.size() + 1 + 3) & ~size_t{3};
    std::fill_n(out, kHeader + chunk, uint8_t{0});
    write_header(out, 1, kSourceDescription, kHeader + chunk);
    store_be32(out + 4, ssrc);
    out[8] = kCname;
    out[9] = static_cast<uint8_t>(cname.size());
    std::ranges::copy(cname, out + 10);
    return kHeader + chunk;
}

size_t write_extended_report(uint8_t* out, uint32_t ssrc, const ReferenceTime& time) {
    constexpr size_t kLength = kHeaderAndSsrc + 16;
    write_header(out, 0, kExtendedReport, kLength);
    store_be32(out + 4, ssrc);
    store_be32(out + 8, static_cast<uint32_t>(kDelaySinceLastReceiverReport) << 24 | 3);
    store_be32(out + 12, time.ssrc);
    store_be32(out + 16, time.ntp_middle);
    store_be32(out + 20, time.delay);
    return kLength;
}

void read_blocks(ConstBytes blocks, uint32_t our_ssrc, RtcpFeedback& feedback) {
    for (; blocks.size() >= ReportBlock::kLength; blocks = blocks.subspan(ReportBlock::kLength)) {
        if (load_be32(blocks.data()) != our_ssrc) continue;
        const uint32_t lost = load_be32(&blocks[4]) & 0xffffff;  // 24 bits, signed
        feedback.block = ReportBlock{
            .ssrc = our_ssrc,
            .fraction_lost = blocks[4],
            .lost = static_cast<int32_t>(lost << 8) >> 8,
            .highest_sequence = load_be32(&blocks[8]),
            .jitter = load_be32(&blocks[12]),
            .last_report = load_be32(&blocks[16]),
            .delay = load_be32(&blocks[20]),
        };
    }
}

VoipMetrics voip_metrics(const uint8_t* block) {
    return {
        .loss_rate = block[8],
        .discard_rate = block[9],
        .burst_density = block[10],
        .gap_density = block[11],
        .burst_duration_ms = load_be16(block + 12),
        .gap_duration_ms = load_be16(block + 14),
        .round_trip_ms = load_be16(block + 16),
        .end_system_delay_ms = load_be16(block + 18),
        .gmin = block[23],
        .r_factor = block[24],
        .mos_lq = block[26],
        .mos_cq = block[27],
    };
}

/// The blocks of an extended report by `peer`. False: one is longer than the packet, or has not its type's length.
bool read_extended(ConstBytes blocks, uint32_t peer, uint32_t our_ssrc, RtcpFeedback& feedback) {
    while (!blocks.empty()) {
        const size_t length = kHeader + 4 * static_cast<size_t>(load_be16(&blocks[2]));
        if (length > blocks.size()) return false;
        switch (blocks[0]) {
            case kReceiverReferenceTime:
                if (length != kReferenceTimeBlock) return false;
                feedback.reference_time = ReferenceTime{.ssrc = peer, .ntp_middle = ntp_middle_at(&blocks[4])};
                break;
            case kDelaySinceLastReceiverReport:  // of a reference time of ours, and we send none
                if ((length - kHeader) % 12 != 0) return false;
                break;
            case kVoipMetrics:
                if (length != kVoipMetricsBlock) return false;
                if (load_be32(&blocks[4]) == our_ssrc) feedback.voip_metrics = voip_metrics(blocks.data());
                break;
            default: break;
        }
        blocks = blocks.subspan(length);
    }
    return true;
}

/// What one packet of a compound holds, `body` without padding. False: it is too short for what it says it is.
bool read_packet(ConstBytes body, uint32_t our_ssrc, RtcpFeedback& feedback) {
    const size_t count = body[0] & 0x1f;
    switch (body[1]) {
        case kSenderReport: {
            constexpr size_t kBlocks = kHeaderAndSsrc + kSenderInfo;
            if (body.size() < kBlocks + count * ReportBlock::kLength) return false;
            feedback.sender_report = RtcpFeedback::SenderReport{
                .ssrc = load_be32(&body[4]), .ntp_middle = ntp_middle_at(&body[8]), .packets = load_be32(&body[20])};
            read_blocks(body.subspan(kBlocks, count * ReportBlock::kLength), our_ssrc, feedback);
            return true;
        }
        case kReceiverReport:
            if (body.size() < kHeaderAndSsrc + count * ReportBlock::kLength) return false;
            read_blocks(body.subspan(kHeaderAndSsrc, count * ReportBlock::kLength), our_ssrc, feedback);
            return true;
        case kExtendedReport:
            if (body.size() < kHeaderAndSsrc) return false;
            return read_extended(body.subspan(kHeaderAndSsrc), load_be32(&body[4]), our_ssrc, feedback);
        default: return true;
    }
}

}  // namespace

size_t write_rtcp(Bytes out, const RtcpReport& report, TimeNs now) {
    uint8_t* at = out.data();
    at += write_report(at, report, now);
    at += write_source_description(at, report.ssrc, report.cname);
    if (report.reference_time) at += write_extended_report(at, report.ssrc, *report.reference_time);
    if (report.bye) {
        write_header(at, 1, kBye, kHeaderAndSsrc);
        store_be32(at + 4, report.ssrc);
        at += kHeaderAndSsrc;
    }
    return static_cast<size_t>(at - out.data());
}

std::optional<RtcpFeedback> parse_rtcp(ConstBytes packet, uint32_t our_ssrc) {
    if (packet.empty()) return std::nullopt;
    RtcpFeedback feedback;
    while (!packet.empty()) {
        if (packet.size() < kHeader || (packet[0] & 0xc0) != 0x80) return std::nullopt;
        const size_t length = kHeader + 4 * static_cast<size_t>(load_be16(&packet[2]));
        if (length > packet.size()) return std::nullopt;
        size_t used = length;
        if ((packet[0] & 0x20) != 0) {  // padding: of the last packet alone, in whole words
            const size_t padding = packet[length - 1];
            if (length != packet.size() || padding == 0 || padding % 4 != 0 || padding > length - kHeader) {
                return std::nullopt;
            }
            used -= padding;
        }
        if (!read_packet(packet.first(used), our_ssrc, feedback)) return std::nullopt;
        packet = packet.subspan(length);
    }
    return feedback;
}

}  // namespace sdpserver
