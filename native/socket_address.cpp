#include "socket_address.h"

#include <arpa/inet.h>
#include <net/if.h>

#include <algorithm>

namespace sdpserver {

std::optional<SocketAddress> SocketAddress::parse(const std::string& ip, uint16_t port) {
    SocketAddress address;
    address.port_ = port;
    std::string host = ip;
    if (const size_t percent = ip.find('%'); percent != std::string::npos) {
        host.resize(percent);
        address.scope_ = if_nametoindex(ip.c_str() + percent + 1);
        if (address.scope_ == 0) return std::nullopt;
    }
    if (inet_pton(AF_INET6, host.c_str(), address.ip_.data()) == 1) return address;
    if (inet_pton(AF_INET, ip.c_str(), address.ip_.data() + kMappedPrefix.size()) != 1) return std::nullopt;
    std::ranges::copy(kMappedPrefix, address.ip_.begin());
    return address;
}

SocketAddress SocketAddress::from(const sockaddr_storage& address) {
    SocketAddress result;
    if (address.ss_family == AF_INET) {
        sockaddr_in in{};
        std::memcpy(&in, &address, sizeof in);
        std::ranges::copy(kMappedPrefix, result.ip_.begin());
        std::memcpy(result.ip_.data() + kMappedPrefix.size(), &in.sin_addr, 4);
        result.port_ = ntohs(in.sin_port);
    } else {
        sockaddr_in6 in{};
        std::memcpy(&in, &address, sizeof in);
        std::memcpy(result.ip_.data(), &in.sin6_addr, 16);
        result.port_ = ntohs(in.sin6_port);
        result.scope_ = in.sin6_scope_id;
    }
    return result;
}

socklen_t SocketAddress::write(int family, sockaddr_storage& out) const {
    if (family == AF_INET) {
        sockaddr_in in{};
        in.sin_family = AF_INET;
        in.sin_port = htons(port_);
        std::memcpy(&in.sin_addr, ip_.data() + kMappedPrefix.size(), 4);
        std::memcpy(&out, &in, sizeof in);
        return sizeof in;
    }
    sockaddr_in6 in{};
    in.sin6_family = AF_INET6;
    in.sin6_port = htons(port_);
    in.sin6_scope_id = scope_;
    std::memcpy(&in.sin6_addr, ip_.data(), 16);
    std::memcpy(&out, &in, sizeof in);
    return sizeof in;
}

bool SocketAddress::is_unspecified() const {
    const uint8_t* first = octets();
    return std::all_of(first, ip_.data() + ip_.size(), [](uint8_t octet) { return octet == 0; });
}

SocketAddress SocketAddress::with_port(uint16_t port) const {
    SocketAddress result = *this;
    result.port_ = port;
    return result;
}

std::string SocketAddress::ip() const {
    char text[INET6_ADDRSTRLEN] = {};
    inet_ntop(is_ipv4() ? AF_INET : AF_INET6, octets(), text, sizeof text);
    return text;
}

}  // namespace sdpserver
