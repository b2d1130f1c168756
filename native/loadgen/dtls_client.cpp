#include "dtls_client.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <stdexcept>

namespace sdpserver::loadgen {
namespace {

constexpr long kMtu = 1200;  // what browsers use

std::string openssl_error() {
    std::array<char, 256> text{};
    ERR_error_string_n(ERR_get_error(), text.data(), text.size());
    ERR_clear_error();
    return text.data();
}

std::string sha256_of(X509* certificate) {
    std::array<uint8_t, EVP_MAX_MD_SIZE> digest;
    unsigned length = 0;
    X509_digest(certificate, EVP_sha256(), digest.data(), &length);
    static constexpr char kHex[] = "0123456789ABCDEF";
    std::string text;
    for (unsigned i = 0; i < length; ++i) {
        if (i) text += ':';
        text += kHex[digest[i] >> 4];
        text += kHex[digest[i] & 15];
    }
    return text;
}

struct Identity {
    EVP_PKEY* key = EVP_EC_gen("P-256");
    X509* certificate = X509_new();

    Identity() {
        ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
        X509_gmtime_adj(X509_getm_notBefore(certificate), -86400);
        X509_gmtime_adj(X509_getm_notAfter(certificate), 30L * 86400);
        X509_set_pubkey(certificate, key);
        X509_NAME* name = X509_get_subject_name(certificate);
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("loadgen"), -1, -1,
                                   0);
        X509_set_issuer_name(certificate, name);
        if (!X509_sign(certificate, key, EVP_sha256())) throw std::runtime_error("certificate: " + openssl_error());
    }
    Identity(const Identity&) = delete;
    Identity& operator=(const Identity&) = delete;
    ~Identity() {
        X509_free(certificate);
        EVP_PKEY_free(key);
    }
};

const Identity& identity() {
    static const Identity instance;
    return instance;
}

}  // namespace

const std::string& DtlsContext::fingerprint() {
    static const std::string text = sha256_of(identity().certificate);
    return text;
}

DtlsContext::DtlsContext(const SrtpProfile& profile)
    : profile_(&profile), context_(SSL_CTX_new(DTLS_client_method())) {
    SSL_CTX* context = context_.get();
    SSL_CTX_set_min_proto_version(context, DTLS1_2_VERSION);
    // The peer's certificate is self-signed: it is held against the fingerprint of its SDP, after the handshake.
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, [](int, X509_STORE_CTX*) { return 1; });
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    if (SSL_CTX_use_certificate(context, identity().certificate) != 1 ||
        SSL_CTX_use_PrivateKey(context, identity().key) != 1 ||
        // The only one of OpenSSL's calls that returns 0 for success.
        SSL_CTX_set_tlsext_use_srtp(context, std::string(profile.openssl_name).c_str()) != 0) {
        throw std::runtime_error("DTLS context: " + openssl_error());
    }
}

/// A BIO that keeps datagrams apart: what OpenSSL writes leaves at once, what it reads is the datagram in hand.
const BIO_METHOD* DtlsClient::bio_method() {
    static BIO_METHOD* const method = [] {
        BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "datagrams");
        BIO_meth_set_write(made, [](BIO* bio, const char* data, int length) {
            static_cast<DtlsClient*>(BIO_get_data(bio))
                ->send_(ConstBytes(reinterpret_cast<const uint8_t*>(data), static_cast<size_t>(length)));
            return length;
        });
        BIO_meth_set_read(made, [](BIO* bio, char* out, int room) {
            ConstBytes& incoming = static_cast<DtlsClient*>(BIO_get_data(bio))->incoming_;
            BIO_clear_retry_flags(bio);
            if (incoming.empty()) {
                BIO_set_retry_read(bio);
                return -1;
            }
            const size_t length = std::min(incoming.size(), static_cast<size_t>(room));
            std::copy_n(incoming.begin(), length, reinterpret_cast<uint8_t*>(out));
            incoming = {};
            return static_cast<int>(length);
        });
        BIO_meth_set_ctrl(made, [](BIO*, int command, long, void*) -> long {
            switch (command) {
                case BIO_CTRL_FLUSH:
                    return 1;
                case BIO_CTRL_DGRAM_QUERY_MTU:
                case BIO_CTRL_DGRAM_GET_FALLBACK_MTU:
                    return kMtu;
                default:
                    return 0;
            }
        });
        return made;
    }();
    return method;
}

