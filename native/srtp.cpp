#include "srtp.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "rtp.h"

namespace sdpserver {
namespace {

struct ProfileRow {
    SrtpProfile profile;
    std::string_view name;
    size_t key_length;
    size_t salt_length;
    size_t tag_length;
    bool gcm;
};

constexpr std::array<ProfileRow, 4> kProfiles{{
    {SrtpProfile::aead_aes_128_gcm, "AEAD_AES_128_GCM", 16, 12, 16, true},
    {SrtpProfile::aead_aes_256_gcm, "AEAD_AES_256_GCM", 32, 12, 16, true},
    {SrtpProfile::aes_cm_128_hmac_sha1_80, "AES_CM_128_HMAC_SHA1_80", 16, 14, 10, false},
    {SrtpProfile::aes_cm_128_hmac_sha1_32, "AES_CM_128_HMAC_SHA1_32", 16, 14, 4, false},
}};

const ProfileRow& row(SrtpProfile profile) { return kProfiles[static_cast<size_t>(profile)]; }

enum class Label : uint8_t { encryption = 0, authentication = 1, salt = 2 };  // RFC 3711 section 4.3.2

/// RFC 3711 section 4.3.3: the key stream of AES in counter mode, keyed by the master key; for AEAD_AES_256_GCM with
/// AES-256, and a 96-bit salt counts from the left (RFC 7714 section 11).
void derive_key(const ProfileRow& row, ConstBytes master, Label label, Bytes out) {
    std::array<uint8_t, 16> iv{};
    std::copy_n(master.begin() + static_cast<std::ptrdiff_t>(row.key_length), row.salt_length, iv.begin());
    iv[7] ^= static_cast<uint8_t>(label);
    std::ranges::fill(out, uint8_t{0});
    const std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)> context(EVP_CIPHER_CTX_new(),
                                                                                  EVP_CIPHER_CTX_free);
    const EVP_CIPHER* aes = row.key_length == 32 ? EVP_aes_256_ctr() : EVP_aes_128_ctr();
    int written = 0;
    if (!context || EVP_EncryptInit_ex(context.get(), aes, nullptr, master.data(), iv.data()) != 1 ||
        EVP_EncryptUpdate(context.get(), out.data(), &written, out.data(), static_cast<int>(out.size())) != 1) {
        throw std::runtime_error("OpenSSL refused the SRTP key derivation");
    }
}

}  // namespace

std::optional<SrtpProfile> srtp_profile(std::string_view name) {
    const auto found = std::ranges::find(kProfiles, name, &ProfileRow::name);
    return found == kProfiles.end() ? std::nullopt : std::optional(found->profile);
}

size_t srtp_master_length(SrtpProfile profile) { return row(profile).key_length + row(profile).salt_length; }

uint64_t PacketIndex::estimate(uint16_t sequence) const {
    if (!started_) return sequence;
    const uint64_t rollovers = highest_ >> 16;
    const auto last = static_cast<uint16_t>(highest_);
    uint64_t guess = rollovers;
    if (last < 0x8000) {
        if (sequence > last + 0x8000 && rollovers > 0) guess = rollovers - 1;
    } else if (sequence < last - 0x8000) {
        guess = rollovers + 1;
    }
    return guess << 16 | sequence;
}

bool PacketIndex::repeated(uint64_t index) const {
    if (!started_ || index > highest_) return false;
    const uint64_t age = highest_ - index;
    return age >= kWindow || seen_[age];
}

void PacketIndex::mark(uint64_t index) {
    if (!started_ || index > highest_) {
        const uint64_t step = started_ ? index - highest_ : kWindow;
        if (step >= kWindow) {
            seen_.reset();
        } else {
            seen_ <<= step;
        }
        started_ = true;
        highest_ = index;
    }
    seen_.set(highest_ - index);
}

SrtpSessionKeys SrtpSessionKeys::derive(SrtpProfile profile, ConstBytes master) {
    if (master.size() != srtp_master_length(profile)) throw std::invalid_argument("SRTP master key has a wrong length");
    const ProfileRow& facts = row(profile);
    SrtpSessionKeys keys;
    derive_key(facts, master, Label::encryption, Bytes(keys.encryption).first(facts.key_length));
    derive_key(facts, master, Label::salt, Bytes(keys.salt).first(facts.salt_length));
    if (!facts.gcm) derive_key(facts, master, Label::authentication, keys.authentication);
    return keys;
}

