#pragma once
// SRTP of one peer, both directions, on libsrtp2: an implementation that shares nothing with the one under test.

#include <srtp2/srtp.h>

#include <memory>
#include <optional>
#include <string_view>

#include "bytes.h"

namespace sdpserver::loadgen {

/// A protection profile of RFC 5764 / RFC 7714, by its IANA name.
struct SrtpProfile {
    std::string_view name;          // also the crypto-suite name of SDES (RFC 4568, RFC 7714 section 14.2)
    std::string_view openssl_name;  // as SSL_CTX_set_tlsext_use_srtp takes it
    size_t key_length;              // octets
    size_t salt_length;
    size_t tag_length;
    void (*set_policy)(srtp_crypto_policy_t*);

    size_t master_length() const { return key_length + salt_length; }
    static const SrtpProfile* find(std::string_view name);
};

class SrtpSession {
   public:
    /// Keys are master key and salt in one. Nothing: libsrtp2 refused them.
    static std::optional<SrtpSession> create(const SrtpProfile& profile, ConstBytes send_key, ConstBytes receive_key);

    /// In place; `buffer` has room for the tag after `length`. The new length, 0: failed.
    size_t protect(Bytes buffer, size_t length);
    /// In place. The new length, 0: wrong tag, replay or no SRTP.
    size_t unprotect(Bytes datagram);

   private:
    struct Free {
        void operator()(srtp_t session) const { srtp_dealloc(session); }
    };
    using Handle = std::unique_ptr<srtp_ctx_t_, Free>;
    static Handle make(const SrtpProfile& profile, ConstBytes key, srtp_ssrc_type_t direction);

    Handle send_;
    Handle receive_;
};

}  // namespace sdpserver::loadgen
