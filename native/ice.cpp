#include "ice.h"

#include <algorithm>

#include "random.h"

namespace sdpserver {

void IceAgent::restart(IceCredentials local, IceCredentials remote) {
    next_ = Generation{std::move(local), std::move(remote)};
}

void IceAgent::set_remote(IceCredentials remote) { (next_ ? next_->remote : remote_) = std::move(remote); }

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

/// True: `write_check` now.
bool IceAgent::start_check(const SocketAddress& address, bool nominated) {
    if (remote_.pwd.empty()) return false;  // the peer checks again, and by then we may have its answer
    if (checked_ == address) {
        nominated_ = nominated_ || nominated;
        return false;
    }
    checked_ = address;
    nominated_ = nominated;
    tries_ = 0;
    random_bytes(transaction_);
    return true;
}

IceAgent::Outcome IceAgent::on_request(ConstBytes datagram, const StunMessage& request, std::string_view local_ufrag,
                                       const SocketAddress& source, Circumstances circumstances, Bytes reply) {
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
    if (new_generation) {
        outcome.retired_ufrag = std::move(local_.ufrag);
        local_ = std::move(next_->local);
        remote_ = std::move(next_->remote);
        next_.reset();
        checked_.reset();  // it carried the old credentials
    }

    const bool nominated = request.use_candidate || new_generation;
    if (circumstances.contested) {
        outcome.start_check = start_check(source, nominated);
        return outcome;
    }
    outcome.verified = true;
    outcome.forgotten = verify(source);
    if (!selected_) {
        // Not waiting for USE-CANDIDATE saves a round trip or two; the peer can still move the address by it.
        selected_ = source;
        outcome.change = Change::connected;
    } else if (source == *selected_) {
        checked_.reset();  // the peer is back where it was
    } else if (nominated && circumstances.secured) {
        outcome.start_check = start_check(source, true);
    } else if (nominated) {
        selected_ = source;
        outcome.change = Change::selected;
    }
    return outcome;
}

IceAgent::Outcome IceAgent::on_response(ConstBytes datagram, const StunMessage& response, const SocketAddress& source) {
    Outcome outcome;
    if (!checked_ || response.type != kStunBindingSuccess || response.transaction != transaction_) return outcome;
    if (source != *checked_ || !stun_integrity_holds(datagram, response, remote_.pwd)) return outcome;
    checked_.reset();
    outcome.verified = true;
    outcome.forgotten = verify(source);
    if (!selected_ || (nominated_ && source != *selected_)) {
        outcome.change = selected_ ? Change::selected : Change::connected;
        selected_ = source;
    }
    return outcome;
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
