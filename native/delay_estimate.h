#pragma once
// How late packets come, and so how long they have to wait to be played without a break.

#include <array>
#include <cstddef>
#include <cstdint>

namespace sdpserver {

/// Times and media times are both in 1/48000 s. A packet's delay is its arrival less its place in media time; only
/// differences of delays mean anything. The fastest packets of the last seconds are the reference, so that a drift of
/// the clocks is followed. How much slower than those the slowest of each quarter of a second was goes into a
/// histogram that forgets; a high quantile of it is what has to be waited for. So a spike counts at once and as long
/// as spikes keep coming, and is forgotten in some seconds.
class DelayEstimate {
   public:
    DelayEstimate() { reset(); }
    void arrived(int64_t at, int64_t arrival);
    void reset();

    /// The delay of the fastest packets.
    int64_t fastest() const { return fastest_now_ < fastest_before_ ? fastest_now_ : fastest_before_; }
    /// The delay that nearly all packets keep to.
    int64_t slowest() const { return fastest() + jitter_; }

   private:
    static constexpr size_t kBins = 256;  // of 1 ms

    void close_interval();

    int64_t fastest_now_ = 0;     // of this second
    int64_t fastest_before_ = 0;  // of the one before
    int64_t second_began_ = 0;
    int64_t interval_began_ = 0;
    int64_t interval_slowest_ = 0;
    int64_t jitter_ = 0;
    uint32_t intervals_ = 0;
    bool started_ = false;
    std::array<uint16_t, kBins> histogram_{};  // shares, in 1/32768
};

}  // namespace sdpserver
