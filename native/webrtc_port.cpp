#include "webrtc_port.h"

#include <array>

namespace sdpserver {
namespace {

// 1 MB holds 2,500 packets of 20 ms audio where the usual 208 KB hold 256.
constexpr int kReceiveBuffer = 1 << 20;

// RFC 7983 section 7.
bool is_stun(uint8_t first) { return first <= 3; }
bool is_dtls(uint8_t first) { return first >= 20 && first <= 63; }
bool is_media(uint8_t first) { return first >= 128 && first <= 191; }

constexpr size_t kMinMedia = 8;  // an RTCP header and SSRC

}  // namespace

WebRtcPort::WebRtcPort(const SocketAddress& bind_address, WorkerCounters& counters)
    : counters_(counters), socket_(UdpSocket::bind(bind_address)) {
    socket_.set_receive_buffer(kReceiveBuffer);
}

void WebRtcPort::add(Leg& leg) {
    leg.ice()->for_each_ufrag([&](const std::string& ufrag) { by_ufrag_.insert_or_assign(ufrag, &leg); });
}

void WebRtcPort::remove(Leg& leg) {
    leg.ice()->for_each_ufrag([&](const std::string& ufrag) {
        if (const auto found = by_ufrag_.find(ufrag); found != by_ufrag_.end() && found->second == &leg) {
            by_ufrag_.erase(found);
        }
    });
    leg.ice()->for_each_verified([&](const SocketAddress& address) {
        if (at(address) == &leg) by_address_.erase(address);
    });
    forget_check(leg);
}

void WebRtcPort::restart_ice(Leg& leg, IceCredentials local, IceCredentials remote) {
    remove(leg);  // also forgets a restart that the peer never followed
    leg.ice()->restart(std::move(local), std::move(remote));
    add(leg);
    // Those that another leg has taken over meanwhile stay its.
    leg.ice()->for_each_verified([&](const SocketAddress& address) { by_address_.try_emplace(address, &leg); });
}

void WebRtcPort::send_dtls(Leg& leg, ConstBytes datagram) {
    if (leg.ice()->selected()) socket_.send(datagram, *leg.ice()->selected());
}

Leg* WebRtcPort::at(const SocketAddress& address) const {
    const auto found = by_address_.find(address);
    return found == by_address_.end() ? nullptr : found->second;
}

void WebRtcPort::on_datagram(WorkerContext& context, Bytes datagram, const SocketAddress& source) {
    if (datagram.empty()) return counters_.malformed.add(1);
    const uint8_t first = datagram[0];
    if (is_stun(first)) {
        counters_.stun.add(1);
        return on_stun(context, datagram, source);
    }
    if (!is_dtls(first) && !is_media(first)) return counters_.malformed.add(1);
    Leg* leg = at(source);
    if (leg == nullptr) return counters_.unknown_source.add(1);
    if (is_media(first)) {
        if (datagram.size() < kMinMedia) return counters_.malformed.add(1);
        return leg->on_shared_datagram(context, datagram);
    }
    counters_.dtls.add(1);
    std::string data(reinterpret_cast<const char*>(datagram.data()), datagram.size());
    if (!context.events.push({EventKind::dtls, leg->id(), context.now, std::move(data)})) counters_.dtls_dropped.add(1);
}

void WebRtcPort::prefetch(unsigned step, unsigned i, const sockaddr_storage& source) {
    if (step == 0) expected_[i] = at(SocketAddress::from(source));
    if (expected_[i] != nullptr) expected_[i]->prefetch_receiving(step);
}

void WebRtcPort::on_stun(WorkerContext& context, ConstBytes datagram, const SocketAddress& source) {
    const auto message = parse_stun(datagram);
    if (!message) return counters_.malformed.add(1);
    if (message->type == kStunBindingRequest) {
        on_check(context, datagram, *message, source);
    } else {
        on_check_response(context, datagram, *message, source);  // or an indication, which asks for nothing
    }
}

void WebRtcPort::on_check(WorkerContext& context, ConstBytes datagram, const StunMessage& request,
                          const SocketAddress& source) {
    // "theirs:ours" as they see it (RFC 8445 section 7.2.2); integrity proves the rest.
    const std::string_view ufrag = request.username.substr(0, request.username.find(':'));
    const auto found = by_ufrag_.find(ufrag);
    if (found == by_ufrag_.end()) return counters_.stun_failures.add(1);
    Leg& leg = *found->second;

    std::array<uint8_t, kMaxStunLength> reply;
    const Leg* holder = at(source);
    const IceAgent::Circumstances circumstances{.secured = leg.transport().secured(),
                                                .contested = holder != nullptr && holder != &leg};
    const IceAgent::Outcome outcome = leg.ice()->on_request(datagram, request, ufrag, source, circumstances, reply);
    if (!outcome.answer) return counters_.stun_failures.add(1);
    socket_.send(Bytes(reply).first(outcome.answer_length), source);

    if (outcome.retired_ufrag) {
        by_ufrag_.erase(*outcome.retired_ufrag);
        add(leg);  // the new one may be the same
    }
    if (outcome.verified) verified(context, leg, source, outcome);
    if (outcome.start_check) send_check(context, leg);
}

void WebRtcPort::on_check_response(WorkerContext& context, ConstBytes datagram, const StunMessage& response,
                                   const SocketAddress& source) {
    if (const auto found = by_check_.find(response.transaction); found != by_check_.end()) {
        Leg& leg = *found->second;
        const IceAgent::Outcome outcome = leg.ice()->on_response(datagram, response, source);
        if (outcome.verified) {
            by_check_.erase(found);
            return verified(context, leg, source, outcome);
        }
    }
    if (at(source) == nullptr) return counters_.unknown_source.add(1);
    if (is_stun_response(response.type)) counters_.stun_failures.add(1);
}

void WebRtcPort::verified(WorkerContext& context, Leg& leg, const SocketAddress& source,
                          const IceAgent::Outcome& outcome) {
    if (outcome.forgotten && at(*outcome.forgotten) == &leg) by_address_.erase(*outcome.forgotten);
    by_address_.insert_or_assign(source, &leg);
    leg.on_check(context);
    if (outcome.change == IceAgent::Change::none) return;
    leg.transport().set_selected(source);
    const bool connected = outcome.change == IceAgent::Change::connected;
    const EventKind kind = connected ? EventKind::ice_connected : EventKind::ice_selected;
    context.events.push({kind, leg.id(), context.now, source.text()});
}

void WebRtcPort::send_check(WorkerContext& context, Leg& leg) {
    std::array<uint8_t, kMaxStunLength> check;
    const size_t length = leg.ice()->write_check(check);
    forget_check(leg);
    if (length == 0) return;
    by_check_.emplace(leg.ice()->transaction(), &leg);
    socket_.send(Bytes(check).first(length), *leg.ice()->checked_address());
    context.timers.set(leg.timers(), leg.id(), Timer::ice_check, context.now + leg.ice()->check_interval());
}

void WebRtcPort::forget_check(const Leg& leg) {
    std::erase_if(by_check_, [&leg](const auto& entry) { return entry.second == &leg; });
}

void WebRtcPort::on_check_timer(WorkerContext& context, Leg& leg) { send_check(context, leg); }

}  // namespace sdpserver
