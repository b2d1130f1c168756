#pragma once
// A send queue by sendmmsg.

#include <array>
#include <vector>

#include "send_queue.h"

namespace sdpserver {

/// Sends by one sendmmsg for each run of one socket.
class SendBatch final : public SendQueue {
   public:
    static constexpr size_t kSize = 64;

    explicit SendBatch(WorkerCounters& counters);
    uint8_t* slot() override;
    void push(const UdpSocket& socket, const SocketAddress& to, size_t length, Counter* dropped) override;
    void flush() override;

   private:
    int send(size_t from, size_t until);

    std::vector<uint8_t> memory_;
    std::array<mmsghdr, kSize> headers_{};
    std::array<iovec, kSize> vectors_{};
    std::array<sockaddr_storage, kSize> addresses_{};
    std::array<int, kSize> sockets_{};
    std::array<Counter*, kSize> dropped_{};
    size_t used_ = 0;
    WorkerCounters& counters_;
};

}  // namespace sdpserver
