// OpenSSL 3 deprecates the SHA1_* functions, but its replacement copies an EVP_MD_CTX on the heap for every packet. A
// struct copy is all that a keyed HMAC needs; the deprecated calls stay inside this file.
#define OPENSSL_SUPPRESS_DEPRECATED

#include "hmac_sha1.h"

#include <openssl/crypto.h>

#include <algorithm>

namespace sdpserver {

HmacSha1::HmacSha1(ConstBytes key) {
    std::array<uint8_t, SHA_CBLOCK> block{};
    if (key.size() > block.size()) {
        SHA1(key.data(), key.size(), block.data());
    } else {
        std::ranges::copy(key, block.begin());
    }
    for (uint8_t& octet : block) octet ^= 0x36;
    SHA1_Init(&inner_);
    SHA1_Update(&inner_, block.data(), block.size());
    for (uint8_t& octet : block) octet ^= 0x36 ^ 0x5c;
    SHA1_Init(&outer_);
    SHA1_Update(&outer_, block.data(), block.size());
    OPENSSL_cleanse(block.data(), block.size());
}

HmacSha1::~HmacSha1() {
    OPENSSL_cleanse(&inner_, sizeof inner_);
    OPENSSL_cleanse(&outer_, sizeof outer_);
}

HmacSha1::Digest HmacSha1::digest(std::initializer_list<ConstBytes> parts) const {
    Digest result;
    SHA_CTX context = inner_;
    for (const ConstBytes part : parts) SHA1_Update(&context, part.data(), part.size());
    SHA1_Final(result.data(), &context);
    context = outer_;
    SHA1_Update(&context, result.data(), result.size());
    SHA1_Final(result.data(), &context);
    return result;
}

}  // namespace sdpserver
