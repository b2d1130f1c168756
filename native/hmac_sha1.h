#pragma once
// HMAC-SHA1 (RFC 2104) with the key's two blocks hashed once, for SRTP tags and STUN's MESSAGE-INTEGRITY.

#include <openssl/sha.h>

#include <array>
#include <initializer_list>

#include "bytes.h"

namespace sdpserver {

class HmacSha1 {
   public:
    static constexpr size_t kSize = SHA_DIGEST_LENGTH;
    using Digest = std::array<uint8_t, kSize>;

    explicit HmacSha1(ConstBytes key);
    ~HmacSha1();
    HmacSha1(const HmacSha1&) = delete;
    HmacSha1& operator=(const HmacSha1&) = delete;

    /// Of the parts, one after another.
    Digest digest(std::initializer_list<ConstBytes> parts) const;

   private:
    SHA_CTX inner_{};
    SHA_CTX outer_{};
};

}  // namespace sdpserver
