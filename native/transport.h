#pragma once
// Where a leg's packets go and come from: its socket, the peer's addresses, and SRTP if there are keys.

#include <array>
#include <memory>
#include <optional>

#include "counters.h"
#include "port_pool.h"
#include "prefetch.h"
#include "send_queue.h"
#include "srtcp.h"
#include "srtp.h"

namespace sdpserver {

class Transport {
   public:
    enum class Component : uint8_t { rtp, rtcp };
    /// What becomes of a datagram.
    enum class Verdict : uint8_t { ok, dropped };

    /// On a port shared with other legs: SRTP only, one address for all.
    Transport(const UdpSocket& shared, SendQueue& queue, LegFigures& figures);
    /// On sockets of its own: plain RTP until there are keys.
    Transport(RtpSockets sockets, SendQueue& queue, LegFigures& figures);

    const RtpSockets& sockets() const { return sockets_; }
    RtpSockets release_sockets() { return std::move(sockets_); }
    /// Of the worker that it is on now.
    void set_queue(SendQueue& queue) { queue_ = &queue; }

    /// For the shared port: the address that ICE has selected.
    void set_selected(const SocketAddress& address);
    /// For own sockets: the peer as its SDP has it; nothing: unknown, or not to be sent to.
    void set_peer(const std::optional<SocketAddress>& rtp, const std::optional<SocketAddress>& rtcp, bool learn);
    /// Sends with them at once. What the peer still sends with the keys before is understood, for `kOverlap` packets.
    void set_keys(SrtpProfile profile, ConstBytes send_master, ConstBytes receive_master);
    /// For own sockets: plain RTP from now on. What was still sent with the keys is understood, for `kOverlap` packets.
    void clear_keys();
    bool secured() const { return keys_ != nullptr; }

    /// For own sockets: whether RTP or RTCP may come from there. Counts what it refuses.
    Verdict check_source(Component component, const SocketAddress& source);
    /// RTP in the right payload type has come from there: the address is learned, if that is still open.
    void learn_rtp(const SocketAddress& source);
    void learn_rtcp(const SocketAddress& source);
    bool multiplexed() const { return rtcp_peer_ == rtp_peer_; }

    /// Tag and replay check, decryption in place. Counts what it refuses. `packet` gets shorter.
    Verdict open_rtp(Bytes& packet);
    Verdict open_rtcp(Bytes& packet);

    void prefetch_receiving() const {
        if (keys_) prefetch(&keys_->receive, sizeof keys_->receive);
    }
    void prefetch_sending() const {
        if (keys_) prefetch(&keys_->send, sizeof keys_->send);
    }

    bool can_send() const { return rtp_peer_.has_value() && (keys_ != nullptr || !needs_keys_); }
    /// Where to write the next packet, `SendQueue::kSlot` octets. Only one at a time.
    uint8_t* slot() { return queue_->slot(); }
    /// Protect and queue the packet in the slot. False: it is a repeated one, or there is nowhere to send it.
    bool send_rtp(size_t length);
    bool send_rtcp(size_t length);

   private:
    struct Keys {
        Keys(SrtpProfile profile, ConstBytes send_master, ConstBytes receive_master)
            : send(profile, send_master), receive(profile, receive_master), rtcp(profile, send_master, receive_master) {}

        SrtpReceiver::Result unprotect(Component component, uint8_t* packet, size_t& length);

        SrtpSender send;
        SrtpReceiver receive;
        Srtcp rtcp;
    };

    /// Two seconds of packets.
    static constexpr uint32_t kOverlap = 100;
    /// The keys before the last change.
    struct Former {
        std::unique_ptr<Keys> keys;
        uint32_t packets_left = kOverlap;
        std::array<uint8_t, 2048> copy{};  // opening may spoil a packet, and then other keys are tried
    };

    Verdict open(Component component, Bytes& packet);
    /// While keys change: tries the new ones, then those before.
    SrtpReceiver::Result unprotect_in_change(Component component, Bytes packet, size_t& length);
    void retire_keys();
    void count(Component component, SrtpReceiver::Result result);

    const UdpSocket* rtp_socket_;
    const UdpSocket* rtcp_socket_;
    RtpSockets sockets_;
    SendQueue* queue_;
    LegFigures& figures_;
    bool needs_keys_;
    std::unique_ptr<Keys> keys_;
    std::unique_ptr<Former> former_;

    std::optional<SocketAddress> rtp_peer_;
    std::optional<SocketAddress> rtcp_peer_;
    std::optional<SocketAddress> signalled_rtp_;  // as last set, to tell a new peer from the same one said again
    std::optional<SocketAddress> signalled_rtcp_;
    bool learn_ = false;
    bool rtp_locked_ = true;
    bool rtcp_locked_ = true;
};

}  // namespace sdpserver
