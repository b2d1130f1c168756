#pragma once
// Bound, non-blocking UDP sockets, and datagrams taken from and given to them in batches.

#include <array>
#include <optional>
#include <vector>

#include "bytes.h"
#include "counters.h"
#include "file_descriptor.h"
#include "socket_address.h"

namespace sdpserver {

/// Longer datagrams are cut, and cut ones are dropped: nothing that fits a path MTU comes near it.
inline constexpr size_t kMaxDatagram = 2048;

class UdpSocket {
   public:
    UdpSocket() = default;
    /// Marked with DSCP EF (RFC 3246). Bound to "::" it takes IPv4 too. Throws std::system_error.
    static UdpSocket bind(const SocketAddress& address);

    int fd() const { return fd_.get(); }
    int family() const { return family_; }
    uint16_t port() const;
    /// Asks for a receive buffer, past the system's limit where we are allowed to.
    void set_receive_buffer(int octets) const;
    /// Asks the kernel to say how many datagrams it dropped (SO_RXQ_OVFL).
    void report_drops() const;
    /// At once, past any queue. False: the kernel would not take it.
    bool send(ConstBytes datagram, const SocketAddress& to) const;
    explicit operator bool() const { return static_cast<bool>(fd_); }

   private:
    FileDescriptor fd_;
    int family_ = 0;
};

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

/// Datagrams on their way out, kept until the end of a round and then sent by one sendmmsg for each run of one socket.
class SendQueue {
   public:
    static constexpr size_t kSize = 64;
    /// Room in a slot: a received payload behind a header of ours, with tags of SRTP or SRTCP.
    static constexpr size_t kSlot = kMaxDatagram + 64;

    explicit SendQueue(WorkerCounters& counters);
    /// Where to write the next datagram. Sends what waits when all slots are taken.
    uint8_t* slot();
    /// Queue what was written to the last `slot()`. `dropped` is counted up when the kernel does not take it.
    void push(const UdpSocket& socket, const SocketAddress& to, size_t length, Counter* dropped);
    void flush();

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
