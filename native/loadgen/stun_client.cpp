#include "stun_client.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <algorithm>
#include <cstring>

namespace sdpserver::loadgen {
namespace {

constexpr uint16_t kBindingRequest = 0x0001, kBindingSuccess = 0x0101;
constexpr uint32_t kMagicCookie = 0x2112A442;
constexpr size_t kHeaderLength = 20, kIntegrityLength = 20;
enum Attribute : uint16_t {
    kUsername = 0x0006,
    kMessageIntegrity = 0x0008,
    kXorMappedAddress = 0x0020,
    kPriority = 0x0024,
    kUseCandidate = 0x0025,
    kFingerprint = 0x8028,
    kIceControlling = 0x802A,
};

void hmac_sha1(std::string_view key, ConstBytes data, uint8_t* out) {
    unsigned length = 0;
    HMAC(EVP_sha1(), key.data(), static_cast<int>(key.size()), data.data(), data.size(), out, &length);
}

/// CRC-32 of ITU V.42, as FINGERPRINT uses it (RFC 8489 section 14.7).
uint32_t crc32(ConstBytes data) {
    uint32_t crc = 0xFFFFFFFF;
    for (uint8_t octet : data) {
        crc ^= octet;
        for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320 : 0);
    }
    return ~crc;
}

class Writer {
   public:
    Writer(std::array<uint8_t, kMaxCheckLength>& out, uint16_t type, const uint8_t* transaction) : out_(out) {
        store_be16(out_.data(), type);
        store_be32(out_.data() + 4, kMagicCookie);
        std::memcpy(out_.data() + 8, transaction, 12);
    }
    uint8_t* add(uint16_t type, size_t length) {
        uint8_t* at = out_.data() + length_;
        store_be16(at, type);
        store_be16(at + 2, static_cast<uint16_t>(length));
        size_t padded = (length + 3) & ~size_t{3};
        std::memset(at + 4 + length, 0, padded - length);
        length_ += 4 + padded;
        store_be16(out_.data() + 2, static_cast<uint16_t>(length_ - kHeaderLength));
        return at + 4;
    }
    /// MESSAGE-INTEGRITY and FINGERPRINT, each over what precedes it with the length field already counting it.
    size_t finish(std::string_view key) {
        uint8_t* integrity = add(kMessageIntegrity, kIntegrityLength);
        hmac_sha1(key, ConstBytes(out_.data(), length_ - 4 - kIntegrityLength), integrity);
        uint8_t* fingerprint = add(kFingerprint, 4);
        store_be32(fingerprint, crc32(ConstBytes(out_.data(), length_ - 8)) ^ 0x5354554E);
        return length_;
    }

   private:
    std::array<uint8_t, kMaxCheckLength>& out_;
    size_t length_ = kHeaderLength;
};

bool is_stun(ConstBytes datagram, uint16_t type) {
    return datagram.size() >= kHeaderLength && load_be16(datagram.data()) == type &&
           load_be32(datagram.data() + 4) == kMagicCookie &&
           load_be16(datagram.data() + 2) + kHeaderLength == datagram.size();
}

}  // namespace

void StunClient::set_remote(std::string ufrag, std::string pwd) {
    remote_ufrag_ = std::move(ufrag);
    remote_pwd_ = std::move(pwd);
}

size_t StunClient::write_check(std::array<uint8_t, kMaxCheckLength>& out) {
    RAND_bytes(transaction_.data(), static_cast<int>(transaction_.size()));
    Writer message(out, kBindingRequest, transaction_.data());
    const std::string username = remote_ufrag_ + ":" + local_ufrag_;
    std::memcpy(message.add(kUsername, username.size()), username.data(), username.size());
    store_be32(message.add(kPriority, 4), 0x6E0001FF);  // peer-reflexive, RFC 8445 section 5.1.2.1
    RAND_bytes(message.add(kIceControlling, 8), 8);
    message.add(kUseCandidate, 0);
    return message.finish(remote_pwd_);
}

bool StunClient::integrity_holds(ConstBytes datagram, std::string_view key) const {
    for (size_t at = kHeaderLength; at + 4 <= datagram.size();) {
        const uint16_t type = load_be16(datagram.data() + at), length = load_be16(datagram.data() + at + 2);
        if (type == kMessageIntegrity) {
            if (length != kIntegrityLength || at + 4 + kIntegrityLength > datagram.size()) return false;
            std::array<uint8_t, 2048> copy;
            if (at > copy.size()) return false;
            std::copy_n(datagram.begin(), at, copy.begin());
            store_be16(copy.data() + 2, static_cast<uint16_t>(at + 4 + kIntegrityLength - kHeaderLength));
            std::array<uint8_t, EVP_MAX_MD_SIZE> expected;
            hmac_sha1(key, ConstBytes(copy.data(), at), expected.data());
            return CRYPTO_memcmp(expected.data(), datagram.data() + at + 4, kIntegrityLength) == 0;
        }
        at += 4 + ((static_cast<size_t>(length) + 3) & ~size_t{3});
    }
    return false;
}

bool StunClient::is_answer(ConstBytes datagram) const {
    return is_stun(datagram, kBindingSuccess) && std::equal(transaction_.begin(), transaction_.end(), &datagram[8]) &&
           integrity_holds(datagram, remote_pwd_);
}

size_t StunClient::write_answer(ConstBytes request, uint32_t source_ip, uint16_t source_port,
                                std::array<uint8_t, kMaxCheckLength>& out) const {
    if (!is_stun(request, kBindingRequest) || !integrity_holds(request, local_pwd_)) return 0;
    Writer message(out, kBindingSuccess, &request[8]);
    uint8_t* mapped = message.add(kXorMappedAddress, 8);
    mapped[0] = 0;
    mapped[1] = 1;  // IPv4
    store_be16(mapped + 2, static_cast<uint16_t>(source_port ^ kMagicCookie >> 16));
    store_be32(mapped + 4, source_ip ^ kMagicCookie);
    return message.finish(local_pwd_);
}

}  // namespace sdpserver::loadgen
