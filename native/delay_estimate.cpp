#include "delay_estimate.h"

#include <algorithm>

namespace sdpserver {
namespace {

constexpr int64_t kPerMs = 48;
constexpr int64_t kSecond = 1000 * kPerMs;
constexpr int64_t kInterval = kSecond / 4;
/// Longer pauses say nothing about what the network is like now.
constexpr int64_t kStale = 5 * kSecond;
// Shares of the histogram, in 1/32768.
constexpr uint32_t kWhole = 32768;
constexpr uint32_t kKept = kWhole * 96 / 100;  // of an interval by the next one: 6 s
constexpr uint32_t kBeyondQuantile = kWhole * 5 / 100;

}  // namespace

void DelayEstimate::reset() {
    started_ = false;
    intervals_ = 0;
    jitter_ = 0;
    fastest_now_ = fastest_before_ = 0;
    histogram_.fill(0);
}

void DelayEstimate::arrived(int64_t at, int64_t arrival) {
    const int64_t delay = arrival - at;
    if (!started_ || arrival - second_began_ > kStale) {
        started_ = true;
        fastest_now_ = fastest_before_ = delay;
        second_began_ = interval_began_ = arrival;
        interval_slowest_ = 0;
    }
    if (arrival - second_began_ >= kSecond) {
        fastest_before_ = fastest_now_;
        fastest_now_ = delay;
        second_began_ = arrival;
    }
    fastest_now_ = std::min(fastest_now_, delay);
    if (arrival - interval_began_ >= kInterval) {
        close_interval();
        interval_began_ = arrival;
        interval_slowest_ = 0;
    }
    interval_slowest_ = std::max(interval_slowest_, delay - fastest());
    // Up at once while it is still young: one spike of the first second is all that is known.
    if (intervals_ == 0) jitter_ = std::max(jitter_, std::min(interval_slowest_, static_cast<int64_t>(kBins) * kPerMs));
}

void DelayEstimate::close_interval() {
    ++intervals_;
    // The first ones weigh as much as all before them, so that the start is learned quickly.
    const uint32_t kept = std::min(kKept, kWhole - kWhole / intervals_);
    const auto bin = static_cast<size_t>(std::clamp<int64_t>((interval_slowest_ + kPerMs - 1) / kPerMs, 0, kBins - 1));
    for (uint16_t& share : histogram_) share = static_cast<uint16_t>(share * kept / kWhole);
    histogram_[bin] = static_cast<uint16_t>(histogram_[bin] + kWhole - kept);
    uint32_t beyond = 0;
    size_t last = kBins - 1;
    while (last > 0 && (beyond += histogram_[last]) <= kBeyondQuantile) --last;
    jitter_ = static_cast<int64_t>(last) * kPerMs;
}

}  // namespace sdpserver
