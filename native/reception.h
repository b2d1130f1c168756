#pragma once
// What is measured on the RTP that a leg receives: loss and its bursts, jitter, and what report blocks say of them.

#include <optional>

#include "clock.h"
#include "counters.h"
#include "loss_runs.h"
#include "rtp.h"

namespace sdpserver {

/// The report block on one inbound SSRC, as it goes out.
struct ReportBlock {
    static constexpr size_t kLength = 24;

    uint32_t ssrc = 0;
    uint8_t fraction_lost = 0;  // in 1/256, since the last report
    int32_t lost = 0;           // 24 bits, signed
    uint32_t highest_sequence = 0;
    uint32_t jitter = 0;       // in timestamp units
    uint32_t last_report = 0;  // the middle of its NTP timestamp
    uint32_t delay = 0;        // since then, in 1/65536 s
};

/// One inbound SSRC (RFC 3550 appendix A.1, A.3, A.8).
class ReceptionStatistics {
   public:
    /// `before`: of the stream that this one takes the place of; one of the same SSRC leaves its sender report.
    ReceptionStatistics(const RtpPacket& first, const ReceptionStatistics* before);

    uint32_t ssrc() const { return ssrc_; }
    /// The sender has started anew: the second packet in a row that is far from where the stream was. The first one
    /// may be a stray, and does not count.
    bool restarts(const RtpPacket& packet);
    /// `clock_rate_hz` 0: count it, but leave the jitter alone (telephone events keep one timestamp).
    void received(const RtpPacket& packet, uint32_t clock_rate_hz, TimeNs now, LossRuns& runs);
    /// No packet of this SSRC comes any more: what was still open to reordering is settled.
    void end(LossRuns& runs);

    int64_t lost() const { return static_cast<int64_t>(expected()) - static_cast<int64_t>(received_); }
    /// Packets that the sender says it has sent after the last one that came.
    int64_t unseen() const { return unseen_; }
    double jitter_ms() const { return jitter_ * ms_per_unit_; }
    /// 0: not known yet.
    double packet_ms() const { return packet_units_ * ms_per_unit_; }

    /// Begins a new interval for the fraction lost.
    ReportBlock report(TimeNs now);
    /// `packets`: its sender's packet count.
    void sender_report(uint32_t ntp_middle, uint32_t packets, TimeNs now);

   private:
    static constexpr int kWindow = 32;

    uint64_t expected() const { return received_ == 0 ? 0 : static_cast<uint64_t>(highest_ - base_ + 1); }
    void advance(int step, LossRuns& runs);
    void place_late(int64_t sequence);
    void measure_jitter(const RtpPacket& packet, int step, uint32_t clock_rate_hz, TimeNs now);

    uint32_t ssrc_ = 0;
    int64_t base_ = 0;  // unwrapped sequence numbers
    int64_t highest_ = 0;
    uint64_t received_ = 0;
    uint32_t window_ = 0;  // which of the last `kWindow` have come, the newest in bit 0
    int restart_at_ = -1;

    uint64_t expected_before_ = 0;  // the last report
    uint64_t received_before_ = 0;
    uint32_t last_report_ = 0;
    TimeNs last_report_at_ = 0;

    uint32_t clock_rate_hz_ = 0;
    double ms_per_unit_ = 0.0;  // of that clock
    bool has_transit_ = false;
    bool after_marker_ = false;
    bool after_audio_ = false;
    uint32_t transit_ = 0;
    uint32_t timestamp_ = 0;
    uint32_t packet_units_ = 0;
    double jitter_ = 0.0;  // in timestamp units

    bool has_sender_count_ = false;
    uint32_t sender_count_ = 0;
    uint64_t expected_then_ = 0;
    int64_t unseen_ = 0;
};

/// All that a leg receives, over changes of the SSRC.
class Reception {
   public:
    explicit Reception(LegFigures& figures) : figures_(figures) {}

    /// True: a new stream has begun.
    bool received(const RtpPacket& packet, uint32_t clock_rate_hz, TimeNs now);
    void sender_report(uint32_t ssrc, uint32_t ntp_middle, uint32_t packets, TimeNs now);
    /// What comes next is a new stream's, whatever its SSRC.
    void reset();
    std::optional<ReportBlock> report(TimeNs now);

   private:
    void publish();

    LegFigures& figures_;
    std::optional<ReceptionStatistics> current_;
    int64_t lost_before_ = 0;  // of streams that have ended
    LossRuns runs_;
    LossRuns::Totals published_;
};

}  // namespace sdpserver
