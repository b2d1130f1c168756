#include "srtp_session.h"

#include <algorithm>
#include <array>
#include <vector>

namespace sdpserver::loadgen {

const SrtpProfile* SrtpProfile::find(std::string_view name) {
    static constexpr std::array<SrtpProfile, 3> kProfiles{{
        {"AEAD_AES_128_GCM", "SRTP_AEAD_AES_128_GCM", 16, 12, 16, srtp_crypto_policy_set_aes_gcm_128_16_auth},
        {"AEAD_AES_256_GCM", "SRTP_AEAD_AES_256_GCM", 32, 12, 16, srtp_crypto_policy_set_aes_gcm_256_16_auth},
        {"AES_CM_128_HMAC_SHA1_80", "SRTP_AES128_CM_SHA1_80", 16, 14, 10, srtp_crypto_policy_set_rtp_default},
    }};
    const auto* found = std::ranges::find(kProfiles, name, &SrtpProfile::name);
    return found == kProfiles.end() ? nullptr : found;
}

SrtpSession::Handle SrtpSession::make(const SrtpProfile& profile, ConstBytes key, srtp_ssrc_type_t direction) {
    if (key.size() != profile.master_length()) return nullptr;
    std::vector<uint8_t> copy(key.begin(), key.end());
    srtp_policy_t policy{};
    profile.set_policy(&policy.rtp);
    profile.set_policy(&policy.rtcp);
    policy.ssrc.type = direction;
    policy.key = copy.data();
    policy.window_size = 1024;
    srtp_t session = nullptr;
    if (srtp_create(&session, &policy) != srtp_err_status_ok) return nullptr;
    return Handle(session);
}

std::optional<SrtpSession> SrtpSession::create(const SrtpProfile& profile, ConstBytes send_key,
                                               ConstBytes receive_key) {
    SrtpSession session;
    session.send_ = make(profile, send_key, ssrc_any_outbound);
    session.receive_ = make(profile, receive_key, ssrc_any_inbound);
    if (!session.send_ || !session.receive_) return std::nullopt;
    return session;
}

size_t SrtpSession::protect(Bytes buffer, size_t length) {
    if (buffer.size() < length + SRTP_MAX_TRAILER_LEN) return 0;
    int octets = static_cast<int>(length);
    return srtp_protect(send_.get(), buffer.data(), &octets) == srtp_err_status_ok ? static_cast<size_t>(octets) : 0;
}

size_t SrtpSession::unprotect(Bytes datagram) {
    int octets = static_cast<int>(datagram.size());
    return srtp_unprotect(receive_.get(), datagram.data(), &octets) == srtp_err_status_ok
               ? static_cast<size_t>(octets)
               : 0;
}

}  // namespace sdpserver::loadgen
