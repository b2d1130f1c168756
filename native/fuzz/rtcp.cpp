// RTCP: compound packets from a peer, and the reports that we write of what it sent.
// A record: choices, milliseconds since the last one, a datagram.

#include "rtcp.h"

#include "input.h"
#include "support.h"

using namespace sdpserver;

namespace {

constexpr uint32_t kOurSsrc = 0x53445021;  // so that a corpus can name it
constexpr uint32_t kPeerSsrc = 0xCAFE;

void check_report(const RtcpReport& report, TimeNs now) {
    std::vector<uint8_t> packet(kMaxRtcpLength);
    const size_t length = write_rtcp(packet, report, now);
    fuzz::expect(length <= kMaxRtcpLength && length % 4 == 0, "a report fits, in whole words");
    const auto parsed = parse_rtcp(ConstBytes(packet).first(length), report.ssrc + 1);
    fuzz::expect(parsed.has_value(), "our parser takes our reports");
    fuzz::expect(parsed->sender_report.has_value() == report.sender.has_value(), "a sender report where there is one");
    if (parsed->sender_report) fuzz::expect(parsed->sender_report->ssrc == report.ssrc, "it is ours");
    if (!report.block) return;
    const auto heard = parse_rtcp(ConstBytes(packet).first(length), report.block->ssrc);
    fuzz::expect(heard && heard->block && heard->block->lost == report.block->lost &&
                     heard->block->highest_sequence == report.block->highest_sequence &&
                     heard->block->jitter == report.block->jitter,
                 "a report block reads as it was written");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    fuzz::start_over();
    fuzz::Input input(data, size);
    LegFigures figures;
    Reception reception(figures);
    TimeNs now = kSecond;
    while (!input.empty()) {
        const uint8_t choices = input.octet();
        now += input.octet() * kMillisecond;
        const std::vector<uint8_t> datagram = input.datagram();
        const auto feedback = parse_rtcp(datagram, kOurSsrc);
        if (feedback) {
            fuzz::expect(datagram.size() >= 4 && datagram.size() % 4 == 0, "a compound packet is made of words");
            if (feedback->sender_report) {
                const auto& report = *feedback->sender_report;
                reception.sender_report(report.ssrc, report.ntp_middle, report.packets, now);
            }
            if (feedback->block) {
                fuzz::expect(feedback->block->lost >= -0x800000 && feedback->block->lost <= 0x7fffff,
                             "the count of lost packets has 24 bits");
            }
        }
        if ((choices & 1) != 0) {
            const auto sequence = static_cast<uint16_t>(choices << 8);
            reception.received({.sequence = sequence, .timestamp = choices * 997u, .ssrc = kPeerSsrc}, 8000, now);
        }
        RtcpReport report{.ssrc = kOurSsrc, .sender = {}, .block = {}, .cname = "0123456789abcdef01234567",
                          .reference_time = feedback ? feedback->reference_time : std::nullopt,
                          .bye = (choices & 8) != 0};
        if ((choices & 2) != 0) report.sender = SenderInfo{.rtp_timestamp = 160, .packets = 1, .octets = 160};
        if ((choices & 4) != 0) report.block = reception.report(now);
        check_report(report, now);
    }
    return 0;
}
