#pragma once
// STUN Binding messages as ICE uses them (RFC 8489, RFC 8445).

#include <array>
#include <optional>
#include <string_view>

#include "bytes.h"
#include "socket_address.h"

namespace sdpserver {

inline constexpr uint16_t kStunBindingRequest = 0x0001;
inline constexpr uint16_t kStunBindingSuccess = 0x0101;
inline constexpr uint16_t kStunBindingError = 0x0111;
/// Success or error, as the class bits say (RFC 8489 section 5).
inline bool is_stun_response(uint16_t type) { return (type & 0x0100) != 0; }
/// Octets that any message written here fits in.
inline constexpr size_t kMaxStunLength = 768;

using StunTransaction = std::array<uint8_t, 12>;

/// What a received message says. Views point into the datagram.
struct StunMessage {
    uint16_t type = 0;
    StunTransaction transaction{};
    std::string_view username;
    bool use_candidate = false;
    size_t integrity_at = 0;  // offset of the MESSAGE-INTEGRITY attribute, 0: there is none
    std::array<uint16_t, 8> unknown{};  // comprehension-required attributes that we do not know (RFC 8489 section 14)
    size_t unknown_count = 0;
};

/// Nothing: not a STUN message of RFC 8489, an attribute that runs past its end, or a wrong FINGERPRINT.
std::optional<StunMessage> parse_stun(ConstBytes datagram);

/// Whether MESSAGE-INTEGRITY is there and was made with `key` (RFC 8489 section 14.5).
bool stun_integrity_holds(ConstBytes datagram, const StunMessage& message, std::string_view key);

/// Each returns the octets written to `out`, which has `kMaxStunLength`. All end in MESSAGE-INTEGRITY and FINGERPRINT.
size_t write_binding_request(Bytes out, const StunTransaction& transaction, std::string_view username,
                             std::string_view key);
size_t write_binding_success(Bytes out, const StunTransaction& transaction, const SocketAddress& mapped,
                             std::string_view key);
/// 420 Unknown Attribute, naming them.
size_t write_binding_unknown_attributes(Bytes out, const StunMessage& request, std::string_view key);

}  // namespace sdpserver
