#include "ice.h"

#include <algorithm>

#include "random.h"

namespace sdpserver {

void IceAgent::restart(IceCredentials local, IceCredentials remote) {
    next_ = Generation{std::move(local), std::move(remote)};
}

void IceAgent::set_remote(IceCredentials remote) { (next_ ? next_->remote : remote_) = std::move(remote); }

bool IceAgent::has_verified(const SocketAddress& address) const {
    return std::ranges::find(verified_, std::optional(address)) != verified_.end();
}

/// Puts the address first; the selected one is never the one to go.
std::optional<SocketAddress> IceAgent::verify(const SocketAddress& address) {
    auto place = std::ranges::find(verified_, std::optional(address));
    std::optional<SocketAddress> forgotten;
    if (place == verified_.end()) {
        place = verified_.end() - 1;
        if (*place && *place == selected_) --place;
        forgotten = *place;
        *place = address;
    }
    std::rotate(verified_.begin(), place, place + 1);
    return forgotten;
}

IceAgent::Outcome IceAgent::on_request(ConstBytes datagram, const StunMessage& request, std::string_view local_ufrag,
                                       const SocketAddress& source, bool secured, Bytes reply) {
    const bool new_generation = next_ && local_ufrag == next_->local.ufrag;
    const std::string& pwd = new_generation ? next_->local.pwd : local_.pwd;
    Outcome outcome;
    // A wrong integrity is met with silence: a 401 (RFC 8489 section 9.1.3) would tell a stranger that the ufrag exists and
    // make us answer spoofed sources, and no browser does anything with it.
    if (!stun_integrity_holds(datagram, request, pwd)) return outcome;

    outcome.answer = true;
    if (request.unknown_count > 0) {
        outcome.answer_length = write_binding_unknown_attributes(reply, request, pwd);
        return outcome;
    }
    outcome.answer_length = write_binding_success(reply, request.transaction, source, pwd);
    outcome.verified = true;
    outcome.forgotten = verify(source);
    if (new_generation) {
        outcome.retired_ufrag = std::move(local_.ufrag);
        local_ = std::move(next_->local);
        remote_ = std::move(next_->remote);
        next_.reset();
        checked_.reset();  // it carried the old credentials
    }

    if (!selected_) {
        // Not waiting for USE-CANDIDATE saves a round trip or two; the peer can still move the address by it.
        selected_ = source;
        outcome.change = Change::connected;
    } else if (source == *selected_) {
        checked_.reset();  // the peer is back where it was
    } else if (request.use_candidate || new_generation) {
        if (!secured) {
            selected_ = source;
            outcome.change = Change::selected;
        } else if (checked_ != source && !remote_.pwd.empty()) {
            checked_ = source;
            tries_ = 0;
            random_bytes(transaction_);
            outcome.start_check = true;
        }
    }
    return outcome;
}

bool IceAgent::on_response(ConstBytes datagram, const StunMessage& response, const SocketAddress& source) {
    if (!checked_ || response.type != kStunBindingSuccess || response.transaction != transaction_) return false;
    if (source != *checked_ || !stun_integrity_holds(datagram, response, remote_.pwd)) return false;
    selected_ = source;
    checked_.reset();
    return true;
}

size_t IceAgent::write_check(Bytes out) {
    if (!checked_) return 0;
    if (tries_ == kMaxTries) {
        checked_.reset();
        return 0;
    }
    ++tries_;
    return write_binding_request(out, transaction_, remote_.ufrag + ":" + local_.ufrag, remote_.pwd);
}

/// 100 ms, doubled each time: 3.1 s in all, by when the peer has long nominated anew.
TimeNs IceAgent::check_interval() const { return (100 * kMillisecond) << (tries_ > 0 ? tries_ - 1 : 0); }

}  // namespace sdpserver
