#pragma once
// Delays, to the microsecond.

#include <algorithm>
#include <cstdint>
#include <vector>

namespace sdpserver::loadgen {

class Histogram {
   public:
    void add(int64_t ns) {
        ns = std::max<int64_t>(ns, 0);
        ++buckets_[static_cast<size_t>(std::min<int64_t>(ns / 1000, kBuckets - 1))];
        sum_ns_ += ns;
        max_ns_ = std::max(max_ns_, ns);
        ++count_;
    }
    uint64_t count() const { return count_; }
    double mean_us() const { return count_ ? static_cast<double>(sum_ns_) / 1000.0 / static_cast<double>(count_) : 0; }
    double max_us() const { return static_cast<double>(max_ns_) / 1000.0; }
    /// The value that `share` (0..1) of them do not pass.
    double quantile_us(double share) const {
        uint64_t left = static_cast<uint64_t>(share * static_cast<double>(count_));
        for (size_t i = 0; i < buckets_.size(); ++i) {
            if (buckets_[i] > left) return static_cast<double>(i);
            left -= buckets_[i];
        }
        return max_us();
    }

   private:
    static constexpr int64_t kBuckets = 200'000;  // 200 ms; what is longer counts as that, but in mean and maximum
    std::vector<uint32_t> buckets_ = std::vector<uint32_t>(kBuckets);
    int64_t sum_ns_ = 0, max_ns_ = 0;
    uint64_t count_ = 0;
};

}  // namespace sdpserver::loadgen
