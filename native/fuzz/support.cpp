#include "support.h"

#include <openssl/rand.h>


#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <string>

namespace sdpserver::fuzz {
namespace {

constexpr size_t kHeaderLength = 20;
constexpr size_t kIntegrityLength = 4 + HmacSha1::kSize;
constexpr size_t kFingerprintLength = 8;

uint64_t state = 0;

int next_octets(unsigned char* out, int count) {
    for (int i = 0; i < count; ++i) {
        state = state * 6364136223846793005u + 1442695040888963407u;  // Knuth, MMIX
        out[i] = static_cast<unsigned char>(state >> 56);
    }
    return 1;
}

int always_ready() { return 1; }

/// ISO 3309, bit by bit.
uint32_t crc32(ConstBytes data) {
    uint32_t crc = ~0u;
    for (const uint8_t octet : data) {
        crc ^= octet;
        for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? 0xEDB88320u ^ (crc >> 1) : crc >> 1;
    }
    return ~crc;
}

void append(std::vector<uint8_t>& to, ConstBytes octets) { to.insert(to.end(), octets.begin(), octets.end()); }

void set_length(std::vector<uint8_t>& message, size_t total) {
    store_be16(&message[2], static_cast<uint16_t>(total - kHeaderLength));
}

}  // namespace

void expect(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "broken promise: %s\n", what);
    std::abort();
}

void start_over() {
    // OpenSSL's generator is in its library, which is not instrumented; a method of our own takes its place.
    static const RAND_METHOD method{nullptr, next_octets, nullptr, nullptr, next_octets, always_ready};
    static const int set = RAND_set_rand_method(&method);
    expect(set == 1, "OpenSSL takes our random numbers");
    state = 0;
}

std::vector<uint8_t> master_key(SrtpProfile profile, uint8_t first) {
    std::vector<uint8_t> key(srtp_master_length(profile));
    std::iota(key.begin(), key.end(), first);
    return key;
}

std::vector<uint8_t> stun_attribute(uint16_t type, std::string_view value) {
    std::vector<uint8_t> attribute(4 + ((value.size() + 3) & ~size_t{3}));
    store_be16(attribute.data(), type);
    store_be16(&attribute[2], static_cast<uint16_t>(value.size()));
    std::copy(value.begin(), value.end(), attribute.begin() + 4);
    return attribute;
}

std::vector<uint8_t> sealed_stun(uint16_t type, const StunTransaction& transaction, ConstBytes attributes,
                                 std::string_view key) {
    std::vector<uint8_t> message(8);
    store_be16(message.data(), type);
    store_be32(&message[4], 0x2112A442);
    append(message, transaction);
    append(message, attributes);
    message.resize((message.size() + 3) & ~size_t{3});

    set_length(message, message.size() + kIntegrityLength);
    const HmacSha1 hmac({reinterpret_cast<const uint8_t*>(key.data()), key.size()});
    const HmacSha1::Digest digest = hmac.digest({ConstBytes(message), ConstBytes()});
    append(message, stun_attribute(0x0008, {reinterpret_cast<const char*>(digest.data()), digest.size()}));

    set_length(message, message.size() + kFingerprintLength);
    uint8_t fingerprint[4];
    store_be32(fingerprint, crc32(message) ^ 0x5354554e);
    append(message, stun_attribute(0x8028, {reinterpret_cast<const char*>(fingerprint), sizeof fingerprint}));
    message.shrink_to_fit();
    return message;
}

}  // namespace sdpserver::fuzz
