#include "port_pool.h"

#include <algorithm>
#include <cerrno>
#include <random>
#include <stdexcept>
#include <system_error>

#include "random.h"

namespace sdpserver {

PortPool::PortPool(const SocketAddress& bind_address, uint16_t first, uint16_t last) : bind_address_(bind_address) {
    if (first == 0) throw std::invalid_argument("an RTP port range that begins at 0");
    for (uint32_t port = first + first % 2u; port + 1 <= last; port += 2) free_.push_back(static_cast<uint16_t>(port));
    if (free_.empty()) throw std::invalid_argument("an RTP port range without an even port and the next one");
    UdpSocket::bind(bind_address.with_port(0));  // an address of another machine is found out now, not at the first call
    // Ports that nobody can predict make blind injection of RTP harder.
    std::ranges::shuffle(free_, std::minstd_rand(random_u32()));
}

RtpSockets PortPool::take() {
    const std::lock_guard lock(mutex_);
    for (size_t tries = free_.size(); tries > 0; --tries) {
        const uint16_t port = free_.front();
        free_.pop_front();
        try {
            RtpSockets sockets{
                .rtp = UdpSocket::bind(bind_address_.with_port(port)),
                .rtcp = UdpSocket::bind(bind_address_.with_port(static_cast<uint16_t>(port + 1))),
                .port = port,
            };
            return sockets;
        } catch (const std::system_error& error) {
            free_.push_back(port);
            if (error.code().value() != EADDRINUSE) throw;  // another program's port is no reason to give up
        }
    }
    throw std::system_error(EADDRNOTAVAIL, std::generic_category(), "all RTP ports are taken");
}

void PortPool::give_back(RtpSockets sockets) {
    const uint16_t port = sockets.port;
    sockets = {};  // closed before anyone can be given the port
    const std::lock_guard lock(mutex_);
    free_.push_back(port);
}

}  // namespace sdpserver
