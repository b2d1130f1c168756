#pragma once
// Datagrams taken from a socket many at a time.

#include <array>
#include <optional>
#include <vector>

#include "bytes.h"
#include "udp_socket.h"

namespace sdpserver {

/// One recvmmsg's worth of datagrams.
class ReceiveBatch {
   public:
    static constexpr size_t kSize = 64;

    ReceiveBatch();
    /// How many came.
    size_t receive(const UdpSocket& socket);
    /// The kernel's running count of datagrams that the socket lost, if it was told to say so and has lost any.
    std::optional<uint32_t> drops() const;
    bool cut(size_t i) const { return (headers_[i].msg_hdr.msg_flags & MSG_TRUNC) != 0; }
    Bytes datagram(size_t i) { return {buffer(i), headers_[i].msg_len}; }
    SocketAddress source(size_t i) const { return SocketAddress::from(addresses_[i]); }

   private:
    static constexpr size_t kControl = CMSG_SPACE(sizeof(uint32_t));

    uint8_t* buffer(size_t i) { return memory_.data() + i * kMaxDatagram; }
    void reset(size_t i);

    size_t received_ = 0;
    std::vector<uint8_t> memory_;
    std::array<mmsghdr, kSize> headers_{};
    std::array<iovec, kSize> vectors_{};
    std::array<sockaddr_storage, kSize> addresses_{};
    std::array<std::array<uint8_t, kControl>, kSize> control_{};
};

}  // namespace sdpserver
