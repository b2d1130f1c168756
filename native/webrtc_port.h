#pragma once
// The UDP port that all WebRTC legs of a worker share: datagrams are told apart by their first octet (RFC 7983), legs by ICE
// username fragment and then by the addresses that have passed a check.

#include <map>
#include <string>
#include <string_view>
#include <unordered_map>

#include "counters.h"
#include "leg.h"
#include "packet_loop.h"
#include "udp_socket.h"
#include "worker_context.h"

namespace sdpserver {

class WebRtcPort final : public DatagramSink {
   public:
    WebRtcPort(const SocketAddress& bind_address, WorkerCounters& counters);

    const UdpSocket& socket() const { return socket_; }

    void add(Leg& leg);
    void remove(Leg& leg);
    void restart_ice(Leg& leg, IceCredentials local, IceCredentials remote);
    /// To the selected address, dropped while there is none.
    void send_dtls(Leg& leg, ConstBytes datagram);
    /// Send our own check again, or give it up.
    void on_check_timer(WorkerContext& context, Leg& leg);

    void on_datagram(WorkerContext& context, Bytes datagram, const SocketAddress& source) override;
    void prefetch(unsigned step, unsigned i, const sockaddr_storage& source) override;

   private:
    struct TextHash {
        using is_transparent = void;
        size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
    };

    void on_stun(WorkerContext& context, ConstBytes datagram, const SocketAddress& source);
    void on_check(WorkerContext& context, ConstBytes datagram, const StunMessage& request, const SocketAddress& source);
    void on_check_response(WorkerContext& context, ConstBytes datagram, const StunMessage& response,
                           const SocketAddress& source);
    /// The leg has the address from now on.
    void verified(WorkerContext& context, Leg& leg, const SocketAddress& source, const IceAgent::Outcome& outcome);
    void send_check(WorkerContext& context, Leg& leg);
    void forget_check(const Leg& leg);
    Leg* at(const SocketAddress& address) const;

    WorkerCounters& counters_;
    UdpSocket socket_;
    std::unordered_map<std::string, Leg*, TextHash, std::equal_to<>> by_ufrag_;
    std::unordered_map<SocketAddress, Leg*, SocketAddress::Hash> by_address_;
    std::array<const Leg*, kMaxPrefetched> expected_{};  // for `prefetch`, from one step to the next
    std::map<StunTransaction, Leg*> by_check_;  // our own, while they are under way
};

}  // namespace sdpserver
