#pragma once
// The ICE-lite agent of one leg (RFC 8445 section 2.5): it answers checks and never offers a candidate of the peer's
// SDP a packet. No socket and no clock of its own.

#include <array>
#include <optional>
#include <string>

#include "bytes.h"
#include "clock.h"
#include "socket_address.h"
#include "stun.h"

namespace sdpserver {

struct IceCredentials {
    std::string ufrag;
    std::string pwd;
};

class IceAgent {
   public:
    enum class Change : uint8_t { none, connected, selected };
    /// What a check leads to.
    struct Outcome {
        bool answer = false;  // send `answer_length` octets of the reply back to the source
        size_t answer_length = 0;
        Change change = Change::none;
        bool start_check = false;  // `write_check` to `checked_address` now
        std::optional<SocketAddress> forgotten;  // a verified address pushed out by this one
        bool verified = false;  // the source has passed a check, and is this leg's
        std::optional<std::string> retired_ufrag;  // of the generation that this check ended
    };

    IceAgent(IceCredentials local, IceCredentials remote) : local_(std::move(local)), remote_(std::move(remote)) {}

    void restart(IceCredentials local, IceCredentials remote);
    void set_remote(IceCredentials remote);

    /// How far the source of a check is trusted, which anyone on the path, or anyone with a leg of his own, can forge.
    struct Circumstances {
        /// There are keys: the address is moved only after our own check to it was answered. A copied check from a spoofed
        /// source could otherwise aim the stream at anyone.
        bool secured = false;
        /// Another leg has the address: it is this one's only after our own check to it was answered, which only the
        /// peer whose password it carries can do.
        bool contested = false;
    };
    /// A Binding request whose USERNAME begins with `local_ufrag`.
    Outcome on_request(ConstBytes datagram, const StunMessage& request, std::string_view local_ufrag,
                       const SocketAddress& source, Circumstances circumstances, Bytes reply);
    /// A response to our own check. Not `verified`: it is none, or a forged one.
    Outcome on_response(ConstBytes datagram, const StunMessage& response, const SocketAddress& source);

    /// The Binding request to `checked_address`; 0: no check is under way, or it has had its last try.
    size_t write_check(Bytes out);
    /// How long to wait for the answer to the check last written.
    TimeNs check_interval() const;
    const std::optional<SocketAddress>& checked_address() const { return checked_; }
    const StunTransaction& transaction() const { return transaction_; }

    const std::optional<SocketAddress>& selected() const { return selected_; }
    template <typename Function>
    void for_each_verified(Function function) const {
        for (const auto& address : verified_) {
            if (address) function(*address);
        }
    }
    template <typename Function>
    void for_each_ufrag(Function function) const {
        function(local_.ufrag);
        if (next_) function(next_->local.ufrag);
    }

   private:
    struct Generation {
        IceCredentials local;
        IceCredentials remote;
    };
    static constexpr size_t kMaxVerified = 4;
    static constexpr unsigned kMaxTries = 5;

    std::optional<SocketAddress> verify(const SocketAddress& address);
    bool start_check(const SocketAddress& address, bool nominated);

    IceCredentials local_;
    IceCredentials remote_;
    std::optional<Generation> next_;  // after a restart, until its first good check
    std::array<std::optional<SocketAddress>, kMaxVerified> verified_;  // newest first
    std::optional<SocketAddress> selected_;

    std::optional<SocketAddress> checked_;  // our own check is under way to it
    bool nominated_ = false;                // once it is answered, the address is selected
    StunTransaction transaction_{};
    unsigned tries_ = 0;
};

}  // namespace sdpserver
