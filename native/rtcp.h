#pragma once
// RTCP (RFC 3550 section 6) and extended reports (RFC 3611): what goes out and what comes in.

#include <optional>
#include <string_view>

#include "bytes.h"
#include "clock.h"
#include "reception.h"
#include "voip_metrics.h"

namespace sdpserver {

/// Octets that any compound packet written here fits in.
inline constexpr size_t kMaxRtcpLength = 128;

/// What a sender report says of our own stream.
struct SenderInfo {
    uint32_t rtp_timestamp = 0;
    uint32_t packets = 0;
    uint32_t octets = 0;
};

/// A receiver's reference time, which it wants back with how long we had it (RFC 3611 section 4.5): so a peer that sends
/// nothing learns the round trip.
struct ReferenceTime {
    uint32_t ssrc = 0;  // the peer's
    uint32_t ntp_middle = 0;
    uint32_t delay = 0;  // in 1/65536 s
};

struct RtcpReport {
    uint32_t ssrc = 0;  // ours
    std::optional<SenderInfo> sender;  // nothing: a receiver report
    std::optional<ReportBlock> block;
    std::string_view cname;
    std::optional<ReferenceTime> reference_time;
    bool bye = false;
};

/// SR or RR, SDES with the CNAME, and XR and BYE if asked for. Returns the octets written to `out`, which has
/// `kMaxRtcpLength`.
size_t write_rtcp(Bytes out, const RtcpReport& report, TimeNs now);

/// What of a compound packet concerns us.
struct RtcpFeedback {
    struct SenderReport {
        uint32_t ssrc = 0;
        uint32_t ntp_middle = 0;
        uint32_t packets = 0;
    };
    std::optional<SenderReport> sender_report;
    std::optional<ReportBlock> block;  // on our stream
    std::optional<VoipMetrics> voip_metrics;  // on our stream
    std::optional<ReferenceTime> reference_time;
};

/// Nothing: version, lengths, counts or padding do not add up. Reduced-size packets (RFC 5506) are taken; feedback
/// (RFC 4585: NACK, PLI, transport-wide congestion control, ...), application packets and unknown blocks are skipped.
std::optional<RtcpFeedback> parse_rtcp(ConstBytes packet, uint32_t our_ssrc);

}  // namespace sdpserver
