#pragma once
// SRTP for RTP packets (RFC 3711, RFC 7714) straight on OpenSSL, with keyed contexts kept from packet to packet.
// SRTCP is rare and left to libsrtp2, see srtcp.h.

#include <openssl/evp.h>

#include <array>
#include <bitset>
#include <memory>
#include <optional>
#include <string_view>

#include "aes_gcm.h"
#include "bytes.h"
#include "hmac_sha1.h"

namespace sdpserver {

enum class SrtpProfile : uint8_t { aead_aes_128_gcm, aead_aes_256_gcm, aes_cm_128_hmac_sha1_80, aes_cm_128_hmac_sha1_32 };

/// By the names of the IANA registry for DTLS-SRTP protection profiles, without the leading "SRTP_".
std::optional<SrtpProfile> srtp_profile(std::string_view name);
/// Octets of master key and master salt together.
size_t srtp_master_length(SrtpProfile profile);
/// Most octets that protecting adds to a packet.
inline constexpr size_t kMaxSrtpOverhead = 16;

/// The 48-bit packet index of one SSRC and what of it has been seen (RFC 3711 sections 3.3.1 and 3.3.2).
class PacketIndex {
   public:
    static constexpr size_t kWindow = 128;

    uint64_t estimate(uint16_t sequence) const;
    /// Seen already, or too old to tell.
    bool repeated(uint64_t index) const;
    void mark(uint64_t index);

   private:
    bool started_ = false;
    uint64_t highest_ = 0;
    std::bitset<kWindow> seen_;
};

/// What RFC 3711 section 4.3 makes of a master key and salt; of each field a profile takes as much as it needs.
struct SrtpSessionKeys {
    std::array<uint8_t, 32> encryption{};
    std::array<uint8_t, HmacSha1::kSize> authentication{};
    std::array<uint8_t, 14> salt{};

    /// `master`: key and salt, `srtp_master_length` octets.
    static SrtpSessionKeys derive(SrtpProfile profile, ConstBytes master);
    SrtpSessionKeys() = default;
    SrtpSessionKeys(const SrtpSessionKeys&) = default;
    SrtpSessionKeys& operator=(const SrtpSessionKeys&) = default;
    ~SrtpSessionKeys();
};

/// The transforms of one direction, on packets whose index is known.
class SrtpCipher {
   public:
    enum class Use : uint8_t { encrypt, decrypt };

    /// `own_gcm`: AES-GCM without OpenSSL.
    SrtpCipher(SrtpProfile profile, const SrtpSessionKeys& keys, Use use, bool own_gcm = AesGcm::available());
    ~SrtpCipher();
    SrtpCipher(const SrtpCipher&) = delete;
    SrtpCipher& operator=(const SrtpCipher&) = delete;

    size_t tag_length() const { return tag_length_; }
    /// Encrypts in place and writes the tag behind the packet. `packet` has room for the tag.
    bool seal(uint8_t* packet, size_t header_length, size_t length, uint64_t index);
    /// Checks the tag and decrypts in place. `length` is without the tag.
    bool open(uint8_t* packet, size_t header_length, size_t length, uint64_t index);

   private:
    struct FreeContext {
        void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
    };

    bool counter_mode(uint8_t* packet, size_t header_length, size_t length, uint64_t index);
    HmacSha1::Digest tag(const uint8_t* packet, size_t length, uint64_t index) const;
    std::array<uint8_t, 12> gcm_iv(const uint8_t* packet, uint64_t index) const;

    bool gcm_;
    std::optional<AesGcm> own_;
    size_t tag_length_;
    std::unique_ptr<EVP_CIPHER_CTX, FreeContext> context_;
    std::optional<HmacSha1> hmac_;
    std::array<uint8_t, 14> salt_;
};

/// Protects what one SSRC of ours sends.
class SrtpSender {
   public:
    SrtpSender(SrtpProfile profile, ConstBytes master)
        : cipher_(profile, SrtpSessionKeys::derive(profile, master), SrtpCipher::Use::encrypt) {}

    /// The new length, or 0: not an RTP packet, or its index was used before, which would use a key stream twice.
    /// `packet` has room for `kMaxSrtpOverhead` octets after `length`.
    size_t protect(uint8_t* packet, size_t length);

   private:
    SrtpCipher cipher_;
    PacketIndex index_;
};

/// Opens what a peer sends, from a few SSRCs at once.
class SrtpReceiver {
   public:
    enum class Result : uint8_t { ok, malformed, wrong_tag, repeated };

    SrtpReceiver(SrtpProfile profile, ConstBytes master)
        : cipher_(profile, SrtpSessionKeys::derive(profile, master), SrtpCipher::Use::decrypt) {}

    /// Decrypts in place; `length` becomes that of the plain packet.
    Result unprotect(uint8_t* packet, size_t& length);
    /// The same for a stream that `before` knows and this one does not: its rollover counter goes on, as RFC 3711 section
    /// 3.3.1 has it for new keys; not every peer does it. `wrong_tag` at once when there is nothing to go on with.
    Result unprotect_continued(uint8_t* packet, size_t& length, const SrtpReceiver& before);

   private:
    /// Past this many SSRCs the one heard least recently is forgotten.
    static constexpr size_t kMaxSources = 4;
    struct Source {
        uint32_t ssrc = 0;
        uint64_t last_used = 0;  // 0: free
        PacketIndex index;
    };

    Result open(uint8_t* packet, size_t& length, const SrtpReceiver* before);
    const Source* source(uint32_t ssrc) const;

    SrtpCipher cipher_;
    uint64_t uses_ = 0;
    std::array<Source, kMaxSources> sources_;
};

}  // namespace sdpserver
