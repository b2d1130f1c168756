#include "reception.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace sdpserver {
namespace {

constexpr int kMaxDropout = 3000;  // RFC 3550 appendix A.1 has it, and 100 for packets that are late
/// RTP may overtake a sender report, or be on its way when it comes: so few packets are not missing yet.
constexpr int64_t kMaxInFlight = 10;
/// More than any sender of audio sends; a count that grows faster is none.
constexpr int64_t kMaxPacketsPerSecond = 1000;
constexpr uint32_t kLongestPacketMs = 120;

}  // namespace

ReceptionStatistics::ReceptionStatistics(const RtpPacket& first, const ReceptionStatistics* before)
    : ssrc_(first.ssrc), base_(first.sequence), highest_(first.sequence) {
    if (before == nullptr || before->ssrc_ != ssrc_) return;
    last_report_ = before->last_report_;
    last_report_at_ = before->last_report_at_;
}

bool ReceptionStatistics::restarts(const RtpPacket& packet) {
    const int step = static_cast<int16_t>(packet.sequence - static_cast<uint16_t>(highest_));
    return (step > kMaxDropout || step < -kMaxDropout) && packet.sequence == restart_at_;
}

void ReceptionStatistics::received(const RtpPacket& packet, uint32_t clock_rate_hz, TimeNs now, LossRuns& runs) {
    int step = 0;
    if (received_ == 0) {
        window_ = 1;
    } else {
        step = static_cast<int16_t>(packet.sequence - static_cast<uint16_t>(highest_));
        if (step > kMaxDropout || step < -kMaxDropout) {
            restart_at_ = static_cast<uint16_t>(packet.sequence + 1);
            return;
        }
        restart_at_ = -1;
        if (step > 0) {
            advance(step, runs);
            unseen_ = 0;
        } else if (highest_ + step < base_ && step <= -kWindow) {
            return;  // from before the first one
        } else {
            place_late(highest_ + step);
        }
    }
    ++received_;
    if (clock_rate_hz != 0) {
        measure_jitter(packet, step, clock_rate_hz, now);
    } else {
        after_audio_ = false;
    }
}

/// The window moves on; what leaves it is settled.
void ReceptionStatistics::advance(int step, LossRuns& runs) {
    const uint64_t before = expected();
    if (step == 1 && before >= kWindow && (window_ >> (kWindow - 1)) != 0) {
        runs.received(1);
    } else {
        // Of the window's packets, oldest first, those that leave it; then what was skipped beyond a whole window.
        const auto held = static_cast<int>(std::min<uint64_t>(before, kWindow));
        const int leaving = std::clamp(held + step - kWindow, 0, held);
        for (int i = 0; i < leaving; ++i) {
            if ((window_ >> (held - 1 - i) & 1) != 0) {
                runs.received(1);
            } else {
                runs.lost(1);
            }
        }
        runs.lost(static_cast<uint32_t>(std::max(step - kWindow, 0)));
    }
    highest_ += step;
    window_ = (step < kWindow ? window_ << step : 0) | 1;
}

/// A packet that was overtaken, at the stream's start even by the first one; or a repeated one.
void ReceptionStatistics::place_late(int64_t sequence) {
    const int64_t age = highest_ - sequence;
    if (age < kWindow) window_ |= uint32_t{1} << age;
    base_ = std::min(base_, sequence);
}

void ReceptionStatistics::measure_jitter(const RtpPacket& packet, int step, uint32_t clock_rate_hz, TimeNs now) {
    if (clock_rate_hz != clock_rate_hz_) {  // another clock with another offset (RFC 7160), but the same network
        if (clock_rate_hz_ != 0) jitter_ *= static_cast<double>(clock_rate_hz) / clock_rate_hz_;
        clock_rate_hz_ = clock_rate_hz;
        ms_per_unit_ = 1000.0 / clock_rate_hz;
        has_transit_ = false;
        packet_units_ = 0;
    }
    const auto arrival = static_cast<uint32_t>(static_cast<uint64_t>(now / kMicrosecond) * clock_rate_hz / 1'000'000);
    const uint32_t transit = arrival - packet.timestamp;
    // A talkspurt begins when its sender likes (and some mark every packet).
    const bool new_talkspurt = packet.marker && !after_marker_;
    // By which clock it would be measured is not known either once another has taken over.
    const auto passed = static_cast<int32_t>(arrival - (transit_ + timestamp_));
    const bool new_clock = step > 0 && timestamp_jumped(packet.timestamp - timestamp_, passed, clock_rate_hz);
    if (has_transit_ && !new_talkspurt && !new_clock) {
        const double change = std::abs(static_cast<double>(static_cast<int32_t>(transit - transit_)));
        jitter_ += (change - jitter_) / 16.0;
        const uint32_t units = packet.timestamp - timestamp_;
        if (step == 1 && after_audio_ && units <= clock_rate_hz / 1000 * kLongestPacketMs) packet_units_ = units;
    }
    after_audio_ = true;
    after_marker_ = packet.marker;
    transit_ = transit;
    timestamp_ = packet.timestamp;
    has_transit_ = true;
}

