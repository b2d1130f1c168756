#pragma once
// An io_uring with a ring of buffers to receive into, made for one thread. It needs Linux 6.1.

#include <liburing.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "bytes.h"
#include "clock.h"

namespace sdpserver {

class IoRing {
   public:
    static constexpr uint16_t kBufferGroup = 0;

    /// On the thread that will use it. As many buffers of as many octets. Throws std::system_error: too old a
    /// kernel, or a sandbox that forbids it.
    IoRing(unsigned submissions, unsigned completions, unsigned buffers, size_t buffer_octets);
    ~IoRing();
    IoRing(const IoRing&) = delete;
    IoRing& operator=(const IoRing&) = delete;

    /// Room for one more submission; null when there is none until the next `enter`.
    io_uring_sqe* submission() { return io_uring_get_sqe(&ring_); }
    unsigned submissions() const { return io_uring_sq_ready(&ring_); }
    /// Submits what there is. How many submissions the kernel would not take yet.
    unsigned submit();
    /// The same, and waits until so many completions are there, but not longer than `wait`.
    unsigned submit_and_wait(unsigned completions, TimeNs wait);

    /// Completions that are there. They stay, and may be written to, until `taken`.
    unsigned completions() const { return io_uring_cq_ready(&ring_); }
    io_uring_cqe& completion(unsigned i) { return ring_.cq.cqes[(*ring_.cq.khead + i) & ring_.cq.ring_mask]; }
    void taken(unsigned count) { io_uring_cq_advance(&ring_, count); }

    static uint16_t buffer_of(const io_uring_cqe& completion) {
        return static_cast<uint16_t>(completion.flags >> IORING_CQE_BUFFER_SHIFT);
    }
    Bytes buffer(uint16_t id) { return Bytes(memory_).subspan(id * buffer_octets_, buffer_octets_); }
    void give_back(uint16_t id);

   private:
    void map_buffers();

    io_uring ring_{};
    unsigned buffers_;
    size_t buffer_octets_;
    std::vector<uint8_t> memory_;
    io_uring_buf_ring* free_ = nullptr;
};

}  // namespace sdpserver
