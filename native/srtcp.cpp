#include "srtcp.h"

#include <arpa/inet.h>
#include <srtp2/crypto_types.h>
#include <srtp2/srtp.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

namespace sdpserver {
namespace {

srtp_profile_t library_profile(SrtpProfile profile) {
    switch (profile) {
        case SrtpProfile::aead_aes_128_gcm: return srtp_profile_aead_aes_128_gcm;
        case SrtpProfile::aead_aes_256_gcm: return srtp_profile_aead_aes_256_gcm;
        case SrtpProfile::aes_cm_128_hmac_sha1_80: return srtp_profile_aes128_cm_sha1_80;
        case SrtpProfile::aes_cm_128_hmac_sha1_32: return srtp_profile_aes128_cm_sha1_32;
    }
    throw std::invalid_argument("no such SRTP profile");
}

}  // namespace

void Srtcp::Free::operator()(srtp_ctx_t_* context) const { srtp_dealloc(context); }

Srtcp::Context Srtcp::create(SrtpProfile profile, ConstBytes master, bool outbound) {
    static const srtp_err_status_t initialised = srtp_init();
    if (initialised != srtp_err_status_ok) throw std::runtime_error("libsrtp did not start");

    srtp_policy_t policy{};
    srtp_crypto_policy_set_from_profile_for_rtp(&policy.rtp, library_profile(profile));
    srtp_crypto_policy_set_from_profile_for_rtcp(&policy.rtcp, library_profile(profile));
    if (profile == SrtpProfile::aes_cm_128_hmac_sha1_80 || profile == SrtpProfile::aes_cm_128_hmac_sha1_32) {
        // RTP never comes here, see srtp.h, and its cipher and tag would take 1.6 KB a direction. Not so with GCM: libsrtp2
        // looks at the RTP cipher to choose between AEAD and the rest, for SRTCP too.
        policy.rtp.cipher_type = SRTP_NULL_CIPHER;
        policy.rtp.auth_type = SRTP_NULL_AUTH;
        policy.rtp.auth_key_len = 0;
        policy.rtp.sec_serv = sec_serv_none;
    }
    policy.ssrc.type = outbound ? ssrc_any_outbound : ssrc_any_inbound;
    std::vector<uint8_t> key(master.begin(), master.end());
    policy.key = key.data();
    srtp_t context = nullptr;
    if (srtp_create(&context, &policy) != srtp_err_status_ok) throw std::runtime_error("libsrtp refused the SRTCP keys");
    return Context(context);
}

Srtcp::Srtcp(SrtpProfile profile, ConstBytes send_master, ConstBytes receive_master)
    : send_(create(profile, send_master, true)), receive_(create(profile, receive_master, false)) {}

size_t Srtcp::protect(uint8_t* packet, size_t length) {
    int octets = static_cast<int>(length);
    return srtp_protect_rtcp(send_.get(), packet, &octets) == srtp_err_status_ok ? static_cast<size_t>(octets) : 0;
}

Srtcp::Result Srtcp::unprotect(uint8_t* packet, size_t& length) {
    int octets = static_cast<int>(length);
    switch (srtp_unprotect_rtcp(receive_.get(), packet, &octets)) {
        case srtp_err_status_ok: break;
        case srtp_err_status_replay_fail:
        case srtp_err_status_replay_old: return Result::repeated;
        case srtp_err_status_bad_param:
        case srtp_err_status_parse_err: return Result::malformed;
        default: return Result::wrong_tag;
    }
    length = static_cast<size_t>(octets);
    remember(load_be32(packet + 4));
    return Result::ok;
}

void Srtcp::remember(uint32_t ssrc) {
    if (std::ranges::find(sources_, std::optional(ssrc)) != sources_.end()) return;
    std::optional<uint32_t>& place = sources_[oldest_];
    if (place) srtp_remove_stream(receive_.get(), htonl(*place));  // network byte order, as in the packet
    place = ssrc;
    oldest_ = (oldest_ + 1) % kMaxSources;
}

const char* libsrtp_version() { return srtp_get_version_string(); }

}  // namespace sdpserver
