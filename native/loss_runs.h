#pragma once
// How loss is spread over a stream: bursts and gaps as RFC 3611 section 4.7.2 tells them apart.

#include <cstdint>

namespace sdpserver {

/// Fed with what became of each packet, in sequence order. A burst begins and ends with a loss and has no `kGmin`
/// packets received in a row; a lone loss with that many on both sides belongs to the gap around it.
class LossRuns {
   public:
    static constexpr uint32_t kGmin = 16;

    struct Totals {
        uint64_t lost = 0;
        uint64_t runs = 0;  // of packets lost one after the other
        uint64_t bursts = 0;
        uint64_t burst_packets = 0;
        uint64_t burst_lost = 0;
        bool operator==(const Totals&) const = default;
    };

    void received(uint32_t count) {
        if (span_lost_ == 0) return;
        in_run_ = false;
        since_loss_ += count;
        if (since_loss_ >= kGmin) close();
    }
    void lost(uint32_t count);
    /// The stream has ended, or another begins: its packets are no neighbours of these.
    void end() { close(); }

    const Totals& totals() const { return totals_; }

   private:
    void close();

    Totals totals_;
    uint64_t span_ = 0;  // packets from the first loss to the last of what may become a burst
    uint64_t span_lost_ = 0;
    uint32_t since_loss_ = 0;
    bool in_run_ = false;
};

}  // namespace sdpserver
