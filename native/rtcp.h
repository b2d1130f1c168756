#pragma once
// RTCP (RFC 3550 section 6): what is measured on an inbound stream, and the reports that go out and come in.

#include <optional>
#include <string_view>

#include "bytes.h"
#include "clock.h"
#include "rtp.h"

namespace sdpserver {

/// Octets that any compound packet written here fits in.
inline constexpr size_t kMaxRtcpLength = 128;

/// One inbound SSRC (RFC 3550 appendix A.1, A.3, A.8).
class ReceptionStatistics {
   public:
    ReceptionStatistics() = default;
    ReceptionStatistics(uint32_t ssrc, uint16_t first_sequence);

    uint32_t ssrc() const { return ssrc_; }
    /// `clock_rate_hz` 0: count it, but leave the jitter alone (telephone events keep one timestamp).
    void received(const RtpPacket& packet, uint32_t clock_rate_hz, TimeNs now);
    int64_t lost() const;
    double jitter_ms() const { return clock_rate_hz_ == 0 ? 0.0 : jitter_ * 1000.0 / clock_rate_hz_; }
    /// The 24 octets of a report block, and the start of a new interval.
    void write_block(uint8_t* out, TimeNs now);
    void sender_report(uint32_t ntp_middle, TimeNs now);

   private:
    uint64_t expected() const { return uint64_t{cycles_} + highest_ - base_ + 1; }

    uint32_t ssrc_ = 0;
    uint16_t base_ = 0;
    uint16_t highest_ = 0;
    uint32_t cycles_ = 0;
    uint64_t received_ = 0;
    uint64_t expected_before_ = 0;
    uint64_t received_before_ = 0;
    uint32_t clock_rate_hz_ = 0;
    bool has_transit_ = false;
    uint32_t transit_ = 0;
    double jitter_ = 0.0;  // in timestamp units
    uint32_t last_report_ = 0;
    TimeNs last_report_at_ = 0;
};

/// What a sender report says of our own stream.
struct SenderInfo {
    uint32_t rtp_timestamp = 0;
    uint32_t packets = 0;
    uint32_t octets = 0;
};

struct RtcpReport {
    uint32_t ssrc = 0;  // ours
    std::optional<SenderInfo> sender;  // nothing: a receiver report
    ReceptionStatistics* reception = nullptr;
    std::string_view cname;
    bool bye = false;
};

/// SR or RR, SDES with the CNAME, and BYE if asked for. Returns the octets written to `out`, which has `kMaxRtcpLength`.
size_t write_rtcp(Bytes out, const RtcpReport& report, TimeNs now);

/// What of a compound packet concerns us.
struct RtcpFeedback {
    struct SenderReport {
        uint32_t ssrc = 0;
        uint32_t ntp_middle = 0;
    };
    struct Block {  // on our stream
        int32_t lost = 0;
        uint32_t jitter = 0;  // in timestamp units
        uint32_t last_report = 0;
        uint32_t delay = 0;  // in 1/65536 s
    };
    std::optional<SenderReport> sender_report;
    std::optional<Block> block;
};

/// Nothing: version, lengths or counts do not add up. Reduced-size packets (RFC 5506) are taken.
std::optional<RtcpFeedback> parse_rtcp(ConstBytes packet, uint32_t our_ssrc);

}  // namespace sdpserver
