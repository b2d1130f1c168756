#pragma once
// Frames on their way from one thread to another: bounded, one writer, one reader, no lock, nothing allocated on the way.

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <memory>
#include <span>
#include <vector>

#include "audio.h"

namespace sdpserver {

class FrameRing {
   public:
    /// What the reader gets; `samples` is used again for the next one.
    struct Frame {
        TimeNs now = 0;
        uint32_t rate_hz = 0;
        std::vector<int16_t> samples;
    };

    /// `samples`: how many it holds, less 8 for each frame; a power of two.
    explicit FrameRing(size_t samples) : words_(std::make_unique<int16_t[]>(samples)), mask_(samples - 1) {}

    /// The writer's. False: full, and the frame is lost.
    bool push(const AudioFrame& frame, TimeNs now) {
        const Header header{.now = now, .rate_hz = frame.rate_hz, .count = static_cast<uint32_t>(frame.samples.size())};
        const size_t end = end_.load(std::memory_order_relaxed);
        const size_t length = kHeaderWords + frame.samples.size();
        if (length > mask_ + 1 - (end - begin_.load(std::memory_order_acquire))) return false;
        const auto words = std::bit_cast<std::array<int16_t, kHeaderWords>>(header);
        copy_in(end, words);
        copy_in(end + kHeaderWords, frame.samples);
        end_.store(end + length, std::memory_order_release);
        return true;
    }

    /// The reader's. False: empty.
    bool pop(Frame& frame) {
        const size_t begin = begin_.load(std::memory_order_relaxed);
        if (begin == end_.load(std::memory_order_acquire)) return false;
        std::array<int16_t, kHeaderWords> words;
        copy_out(begin, words);
        const auto header = std::bit_cast<Header>(words);
        frame.now = header.now;
        frame.rate_hz = header.rate_hz;
        frame.samples.resize(header.count);
        copy_out(begin + kHeaderWords, frame.samples);
        begin_.store(begin + kHeaderWords + header.count, std::memory_order_release);
        return true;
    }

   private:
    struct Header {
        TimeNs now;
        uint32_t rate_hz;
        uint32_t count;
    };
    static constexpr size_t kHeaderWords = sizeof(Header) / sizeof(int16_t);

    void copy_in(size_t at, std::span<const int16_t> from) {
        const size_t first = std::min(from.size(), mask_ + 1 - (at & mask_));
        std::ranges::copy(from.first(first), words_.get() + (at & mask_));
        std::ranges::copy(from.subspan(first), words_.get());
    }
    void copy_out(size_t at, std::span<int16_t> to) const {
        const size_t first = std::min(to.size(), mask_ + 1 - (at & mask_));
        std::copy_n(words_.get() + (at & mask_), first, to.begin());
        std::copy_n(words_.get(), to.size() - first, to.begin() + static_cast<std::ptrdiff_t>(first));
    }

    std::unique_ptr<int16_t[]> words_;
    size_t mask_;
    alignas(64) std::atomic<size_t> begin_{0};
    alignas(64) std::atomic<size_t> end_{0};
};

}  // namespace sdpserver