SrtpSessionKeys::~SrtpSessionKeys() {
    OPENSSL_cleanse(encryption.data(), encryption.size());
    OPENSSL_cleanse(authentication.data(), authentication.size());
    OPENSSL_cleanse(salt.data(), salt.size());
}

SrtpCipher::SrtpCipher(SrtpProfile profile, const SrtpSessionKeys& keys, Use use, bool own_gcm)
    : gcm_(row(profile).gcm), tag_length_(row(profile).tag_length), salt_(keys.salt) {
    if (gcm_ && own_gcm) {
        own_.emplace(ConstBytes(keys.encryption).first(row(profile).key_length));
        return;
    }
    context_.reset(EVP_CIPHER_CTX_new());
    const EVP_CIPHER* cipher = !gcm_                               ? EVP_aes_128_ctr()
                               : row(profile).key_length == 32 ? EVP_aes_256_gcm()
                                                                   : EVP_aes_128_gcm();
    const int encrypt = use == Use::encrypt || !gcm_ ? 1 : 0;  // counter mode is its own inverse
    if (!context_ ||
        EVP_CipherInit_ex(context_.get(), cipher, nullptr, keys.encryption.data(), nullptr, encrypt) != 1) {
        throw std::runtime_error("OpenSSL refused the SRTP session key");
    }
    if (!gcm_) hmac_.emplace(keys.authentication);
}

SrtpCipher::~SrtpCipher() { OPENSSL_cleanse(salt_.data(), salt_.size()); }

bool SrtpCipher::seal(uint8_t* packet, size_t header_length, size_t length, uint64_t index) {
    if (!gcm_) {
        if (!counter_mode(packet, header_length, length, index)) return false;
        const HmacSha1::Digest digest = tag(packet, length, index);
        std::copy_n(digest.begin(), tag_length_, packet + length);
        return true;
    }
    const auto iv = gcm_iv(packet, index);
    uint8_t* payload = packet + header_length;
    if (own_) {
        return own_->seal(iv.data(), {packet, header_length}, {payload, length - header_length}, packet + length);
    }
    EVP_CIPHER_CTX* context = context_.get();
    int written = 0;
    return EVP_EncryptInit_ex(context, nullptr, nullptr, nullptr, iv.data()) == 1 &&
           EVP_EncryptUpdate(context, nullptr, &written, packet, static_cast<int>(header_length)) == 1 &&
           EVP_EncryptUpdate(context, payload, &written, payload, static_cast<int>(length - header_length)) == 1 &&
           EVP_EncryptFinal_ex(context, packet + length, &written) == 1 &&
           EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, static_cast<int>(tag_length_), packet + length) == 1;
}

bool SrtpCipher::open(uint8_t* packet, size_t header_length, size_t length, uint64_t index) {
    if (!gcm_) {
        const HmacSha1::Digest digest = tag(packet, length, index);
        return CRYPTO_memcmp(digest.data(), packet + length, tag_length_) == 0 &&
               counter_mode(packet, header_length, length, index);
    }
    const auto iv = gcm_iv(packet, index);
    uint8_t* payload = packet + header_length;
    if (own_) {
        return own_->open(iv.data(), {packet, header_length}, {payload, length - header_length}, packet + length);
    }
    EVP_CIPHER_CTX* context = context_.get();
    int written = 0;
    return EVP_DecryptInit_ex(context, nullptr, nullptr, nullptr, iv.data()) == 1 &&
           EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, static_cast<int>(tag_length_), packet + length) == 1 &&
           EVP_DecryptUpdate(context, nullptr, &written, packet, static_cast<int>(header_length)) == 1 &&
           EVP_DecryptUpdate(context, payload, &written, payload, static_cast<int>(length - header_length)) == 1 &&
           EVP_DecryptFinal_ex(context, packet + length, &written) == 1;
}