DtlsClient::DtlsClient(const DtlsContext& context, std::string peer_fingerprint, Send send)
    : context_(&context), peer_fingerprint_(std::move(peer_fingerprint)), send_(std::move(send)),
      ssl_(SSL_new(context.get())) {
    BIO* bio = BIO_new(bio_method());
    BIO_set_data(bio, this);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl_.get(), bio, bio);
    SSL_set_options(ssl_.get(), SSL_OP_NO_QUERY_MTU);
    SSL_set_mtu(ssl_.get(), kMtu);
    SSL_set_connect_state(ssl_.get());
}

void DtlsClient::receive(ConstBytes datagram) {
    if (state_ == State::kFailed || state_ == State::kClosed) return;
    incoming_ = datagram;
    step();
    incoming_ = {};
}

void DtlsClient::handle_timeout() {
    if (state_ == State::kHandshaking && DTLSv1_handle_timeout(ssl_.get()) < 0) fail("DTLS timed out");
}

std::optional<std::chrono::nanoseconds> DtlsClient::timeout() const {
    timeval left{};
    if (state_ != State::kHandshaking || !DTLSv1_get_timeout(ssl_.get(), &left)) return std::nullopt;
    return std::chrono::seconds(left.tv_sec) + std::chrono::microseconds(left.tv_usec);
}

void DtlsClient::step() {
    if (state_ == State::kHandshaking) {
        const int result = SSL_do_handshake(ssl_.get());
        if (result == 1) {
            if (peer_is_right()) {
                state_ = State::kConnected;
            } else {
                fail("the certificate's fingerprint is not the one in the answer");
            }
        } else if (int error = SSL_get_error(ssl_.get(), result); error != SSL_ERROR_WANT_READ) {
            fail("DTLS: " + openssl_error());
        }
        return;
    }
    std::array<uint8_t, 2048> ignored;  // data channels are not used here; only close_notify matters
    const int result = SSL_read(ssl_.get(), ignored.data(), static_cast<int>(ignored.size()));
    if (result <= 0 && SSL_get_error(ssl_.get(), result) == SSL_ERROR_ZERO_RETURN) state_ = State::kClosed;
    ERR_clear_error();
}

void DtlsClient::close() {
    if (state_ == State::kConnected) SSL_shutdown(ssl_.get());
    ERR_clear_error();
    state_ = State::kClosed;
}

void DtlsClient::fail(std::string why) {
    state_ = State::kFailed;
    error_ = std::move(why);
}

bool DtlsClient::peer_is_right() const {
    std::unique_ptr<X509, decltype(&X509_free)> certificate(SSL_get1_peer_certificate(ssl_.get()), X509_free);
    return certificate && sha256_of(certificate.get()) == peer_fingerprint_;
}

std::optional<SrtpSession> DtlsClient::srtp() const {
    const SrtpProfile& profile = context_->profile();
    if (SSL_get_selected_srtp_profile(ssl_.get()) == nullptr) return std::nullopt;
    // RFC 5764 section 4.2: both keys, then both salts, the client's first.
    const size_t key = profile.key_length, salt = profile.salt_length;
    std::vector<uint8_t> material(2 * (key + salt));
    static constexpr std::string_view kLabel = "EXTRACTOR-dtls_srtp";
    if (SSL_export_keying_material(ssl_.get(), material.data(), material.size(), kLabel.data(), kLabel.size(), nullptr,
                                   0, 0) != 1) {
        return std::nullopt;
    }
    auto master = [&](size_t side) {
        const auto* from = material.data();
        std::vector<uint8_t> joined(from + side * key, from + (side + 1) * key);
        joined.insert(joined.end(), from + 2 * key + side * salt, from + 2 * key + (side + 1) * salt);
        return joined;
    };
    return SrtpSession::create(profile, master(0), master(1));
}

}  // namespace sdpserver::loadgen
