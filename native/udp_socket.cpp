#include "udp_socket.h"

#include <linux/sock_diag.h>

#include <array>
#include <cerrno>
#include <system_error>

namespace sdpserver {
namespace {

constexpr int kExpeditedForwarding = 46 << 2;  // DSCP 46 in the upper six bits of the octet

void enable(int fd, int level, int option, int value) { setsockopt(fd, level, option, &value, sizeof value); }

}  // namespace

UdpSocket UdpSocket::bind(const SocketAddress& address) {
    UdpSocket result;
    result.family_ = address.is_ipv4() ? AF_INET : AF_INET6;
    result.fd_ = FileDescriptor(socket(result.family_, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    const int fd = result.fd();
    if (fd < 0) throw std::system_error(errno, std::generic_category(), "socket");
    enable(fd, IPPROTO_IP, IP_TOS, kExpeditedForwarding);
    if (result.family_ == AF_INET6) {
        enable(fd, IPPROTO_IPV6, IPV6_TCLASS, kExpeditedForwarding);
        enable(fd, IPPROTO_IPV6, IPV6_V6ONLY, address.is_unspecified() ? 0 : 1);
    }
    sockaddr_storage native{};
    const socklen_t length = address.write(result.family_, native);
    if (::bind(fd, reinterpret_cast<const sockaddr*>(&native), length) != 0) {
        throw std::system_error(errno, std::generic_category(), "bind to " + address.text());
    }
    return result;
}

uint16_t UdpSocket::port() const {
    sockaddr_storage native{};
    socklen_t length = sizeof native;
    getsockname(fd(), reinterpret_cast<sockaddr*>(&native), &length);
    return SocketAddress::from(native).port();
}

void UdpSocket::set_receive_buffer(int octets) const {
    if (setsockopt(fd(), SOL_SOCKET, SO_RCVBUFFORCE, &octets, sizeof octets) != 0) {
        enable(fd(), SOL_SOCKET, SO_RCVBUF, octets);
    }
}

void UdpSocket::report_drops() const { enable(fd(), SOL_SOCKET, SO_RXQ_OVFL, 1); }

uint32_t UdpSocket::drops() const {
    std::array<uint32_t, SK_MEMINFO_VARS> figures{};
    socklen_t length = sizeof figures;
    getsockopt(fd(), SOL_SOCKET, SO_MEMINFO, figures.data(), &length);
    return figures[SK_MEMINFO_DROPS];
}

bool UdpSocket::send(ConstBytes datagram, const SocketAddress& to) const {
    sockaddr_storage native{};
    const socklen_t length = to.write(family_, native);
    return sendto(fd(), datagram.data(), datagram.size(), 0, reinterpret_cast<const sockaddr*>(&native), length) >= 0;
}

}  // namespace sdpserver
