#pragma once
// An IPv4 or IPv6 address and port, in one form whichever socket it came through.

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>

namespace sdpserver {

/// IPv4 is kept as ::ffff:a.b.c.d, so that a peer seen through a dual-stack socket equals the same peer seen through an
/// IPv4 socket.
class SocketAddress {
   public:
    SocketAddress() = default;

    /// Of a numeric address; nothing is resolved.
    static std::optional<SocketAddress> parse(const std::string& ip, uint16_t port);
    static SocketAddress from(const sockaddr_storage& address);

    /// The form that a socket of `family` (AF_INET, AF_INET6) takes. IPv6 cannot be had on an IPv4 socket.
    socklen_t write(int family, sockaddr_storage& out) const;

    bool is_ipv4() const { return std::memcmp(ip_.data(), kMappedPrefix.data(), kMappedPrefix.size()) == 0; }
    bool is_unspecified() const;
    /// The 4 or 16 octets of the address, network byte order.
    const uint8_t* octets() const { return is_ipv4() ? ip_.data() + 12 : ip_.data(); }
    uint16_t port() const { return port_; }
    SocketAddress with_port(uint16_t port) const;
    bool same_host(const SocketAddress& other) const { return ip_ == other.ip_ && scope_ == other.scope_; }
    std::string ip() const;
    /// "192.0.2.1 5000"
    std::string text() const { return ip() + " " + std::to_string(port_); }

    bool operator==(const SocketAddress&) const = default;

    struct Hash {
        size_t operator()(const SocketAddress& address) const {
            uint64_t high = 0;
            uint64_t low = 0;
            std::memcpy(&high, address.ip_.data(), 8);
            std::memcpy(&low, address.ip_.data() + 8, 8);
            uint64_t mixed = (high ^ (low * 0x9E3779B97F4A7C15u)) + address.port_;
            mixed = (mixed ^ (mixed >> 32)) * 0xD6E8FEB86659FD93u;
            return static_cast<size_t>(mixed ^ (mixed >> 29));
        }
    };

   private:
    static constexpr std::array<uint8_t, 12> kMappedPrefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

    std::array<uint8_t, 16> ip_{};
    uint32_t scope_ = 0;
    uint16_t port_ = 0;
};

}  // namespace sdpserver
