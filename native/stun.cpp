#include "stun.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <cstring>

#include "hmac_sha1.h"

namespace sdpserver {
namespace {

constexpr uint32_t kMagicCookie = 0x2112A442;
constexpr size_t kHeaderLength = 20;
constexpr uint32_t kFingerprintXor = 0x5354554e;
constexpr size_t kIntegrityLength = 4 + HmacSha1::kSize;
constexpr size_t kFingerprintLength = 4 + 4;

enum Attribute : uint16_t {
    kUsername = 0x0006,
    kMessageIntegrity = 0x0008,
    kErrorCode = 0x0009,
    kUnknownAttributes = 0x000A,
    kRealm = 0x0014,
    kNonce = 0x0015,
    kXorMappedAddress = 0x0020,
    kPriority = 0x0024,
    kUseCandidate = 0x0025,
    kFingerprint = 0x8028,
    kIceControlled = 0x8029,
};

/// ISO 3309, as in zlib (RFC 8489 section 14.7).
uint32_t crc32(ConstBytes data) {
    static const auto table = [] {
        std::array<uint32_t, 256> entries{};
        for (uint32_t i = 0; i < entries.size(); ++i) {
            uint32_t value = i;
            for (int bit = 0; bit < 8; ++bit) value = (value & 1) != 0 ? 0xEDB88320u ^ (value >> 1) : value >> 1;
            entries[i] = value;
        }
        return entries;
    }();
    uint32_t crc = ~0u;
    for (const uint8_t octet : data) crc = table[(crc ^ octet) & 0xff] ^ (crc >> 8);
    return ~crc;
}

ConstBytes octets_of(std::string_view text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }

bool is_known(uint16_t attribute) {
    switch (attribute) {
        case kUsername:
        case kMessageIntegrity:
        case kErrorCode:
        case kUnknownAttributes:
        case kRealm:
        case kNonce:
        case kXorMappedAddress:
        case kPriority:
        case kUseCandidate: return true;
        default: return attribute >= 0x8000;  // comprehension-optional
    }
}

/// The HMAC covers the message up to the attribute, with a length field that counts the attribute in.
HmacSha1::Digest integrity(ConstBytes message, size_t integrity_at, std::string_view key) {
    std::array<uint8_t, 4> start{};
    std::copy_n(message.begin(), 2, start.begin());
    store_be16(start.data() + 2, static_cast<uint16_t>(integrity_at + kIntegrityLength - kHeaderLength));
    return HmacSha1(octets_of(key)).digest({start, message.subspan(4, integrity_at - 4)});
}

class Writer {
   public:
    Writer(Bytes out, uint16_t type, const StunTransaction& transaction) : out_(out) {
        store_be16(out_.data(), type);
        store_be16(out_.data() + 2, 0);
        store_be32(out_.data() + 4, kMagicCookie);
        std::ranges::copy(transaction, out_.begin() + 8);
    }

    void attribute(uint16_t type, ConstBytes value) {
        const size_t padded = (value.size() + 3) & ~size_t{3};
        store_be16(&out_[length_], type);
        store_be16(&out_[length_ + 2], static_cast<uint16_t>(value.size()));
        std::ranges::fill(out_.subspan(length_ + 4, padded), uint8_t{0});
        std::ranges::copy(value, out_.begin() + static_cast<std::ptrdiff_t>(length_) + 4);
        length_ += 4 + padded;
    }

    size_t finish(std::string_view key) {
        const HmacSha1::Digest digest = integrity(out_.first(length_), length_, key);
        attribute(kMessageIntegrity, digest);
        store_be16(&out_[2], static_cast<uint16_t>(length_ + kFingerprintLength - kHeaderLength));
        std::array<uint8_t, 4> fingerprint{};
        store_be32(fingerprint.data(), crc32(out_.first(length_)) ^ kFingerprintXor);
        attribute(kFingerprint, fingerprint);
        return length_;
    }