void ReceptionStatistics::end(LossRuns& runs) {
    for (int i = static_cast<int>(std::min<uint64_t>(expected(), kWindow)) - 1; i >= 0; --i) {
        if ((window_ >> i & 1) != 0) {
            runs.received(1);
        } else {
            runs.lost(1);
        }
    }
    runs.end();
}

ReportBlock ReceptionStatistics::report(TimeNs now) {
    const uint64_t expected_interval = expected() - expected_before_;
    const uint64_t received_interval = received_ - received_before_;
    expected_before_ = expected();
    received_before_ = received_;
    ReportBlock block{
        .ssrc = ssrc_,
        .lost = static_cast<int32_t>(std::clamp<int64_t>(lost(), -0x800000, 0x7fffff)),
        .highest_sequence = static_cast<uint32_t>(highest_),
        .jitter = static_cast<uint32_t>(jitter_),
        .last_report = last_report_,
    };
    if (expected_interval > received_interval) {
        block.fraction_lost = static_cast<uint8_t>(
            std::min<uint64_t>(255, ((expected_interval - received_interval) << 8) / expected_interval));
    }
    if (last_report_ != 0) {
        const auto delay_us = static_cast<uint64_t>((now - last_report_at_) / kMicrosecond);
        block.delay = static_cast<uint32_t>(delay_us * 65536 / 1'000'000);
    }
    return block;
}

/// Sequence numbers do not show what was lost after the last packet that came; the sender's own count does. It is held
/// against the sequence numbers since the report that was furthest ahead of them while they agreed.
void ReceptionStatistics::sender_report(uint32_t ntp_middle, uint32_t packets, TimeNs now) {
    const TimeNs since_last = now - last_report_at_;
    last_report_ = ntp_middle;
    last_report_at_ = now;
    const auto sent = int64_t{static_cast<int32_t>(packets - sender_count_)};
    const int64_t missing = sent - static_cast<int64_t>(expected() - expected_then_);
    const int64_t possible = since_last / kSecond * kMaxPacketsPerSecond + kMaxPacketsPerSecond;
    if (has_sender_count_ && missing > kMaxInFlight && missing - unseen_ <= possible) {
        unseen_ = missing;
        return;
    }
    unseen_ = 0;
    if (has_sender_count_ && missing < 0 && missing >= -kMaxInFlight) return;  // overtaken by RTP
    has_sender_count_ = true;
    sender_count_ = packets;
    expected_then_ = expected();
}

bool Reception::received(const RtpPacket& packet, uint32_t clock_rate_hz, TimeNs now) {
    const bool begins = !current_ || current_->ssrc() != packet.ssrc || current_->restarts(packet);
    if (begins) {
        ReceptionStatistics next(packet, current_ ? &*current_ : nullptr);
        reset();
        current_ = next;
    }
    current_->received(packet, clock_rate_hz, now, runs_);
    figures_.packets_lost.set(lost_before_ + current_->lost());
    figures_.jitter_ms.set(current_->jitter_ms());
    if (current_->packet_ms() > 0.0) figures_.packet_ms.set(current_->packet_ms());
    publish();
    return begins;
}

void Reception::reset() {
    if (!current_) return;
    lost_before_ += current_->lost() + current_->unseen();
    current_->end(runs_);
    current_.reset();
    figures_.packets_lost.set(lost_before_);
    publish();
}

void Reception::sender_report(uint32_t ssrc, uint32_t ntp_middle, uint32_t packets, TimeNs now) {
    if (!current_ || current_->ssrc() != ssrc) return;
    current_->sender_report(ntp_middle, packets, now);
    publish();
}

std::optional<ReportBlock> Reception::report(TimeNs now) {
    if (!current_) return std::nullopt;
    return current_->report(now);
}

void Reception::publish() {
    figures_.packets_unseen.set(current_ ? current_->unseen() : 0);
    const LossRuns::Totals& totals = runs_.totals();
    if (totals.lost == published_.lost && totals.bursts == published_.bursts) return;
    published_ = totals;
    figures_.loss_runs.set(totals.runs);
    figures_.loss_runs_lost.set(totals.lost);
    figures_.bursts.set(totals.bursts);
    figures_.burst_packets.set(totals.burst_packets);
    figures_.burst_packets_lost.set(totals.burst_lost);
}

}  // namespace sdpserver
