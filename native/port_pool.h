#pragma once
// Pairs of UDP ports for RTP legs: an even one for RTP and the next one for RTCP (RFC 3550 section 11).

#include <deque>
#include <mutex>

#include "udp_socket.h"

namespace sdpserver {

struct RtpSockets {
    UdpSocket rtp;
    UdpSocket rtcp;
    uint16_t port = 0;
};

/// A freed pair goes to the end of the line, behind every pair that has been free for longer. So late packets of an old call do not
/// find a new one, and a pair is reused within 30 s only when no other one is left.
class PortPool {
   public:
    /// Throws std::invalid_argument if the range holds no pair, std::system_error if nothing can be bound there.
    PortPool(const SocketAddress& bind_address, uint16_t first, uint16_t last);

    /// Whether its sockets can send there: those on IPv4 know no IPv6.
    bool reaches(const SocketAddress& address) const { return !bind_address_.is_ipv4() || address.is_ipv4(); }

    /// Throws std::system_error, EADDRNOTAVAIL when all pairs are taken.
    RtpSockets take();
    void give_back(RtpSockets sockets);

   private:
    SocketAddress bind_address_;
    std::mutex mutex_;
    std::deque<uint16_t> free_;
};

}  // namespace sdpserver
