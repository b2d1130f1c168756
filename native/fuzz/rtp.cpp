// RTP: a stream of datagrams is parsed, measured and given new numbers.
// A record: choices, milliseconds since the last one, a datagram.

#include "input.h"
#include "reception.h"
#include "rtp.h"
#include "support.h"

using namespace sdpserver;

namespace {

constexpr uint32_t kClockRates[] = {8000, 48000, 16000, 1};

/// The choices of a record, by bits.
struct Choices {
    explicit Choices(uint8_t octet)
        : clock_in(octet & 3), clock_out(octet >> 2 & 3), other_leg(octet & 0x10), skip(octet & 0x20),
          detach(octet & 0x40), report(octet & 0x80) {}

    size_t clock_in;
    size_t clock_out;
    bool other_leg;
    bool skip;
    bool detach;
    bool report;
};

void check_parsed(ConstBytes datagram, const RtpPacket& packet) {
    fuzz::expect(datagram.size() >= kRtpHeaderLength, "a packet has a whole header");
    fuzz::expect(packet.payload_type < 128, "a payload type has seven bits");
    if (packet.payload.empty()) return;
    fuzz::expect(packet.payload.data() >= datagram.data() + kRtpHeaderLength &&
                     packet.payload.data() + packet.payload.size() <= datagram.data() + datagram.size(),
                 "the payload lies within the datagram");
    std::vector<uint8_t> again(kRtpHeaderLength);
    write_rtp_header(again.data(), packet);
    again.insert(again.end(), packet.payload.begin(), packet.payload.end());
    const auto same = parse_rtp(again);
    fuzz::expect(same && same->sequence == packet.sequence && same->timestamp == packet.timestamp &&
                     same->ssrc == packet.ssrc && same->marker == packet.marker &&
                     same->payload_type == packet.payload_type && same->payload.size() == packet.payload.size(),
                 "what is written reads as it was");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    fuzz::start_over();
    fuzz::Input input(data, size);
    Rewriter rewriter;
    const uint32_t ssrc = rewriter.ssrc();
    LegFigures figures;
    Reception reception(figures);
    std::optional<uint16_t> offset;  // of the sequence numbers, while one source goes on
    uint16_t last_sent = 0;
    TimeNs now = kSecond;
    while (!input.empty()) {
        const Choices choices(input.octet());
        now += input.octet() * kMillisecond;
        const std::vector<uint8_t> datagram = input.datagram();
        const auto packet = parse_rtp(datagram);
        fuzz::expect(!packet || rtp_header_length(datagram) >= kRtpHeaderLength, "a packet has a header length");
        if (!packet) continue;
        check_parsed(datagram, *packet);

        const uint32_t clock_in = kClockRates[choices.clock_in];
        reception.received(*packet, choices.clock_in == 3 ? 0 : clock_in, now);
        fuzz::expect(figures.jitter_ms.get() >= 0.0, "jitter is no negative time");
        if (choices.report) {
            reception.sender_report(packet->ssrc, packet->timestamp, packet->timestamp, now);
            const auto report = reception.report(now);
            fuzz::expect(!report || (report->lost >= -0x800000 && report->lost <= 0x7fffff), "a loss has 24 bits");
        }
        if (choices.detach) reception.reset();

        const Rewriter::Source source{.id = choices.other_leg ? 2u : 1u,
                                      .ssrc = packet->ssrc,
                                      .clock_rate_in = clock_in,
                                      .clock_rate_out = kClockRates[choices.clock_out]};
        if (choices.detach) rewriter.detach();
        if (choices.skip) {
            rewriter.skip(source.id, *packet);
            offset.reset();
            continue;
        }
        const auto numbers = rewriter.map(source, *packet, now, static_cast<uint32_t>(packet->payload.size() / 8));
        if (!numbers) continue;
        fuzz::expect(rewriter.ssrc() == ssrc, "a stream keeps its SSRC");
        const auto added = static_cast<uint16_t>(numbers->sequence - packet->sequence);
        if (offset && *offset != added) {
            fuzz::expect(numbers->first && numbers->sequence == static_cast<uint16_t>(last_sent + 1),
                         "order and gaps of a source are kept, and another goes on where it ended");
        }
        offset = added;
        if (numbers->first || static_cast<int16_t>(numbers->sequence - last_sent) > 0) last_sent = numbers->sequence;
        static_cast<void>(rewriter.timestamp_at(now));
    }
    return 0;
}