   private:
    Bytes out_;
    size_t length_ = kHeaderLength;
};

}  // namespace

std::optional<StunMessage> parse_stun(ConstBytes datagram) {
    if (datagram.size() < kHeaderLength || (datagram[0] & 0xc0) != 0) return std::nullopt;
    if (load_be32(&datagram[4]) != kMagicCookie) return std::nullopt;
    if (load_be16(&datagram[2]) % 4 != 0 || kHeaderLength + load_be16(&datagram[2]) != datagram.size()) {
        return std::nullopt;
    }

    StunMessage message;
    message.type = load_be16(datagram.data());
    std::copy_n(datagram.begin() + 8, message.transaction.size(), message.transaction.begin());
    for (size_t at = kHeaderLength; at < datagram.size();) {
        if (at + 4 > datagram.size()) return std::nullopt;
        const uint16_t type = load_be16(&datagram[at]);
        const size_t length = load_be16(&datagram[at + 2]);
        const size_t next = at + 4 + ((length + 3) & ~size_t{3});
        if (next > datagram.size()) return std::nullopt;
        const ConstBytes value = datagram.subspan(at + 4, length);
        if (type == kFingerprint) {  // the last attribute, if it is there at all
            if (length != 4 || next != datagram.size()) return std::nullopt;
            if ((crc32(datagram.first(at)) ^ kFingerprintXor) != load_be32(value.data())) return std::nullopt;
        } else if (message.integrity_at != 0) {
            // What follows MESSAGE-INTEGRITY is not covered by it and is ignored.
        } else if (type == kMessageIntegrity) {
            if (length != HmacSha1::kSize) return std::nullopt;
            message.integrity_at = at;
        } else if (type == kUsername) {
            message.username = {reinterpret_cast<const char*>(value.data()), value.size()};
        } else if (type == kUseCandidate) {
            message.use_candidate = true;
        } else if (!is_known(type) && message.unknown_count < message.unknown.size()) {
            message.unknown[message.unknown_count++] = type;
        }
        at = next;
    }
    return message;
}

bool stun_integrity_holds(ConstBytes datagram, const StunMessage& message, std::string_view key) {
    if (message.integrity_at == 0) return false;
    const HmacSha1::Digest expected = integrity(datagram, message.integrity_at, key);
    return CRYPTO_memcmp(expected.data(), &datagram[message.integrity_at + 4], expected.size()) == 0;
}

size_t write_binding_request(Bytes out, const StunTransaction& transaction, std::string_view username,
                             std::string_view key) {
    Writer writer(out, kStunBindingRequest, transaction);
    writer.attribute(kUsername, octets_of(username));
    // RFC 8445 section 5.1.2.1, for a host candidate of component 1; the peer never learns a candidate from it.
    writer.attribute(kPriority, std::array<uint8_t, 4>{0x7e, 0xff, 0xff, 0xff});
    writer.attribute(kIceControlled, std::array<uint8_t, 8>{});  // a lite agent is controlled and never wins a conflict
    return writer.finish(key);
}

size_t write_binding_success(Bytes out, const StunTransaction& transaction, const SocketAddress& mapped,
                             std::string_view key) {
    Writer writer(out, kStunBindingSuccess, transaction);
    std::array<uint8_t, 16> mask{};  // the magic cookie and the transaction id (RFC 8489 section 14.2)
    store_be32(mask.data(), kMagicCookie);
    std::ranges::copy(transaction, mask.begin() + 4);
    std::array<uint8_t, 20> value{};
    const size_t octets = mapped.is_ipv4() ? 4 : 16;
    value[1] = mapped.is_ipv4() ? 1 : 2;
    store_be16(&value[2], static_cast<uint16_t>(mapped.port() ^ (kMagicCookie >> 16)));
    for (size_t i = 0; i < octets; ++i) value[4 + i] = mapped.octets()[i] ^ mask[i];
    writer.attribute(kXorMappedAddress, ConstBytes(value).first(4 + octets));
    return writer.finish(key);
}

size_t write_binding_unknown_attributes(Bytes out, const StunMessage& request, std::string_view key) {
    Writer writer(out, kStunBindingError, request.transaction);
    static constexpr std::string_view kReason = "Unknown Attribute";
    std::array<uint8_t, 4 + kReason.size()> error{0, 0, 4, 20};
    std::ranges::copy(kReason, error.begin() + 4);
    writer.attribute(kErrorCode, error);
    std::array<uint8_t, 2 * std::tuple_size_v<decltype(request.unknown)>> types{};
    for (size_t i = 0; i < request.unknown_count; ++i) store_be16(&types[2 * i], request.unknown[i]);
    writer.attribute(kUnknownAttributes, ConstBytes(types).first(2 * request.unknown_count));
    return writer.finish(key);
}

}  // namespace sdpserver
