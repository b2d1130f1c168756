#pragma once
// Linear audio about to be played, and the last of what was, which concealment and stretching look back at.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>

namespace sdpserver {

class SampleLine {
   public:
    static constexpr uint32_t kHistoryMs = 36;
    /// 120 ms decoded at once, behind a frame that is nearly played.
    static constexpr uint32_t kRoomMs = kHistoryMs + 144;

    explicit SampleLine(uint32_t rate_hz)
        : history_(kHistoryMs * rate_hz / 1000),
          capacity_(kRoomMs * rate_hz / 1000),
          samples_(std::make_unique<int16_t[]>(capacity_)),  // zeros
          played_(history_),
          end_(history_) {}

    size_t waiting() const { return end_ - played_; }
    size_t room() const { return capacity_ - history_ - waiting(); }

    /// Where `count` samples (at most `room()`) are to be written before `commit`.
    std::span<int16_t> reserve(size_t count) {
        if (end_ + count > capacity_) {
            const size_t shift = played_ - history_;
            std::copy(samples_.get() + shift, samples_.get() + end_, samples_.get());
            played_ -= shift;
            end_ -= shift;
        }
        return {samples_.get() + end_, std::min(count, capacity_ - end_)};
    }
    void commit(size_t count) { end_ += count; }
    void take(std::span<int16_t> out) {
        std::copy_n(samples_.get() + played_, out.size(), out.begin());
        played_ += out.size();
    }
    /// What waits goes, except for the first `count` samples.
    void truncate(size_t count) { end_ = played_ + count; }
    void clear() { played_ = end_ = history_, std::fill_n(samples_.get(), history_, int16_t{0}); }

    /// The first waiting sample; `kHistoryMs` before and `waiting()` behind it can be reached.
    int16_t* next() { return samples_.get() + played_; }
    /// Behind the last waiting sample.
    const int16_t* end() const { return samples_.get() + end_; }

   private:
    size_t history_;
    size_t capacity_;
    std::unique_ptr<int16_t[]> samples_;
    size_t played_;
    size_t end_;
};

}  // namespace sdpserver