/// RFC 3711 section 4.1.1: IV = (salt * 2^16) XOR (SSRC * 2^64) XOR (index * 2^16).
bool SrtpCipher::counter_mode(uint8_t* packet, size_t header_length, size_t length, uint64_t index) {
    std::array<uint8_t, 16> iv{};
    std::ranges::copy(salt_, iv.begin());
    for (size_t i = 0; i < 4; ++i) iv[4 + i] ^= packet[8 + i];
    for (size_t i = 0; i < 6; ++i) iv[8 + i] ^= static_cast<uint8_t>(index >> (40 - 8 * i));
    uint8_t* payload = packet + header_length;
    int written = 0;
    return EVP_EncryptInit_ex(context_.get(), nullptr, nullptr, nullptr, iv.data()) == 1 &&
           EVP_EncryptUpdate(context_.get(), payload, &written, payload, static_cast<int>(length - header_length)) == 1;
}

/// RFC 3711 section 4.2: over the packet and the rollover counter.
HmacSha1::Digest SrtpCipher::tag(const uint8_t* packet, size_t length, uint64_t index) const {
    std::array<uint8_t, 4> rollovers{};
    store_be32(rollovers.data(), static_cast<uint32_t>(index >> 16));
    return hmac_->digest({ConstBytes(packet, length), rollovers});
}

/// RFC 7714 section 8.1: two zero octets, SSRC, rollover counter, sequence number; XOR salt.
std::array<uint8_t, 12> SrtpCipher::gcm_iv(const uint8_t* packet, uint64_t index) const {
    std::array<uint8_t, 12> iv{};
    std::memcpy(iv.data() + 2, packet + 8, 4);
    for (size_t i = 0; i < 6; ++i) iv[6 + i] = static_cast<uint8_t>(index >> (40 - 8 * i));
    for (size_t i = 0; i < iv.size(); ++i) iv[i] ^= salt_[i];
    return iv;
}

size_t SrtpSender::protect(uint8_t* packet, size_t length) {
    const size_t header_length = rtp_header_length({packet, length});
    if (header_length == 0) return 0;
    const uint64_t index = index_.estimate(load_be16(packet + 2));
    if (index_.repeated(index)) return 0;
    index_.mark(index);  // even if sealing fails: the key stream may have been used
    return cipher_.seal(packet, header_length, length, index) ? length + cipher_.tag_length() : 0;
}

SrtpReceiver::Result SrtpReceiver::unprotect(uint8_t* packet, size_t& length) { return open(packet, length, nullptr); }

SrtpReceiver::Result SrtpReceiver::unprotect_continued(uint8_t* packet, size_t& length, const SrtpReceiver& before) {
    return open(packet, length, &before);
}

const SrtpReceiver::Source* SrtpReceiver::source(uint32_t ssrc) const {
    const auto found = std::ranges::find_if(
        sources_, [ssrc](const Source& source) { return source.last_used != 0 && source.ssrc == ssrc; });
    return found == sources_.end() ? nullptr : &*found;
}

SrtpReceiver::Result SrtpReceiver::open(uint8_t* packet, size_t& length, const SrtpReceiver* before) {
    if (length < kRtpHeaderLength + cipher_.tag_length()) return Result::malformed;
    const size_t plain_length = length - cipher_.tag_length();
    const size_t header_length = rtp_header_length({packet, plain_length});
    if (header_length == 0) return Result::malformed;

    const uint32_t ssrc = load_be32(packet + 8);
    const Source* known = source(ssrc);
    const PacketIndex fresh;
    const PacketIndex& seen = known == nullptr ? fresh : known->index;
    uint64_t index = seen.estimate(load_be16(packet + 2));
    if (before != nullptr) {
        const Source* earlier = known == nullptr ? before->source(ssrc) : nullptr;
        if (earlier == nullptr) return Result::wrong_tag;
        index = earlier->index.estimate(load_be16(packet + 2));
        if (index <= 0xffff) return Result::wrong_tag;  // nothing that was not tried
    }
    if (seen.repeated(index)) return Result::repeated;
    if (!cipher_.open(packet, header_length, plain_length, index)) return Result::wrong_tag;

    // Only an SSRC whose tag was right takes a place.
    Source& taken = known != nullptr ? sources_[static_cast<size_t>(known - sources_.data())]
                                     : *std::ranges::min_element(sources_, {}, &Source::last_used);
    if (known == nullptr) taken = Source{.ssrc = ssrc, .last_used = 0, .index = {}};
    taken.last_used = ++uses_;
    taken.index.mark(index);
    length = plain_length;
    return Result::ok;
}

}  // namespace sdpserver
