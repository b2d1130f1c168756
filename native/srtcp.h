#pragma once
// SRTCP (RFC 3711 section 3.4, RFC 7714 section 9) by libsrtp2.

#include <array>
#include <memory>
#include <optional>

#include "bytes.h"
#include "srtp.h"

struct srtp_ctx_t_;

namespace sdpserver {

class Srtcp {
   public:
    using Result = SrtpReceiver::Result;
    /// Octets that protecting may add: tag, index word.
    static constexpr size_t kMaxOverhead = 16 + 4;

    Srtcp(SrtpProfile profile, ConstBytes send_master, ConstBytes receive_master);

    /// In place; the new length, or 0. `packet` has room for `kMaxOverhead` octets more.
    size_t protect(uint8_t* packet, size_t length);
    /// In place; `length` becomes that of the plain packet.
    Result unprotect(uint8_t* packet, size_t& length);

   private:
    struct Free {
        void operator()(srtp_ctx_t_* context) const;
    };
    using Context = std::unique_ptr<srtp_ctx_t_, Free>;

    static Context create(SrtpProfile profile, ConstBytes master, bool outbound);

    /// libsrtp2 keeps a stream for every SSRC it has heard; past this many the oldest is removed.
    static constexpr size_t kMaxSources = 4;

    void remember(uint32_t ssrc);

    Context send_;
    Context receive_;
    std::array<std::optional<uint32_t>, kMaxSources> sources_;
    size_t oldest_ = 0;
};

/// The version of libsrtp.
const char* libsrtp_version();

}  // namespace sdpserver
