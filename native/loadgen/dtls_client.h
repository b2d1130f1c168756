#pragma once
// DTLS-SRTP, the client's side, on OpenSSL (RFC 5764, RFC 6347).

#include <openssl/ssl.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bytes.h"
#include "srtp_session.h"

namespace sdpserver::loadgen {

/// Certificate of this process, and one OpenSSL context per profile.
class DtlsContext {
   public:
    explicit DtlsContext(const SrtpProfile& profile);
    SSL_CTX* get() const { return context_.get(); }
    const SrtpProfile& profile() const { return *profile_; }
    /// SHA-256 of the certificate all contexts use, as in `a=fingerprint` (RFC 8122 section 5).
    static const std::string& fingerprint();

   private:
    struct Free {
        void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
    };
    const SrtpProfile* profile_;
    std::unique_ptr<SSL_CTX, Free> context_;
};

class DtlsClient {
   public:
    using Send = std::function<void(ConstBytes)>;
    enum class State { kHandshaking, kConnected, kFailed, kClosed };

    /// `peer_fingerprint`: what the peer's certificate must have, "AB:CD:..." of SHA-256.
    DtlsClient(const DtlsContext& context, std::string peer_fingerprint, Send send);

    /// Each moves the handshake on; `state` says how far it is.
    void start() { step(); }
    void receive(ConstBytes datagram);
    void handle_timeout();
    /// When `handle_timeout` wants to be called; nothing while no flight is out.
    std::optional<std::chrono::nanoseconds> timeout() const;
    /// Sends close_notify.
    void close();

    State state() const { return state_; }
    const std::string& error() const { return error_; }
    /// Keys for the client: ours to send with, the server's to receive with. Only when connected.
    std::optional<SrtpSession> srtp() const;

   private:
    struct Free {
        void operator()(SSL* ssl) const { SSL_free(ssl); }
    };
    void step();
    void fail(std::string why);
    bool peer_is_right() const;
    static const BIO_METHOD* bio_method();

    const DtlsContext* context_;
    std::string peer_fingerprint_;
    Send send_;
    ConstBytes incoming_;
    State state_ = State::kHandshaking;
    std::string error_;
    std::unique_ptr<SSL, Free> ssl_;
};

}  // namespace sdpserver::loadgen
