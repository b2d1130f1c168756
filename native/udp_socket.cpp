#include "udp_socket.h"

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

bool UdpSocket::send(ConstBytes datagram, const SocketAddress& to) const {
    sockaddr_storage native{};
    const socklen_t length = to.write(family_, native);
    return sendto(fd(), datagram.data(), datagram.size(), 0, reinterpret_cast<const sockaddr*>(&native), length) >= 0;
}

ReceiveBatch::ReceiveBatch() : memory_(kSize * kMaxDatagram) {
    for (size_t i = 0; i < kSize; ++i) {
        vectors_[i] = {buffer(i), kMaxDatagram};
        msghdr& header = headers_[i].msg_hdr;
        header.msg_iov = &vectors_[i];
        header.msg_iovlen = 1;
        header.msg_name = &addresses_[i];
        header.msg_control = control_[i].data();
        reset(i);
    }
}

/// The kernel overwrites them.
void ReceiveBatch::reset(size_t i) {
    headers_[i].msg_hdr.msg_namelen = sizeof(sockaddr_storage);
    headers_[i].msg_hdr.msg_controllen = kControl;
}

size_t ReceiveBatch::receive(const UdpSocket& socket) {
    for (size_t i = 0; i < received_; ++i) reset(i);
    const int count = recvmmsg(socket.fd(), headers_.data(), kSize, 0, nullptr);
    received_ = count > 0 ? static_cast<size_t>(count) : 0;
    return received_;
}

std::optional<uint32_t> ReceiveBatch::drops() const {
    if (received_ == 0) return std::nullopt;
    msghdr last = headers_[received_ - 1].msg_hdr;
    for (cmsghdr* control = CMSG_FIRSTHDR(&last); control != nullptr; control = CMSG_NXTHDR(&last, control)) {
        if (control->cmsg_level == SOL_SOCKET && control->cmsg_type == SO_RXQ_OVFL) {
            uint32_t count = 0;
            std::memcpy(&count, CMSG_DATA(control), sizeof count);
            return count;
        }
    }
    return std::nullopt;
}

SendQueue::SendQueue(WorkerCounters& counters) : memory_(kSize * kSlot), counters_(counters) {
    for (size_t i = 0; i < kSize; ++i) {
        vectors_[i] = {memory_.data() + i * kSlot, 0};
        headers_[i].msg_hdr.msg_iov = &vectors_[i];
        headers_[i].msg_hdr.msg_iovlen = 1;
        headers_[i].msg_hdr.msg_name = &addresses_[i];
    }
}

uint8_t* SendQueue::slot() {
    if (used_ == kSize) flush();
    return static_cast<uint8_t*>(vectors_[used_].iov_base);
}

void SendQueue::push(const UdpSocket& socket, const SocketAddress& to, size_t length, Counter* dropped) {
    vectors_[used_].iov_len = length;
    headers_[used_].msg_hdr.msg_namelen = to.write(socket.family(), addresses_[used_]);
    sockets_[used_] = socket.fd();
    dropped_[used_] = dropped;
    ++used_;
}

/// How many of a run for one socket were sent; -1: not even the first. For a single datagram, as RTP legs have it, sendto
/// takes 2.9 us where sendmmsg takes 3.1; ten for one socket take 2.5 us each.
int SendQueue::send(size_t from, size_t until) {
    if (until - from > 1) return sendmmsg(sockets_[from], &headers_[from], static_cast<unsigned>(until - from), 0);
    const msghdr& header = headers_[from].msg_hdr;
    const ssize_t octets = sendto(sockets_[from], vectors_[from].iov_base, vectors_[from].iov_len, 0,
                                  static_cast<const sockaddr*>(header.msg_name), header.msg_namelen);
    return octets < 0 ? -1 : 1;
}

void SendQueue::flush() {
    for (size_t from = 0; from < used_;) {
        size_t until = from + 1;
        while (until < used_ && sockets_[until] == sockets_[from]) ++until;
        const int sent = send(from, until);
        counters_.send_calls.add(1);
        if (sent > 0) {
            counters_.packets_sent.add(static_cast<uint64_t>(sent));
            from += static_cast<size_t>(sent);
        } else if (sent < 0 && errno == EINTR) {
            continue;
        } else {  // this datagram cannot go: an unreachable network, or a full buffer. Late audio is worth nothing.
            counters_.send_failures.add(1);
            dropped_[from]->add(1);
            ++from;
        }
    }
    used_ = 0;
}

}  // namespace sdpserver
