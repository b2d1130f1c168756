#pragma once
// Where a leg's packets go and come from: its socket, the peer's addresses, and SRTP if there are keys.

#include <memory>
#include <optional>

#include "counters.h"
#include "port_pool.h"
#include "srtcp.h"
#include "srtp.h"
#include "udp_socket.h"

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

    /// For the shared port: the address that ICE has selected.
    void set_selected(const SocketAddress& address);
    /// For own sockets: the peer as its SDP has it; nothing: unknown, or not to be sent to.
    void set_peer(const std::optional<SocketAddress>& rtp, const std::optional<SocketAddress>& rtcp, bool learn);
    void set_keys(SrtpProfile profile, ConstBytes send_master, ConstBytes receive_master);
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

    bool can_send() const { return rtp_peer_.has_value() && (keys_ != nullptr || !needs_keys_); }
    /// Where to write the next packet, `SendQueue::kSlot` octets. Only one at a time.
    uint8_t* slot() { return queue_.slot(); }
    /// Protect and queue the packet in the slot. False: it is a repeated one, or there is nowhere to send it.
    bool send_rtp(size_t length);
    bool send_rtcp(size_t length);

   private:
    struct Keys {
        Keys(SrtpProfile profile, ConstBytes send_master, ConstBytes receive_master)
            : send(profile, send_master), receive(profile, receive_master), rtcp(profile, send_master, receive_master) {}

        SrtpSender send;
        SrtpReceiver receive;
        Srtcp rtcp;
    };

    void count(SrtpReceiver::Result result);

    const UdpSocket* rtp_socket_;
    const UdpSocket* rtcp_socket_;
    RtpSockets sockets_;
    SendQueue& queue_;
    LegFigures& figures_;
    bool needs_keys_;
    std::unique_ptr<Keys> keys_;

    std::optional<SocketAddress> rtp_peer_;
    std::optional<SocketAddress> rtcp_peer_;
    std::optional<SocketAddress> signalled_rtp_;  // as last set, to tell a new peer from the same one said again
    std::optional<SocketAddress> signalled_rtcp_;
    bool learn_ = false;
    bool rtp_locked_ = true;
    bool rtcp_locked_ = true;
};

}  // namespace sdpserver
