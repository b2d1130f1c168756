#include "transport.h"

#include <algorithm>

namespace sdpserver {

Transport::Transport(const UdpSocket& shared, SendQueue& queue, LegFigures& figures)
    : rtp_socket_(&shared), rtcp_socket_(&shared), queue_(&queue), figures_(figures), needs_keys_(true) {}

Transport::Transport(RtpSockets sockets, SendQueue& queue, LegFigures& figures)
    : rtp_socket_(&sockets_.rtp),
      rtcp_socket_(&sockets_.rtcp),
      sockets_(std::move(sockets)),
      queue_(&queue),
      figures_(figures),
      needs_keys_(false) {}

void Transport::set_selected(const SocketAddress& address) {
    rtp_peer_ = rtcp_peer_ = address;
    figures_.set_remote_address(address);
}

void Transport::set_peer(const std::optional<SocketAddress>& rtp, const std::optional<SocketAddress>& rtcp, bool learn) {
    // A re-INVITE that repeats the address must not give up one that was learned for it.
    if (learn && learn_ && rtp == signalled_rtp_ && rtcp == signalled_rtcp_) return;
    signalled_rtp_ = rtp_peer_ = rtp;
    signalled_rtcp_ = rtcp_peer_ = rtcp;
    rtcp_socket_ = rtp == rtcp ? &sockets_.rtp : &sockets_.rtcp;
    learn_ = learn;
    rtp_locked_ = rtcp_locked_ = !(learn && rtp);
    if (rtp) figures_.set_remote_address(*rtp);
}

void Transport::set_keys(SrtpProfile profile, ConstBytes send_master, ConstBytes receive_master) {
    auto keys = std::make_unique<Keys>(profile, send_master, receive_master);
    retire_keys();
    keys_ = std::move(keys);
}

void Transport::clear_keys() { retire_keys(); }

void Transport::retire_keys() {
    figures_.auth_failures_in_a_row.set(0);
    if (!keys_) return;
    former_ = std::make_unique<Former>();
    former_->keys = std::move(keys_);
}

Transport::Verdict Transport::check_source(Component component, const SocketAddress& source) {
    bool right = false;
    if (component == Component::rtp) {
        right = !rtp_locked_ || (rtp_peer_ && source == *rtp_peer_);
    } else if (rtcp_locked_) {
        right = rtcp_peer_ && source == *rtcp_peer_;
    } else {  // RTCP follows what RTP has taught us, never the other way round
        right = rtp_locked_ && source.same_host(*rtp_peer_);
    }
    if (!right) figures_.dropped_source.add(1);
    return right ? Verdict::ok : Verdict::dropped;
}

void Transport::learn_rtp(const SocketAddress& source) {
    if (rtp_locked_) return;
    rtp_locked_ = true;
    const bool multiplexed = rtcp_peer_ == rtp_peer_;
    if (multiplexed || !rtcp_peer_) {
        rtcp_peer_ = multiplexed ? source : source.with_port(static_cast<uint16_t>(source.port() + 1));
        rtcp_locked_ = multiplexed;
    } else if (!rtcp_peer_->same_host(source)) {
        rtcp_peer_ = source.with_port(static_cast<uint16_t>(source.port() + 1));
    }
    rtp_peer_ = source;
    figures_.set_remote_address(source);
}

void Transport::learn_rtcp(const SocketAddress& source) {
    if (rtcp_locked_) return;
    rtcp_locked_ = true;
    rtcp_peer_ = source;
}

void Transport::count(Component component, SrtpReceiver::Result result) {
    switch (result) {
        case SrtpReceiver::Result::ok:
            if (component == Component::rtp) figures_.auth_failures_in_a_row.set(0);
            break;
        case SrtpReceiver::Result::malformed: figures_.dropped_malformed.add(1); break;
        case SrtpReceiver::Result::wrong_tag:
            figures_.auth_failures.add(1);
            if (component == Component::rtp) figures_.auth_failures_in_a_row.add(1);
            break;
        case SrtpReceiver::Result::repeated: figures_.replayed.add(1); break;
    }
}

Transport::Verdict Transport::open_rtp(Bytes& packet) { return open(Component::rtp, packet); }

Transport::Verdict Transport::open_rtcp(Bytes& packet) { return open(Component::rtcp, packet); }

Transport::Verdict Transport::open(Component component, Bytes& packet) {
    if (!keys_ && !former_) return needs_keys_ ? Verdict::dropped : Verdict::ok;
    size_t length = packet.size();
    const SrtpReceiver::Result result = former_ ? unprotect_in_change(component, packet, length)
                                                : keys_->unprotect(component, packet.data(), length);
    count(component, result);
    packet = packet.first(length);
    return result == SrtpReceiver::Result::ok ? Verdict::ok : Verdict::dropped;
}

SrtpReceiver::Result Transport::Keys::unprotect(Component component, uint8_t* packet, size_t& length) {
    return component == Component::rtp ? receive.unprotect(packet, length) : rtcp.unprotect(packet, length);
}

SrtpReceiver::Result Transport::unprotect_in_change(Component component, Bytes packet, size_t& length) {
    using Result = SrtpReceiver::Result;
    const std::unique_ptr<Former> last = former_->packets_left == 1 ? std::move(former_) : nullptr;
    Former& former = last ? *last : *former_;
    --former.packets_left;
    if (packet.size() > former.copy.size()) return Result::malformed;
    std::ranges::copy(packet, former.copy.begin());
    const auto restore = [&] {
        std::ranges::copy(ConstBytes(former.copy).first(packet.size()), packet.begin());
        length = packet.size();
    };

    Result result = Result::wrong_tag;
    if (keys_) {
        result = keys_->unprotect(component, packet.data(), length);
        if (result == Result::wrong_tag && component == Component::rtp) {
            restore();
            result = keys_->receive.unprotect_continued(packet.data(), length, former.keys->receive);
        }
    }
    if (result == Result::wrong_tag) {
        restore();
        result = former.keys->unprotect(component, packet.data(), length);
    }
    if (result != Result::ok && result != Result::repeated && !keys_) {  // the plain packets that were to come
        restore();
        result = Result::ok;
    }
    return result;
}

bool Transport::send_rtp(size_t length) {
    if (!can_send()) return false;
    if (keys_) {
        length = keys_->send.protect(queue_->slot(), length);
        if (length == 0) return false;
    }
    queue_->push(*rtp_socket_, *rtp_peer_, length, &figures_.dropped_send);
    return true;
}

bool Transport::send_rtcp(size_t length) {
    if (!can_send() || !rtcp_peer_) return false;
    if (keys_) {
        length = keys_->rtcp.protect(queue_->slot(), length);
        if (length == 0) return false;
    }
    queue_->push(*rtcp_socket_, *rtcp_peer_, length, &figures_.dropped_send);
    return true;
}

}  // namespace sdpserver
