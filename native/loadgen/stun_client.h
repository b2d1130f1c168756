#pragma once
// The controlling side of an ICE check toward a lite agent (RFC 8445, RFC 8489).

#include <array>
#include <string>
#include <string_view>

#include "bytes.h"

namespace sdpserver::loadgen {

inline constexpr size_t kMaxCheckLength = 512;

/// One pair's checks: what is sent, and whether an answer belongs to it.
class StunClient {
   public:
    StunClient(std::string local_ufrag, std::string local_pwd) : local_ufrag_(local_ufrag), local_pwd_(local_pwd) {}

    void set_remote(std::string ufrag, std::string pwd);
    bool has_remote() const { return !remote_pwd_.empty(); }

    /// A Binding request with USE-CANDIDATE, MESSAGE-INTEGRITY and FINGERPRINT. The octets written to `out`.
    size_t write_check(std::array<uint8_t, kMaxCheckLength>& out);
    /// A Binding success response to the last check, with a right MESSAGE-INTEGRITY (RFC 8445 section 7.2.5.2).
    bool is_answer(ConstBytes datagram) const;
    /// The response to the peer's own Binding request (consent of an address it learned). 0: not one, or a wrong key.
    size_t write_answer(ConstBytes request, uint32_t source_ip, uint16_t source_port,
                        std::array<uint8_t, kMaxCheckLength>& out) const;

   private:
    bool integrity_holds(ConstBytes datagram, std::string_view key) const;

    std::string local_ufrag_, local_pwd_, remote_ufrag_, remote_pwd_;
    std::array<uint8_t, 12> transaction_{};
};

}  // namespace sdpserver::loadgen
