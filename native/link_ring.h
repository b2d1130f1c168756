#pragma once
// What one worker hands to another on the packet path: a bounded ring with one writer and one reader, without a lock.

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "audio.h"
#include "codec.h"
#include "event_queue.h"
#include "rtp.h"

namespace sdpserver {

struct LinkMessage {
    enum class What : uint8_t {
        packet,  // that leg `leg` has received
        pause,   // what leg `leg` receives is dropped on purpose
        audio,   // that leg `leg` is to send
    };
    /// Of what fits a path MTU, and 20 ms of linear audio at 16 kHz.
    static constexpr size_t kMaxOctets = 1500;

    What what{};
    LegId leg = 0;
    LegId source = 0;  // of the audio
    RtpPacket packet;  // without its payload
    Format format;
    uint32_t rate_hz = 0;
    AudioKind kind{};
    uint16_t octets = 0;  // of payload or samples
    alignas(int16_t) std::array<uint8_t, kMaxOctets> data;
};

class LinkRing {
 public:
    /// Of 20 ms each: a fifth of a second for 25 calls, more than a worker is ever held up.
    static constexpr size_t kSlots = 256;

    /// For the writer: the next message to fill, then `push`. Null: the ring is full, and what is late is worth nothing.
    LinkMessage* slot() {
        const size_t tail = tail_.load(std::memory_order_relaxed);
        return tail - head_.load(std::memory_order_acquire) == kSlots ? nullptr : &(*slots_)[tail % kSlots];
    }
    void push() { tail_.store(tail_.load(std::memory_order_relaxed) + 1, std::memory_order_release); }

    /// For the reader: the oldest message, then `pop`. Null: there is none.
    const LinkMessage* front() const {
        const size_t head = head_.load(std::memory_order_relaxed);
        return head == tail_.load(std::memory_order_acquire) ? nullptr : &(*slots_)[head % kSlots];
    }
    void pop() { head_.store(head_.load(std::memory_order_relaxed) + 1, std::memory_order_release); }

 private:
    static constexpr size_t kCacheLine = 64;

    alignas(kCacheLine) std::atomic<size_t> tail_{0};
    alignas(kCacheLine) std::atomic<size_t> head_{0};
    std::unique_ptr<std::array<LinkMessage, kSlots>> slots_ = std::make_unique<std::array<LinkMessage, kSlots>>();
};

}  // namespace sdpserver
