#pragma once
// Bound, non-blocking UDP sockets.

#include "bytes.h"
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
    /// The kernel's running count of them.
    uint32_t drops() const;
    /// At once, past any queue. False: the kernel would not take it.
    bool send(ConstBytes datagram, const SocketAddress& to) const;
    explicit operator bool() const { return static_cast<bool>(fd_); }

   private:
    FileDescriptor fd_;
    int family_ = 0;
};

}  // namespace sdpserver
