#pragma once
// One side of a call: a WebRTC leg on its worker's shared port, or an RTP leg on ports of its own.
// Everything here runs on the worker's thread.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "codec.h"
#include "ice.h"
#include "outbound_stream.h"
#include "rtcp.h"
#include "timers.h"
#include "tone.h"
#include "transport.h"
#include "worker_context.h"

namespace sdpserver {

class Leg {
   public:
    /// A WebRTC leg.
    Leg(LegId id, std::shared_ptr<LegFigures> figures, const UdpSocket& shared, SendQueue& queue, IceAgent ice);
    /// An RTP leg.
    Leg(LegId id, std::shared_ptr<LegFigures> figures, RtpSockets sockets, SendQueue& queue);
    Leg(const Leg&) = delete;
    Leg& operator=(const Leg&) = delete;

    LegId id() const { return id_; }
    IceAgent* ice() { return ice_ ? &*ice_ : nullptr; }
    Transport& transport() { return transport_; }
    LegTimers& timers() { return timers_; }
    LegFigures& figures() { return *figures_; }

    // What it speaks and sends.
    void set_formats(FormatTable formats, uint32_t ptime_ms);
    void set_direction(bool send, bool receive);
    void set_keys(SrtpProfile profile, ConstBytes send_master, ConstBytes receive_master);
    void set_timeouts(WorkerContext& context, TimeNs ice_timeout, TimeNs media_timeout);
    void send_from(Leg& source);
    void send_tone(WorkerContext& context, Tone tone);
    void send_nothing();
    /// Say goodbye to the peer, and leave every leg that this one feeds or is fed by.
    void leave(WorkerContext& context);

    // What comes in.
    /// On the shared port, from an address that has passed a check: SRTP or SRTCP.
    void on_shared_datagram(WorkerContext& context, Bytes datagram);
    /// On a socket of its own.
    void on_own_datagram(WorkerContext& context, Transport::Component component, const SocketAddress& source,
                         Bytes datagram);
    void on_check(WorkerContext& context);
    /// frame, report, ice_timeout, media_timeout.
    void on_timer(WorkerContext& context, Timer timer);

   private:
    void on_rtp(WorkerContext& context, Bytes packet, const SocketAddress* learn);
    void on_rtcp(WorkerContext& context, Bytes packet, const SocketAddress* learn);
    void measure(WorkerContext& context, const RtpPacket& packet, const Format& format);
    void forward_to_sinks(WorkerContext& context, const RtpPacket& packet, const Format& format);
    void start_reports(WorkerContext& context);
    void send_report(WorkerContext& context, bool bye);
    void heard(WorkerContext& context);
    void start_timeout(WorkerContext& context, Timer timer, TimeNs limit, TimeNs since);
    void on_timeout(WorkerContext& context, Timer timer, EventKind kind, TimeNs limit, TimeNs since);
    TimeNs& due(Timer timer) { return timers_[static_cast<size_t>(timer)]; }

    LegId id_;
    std::shared_ptr<LegFigures> figures_;
    std::optional<IceAgent> ice_;
    FormatTable formats_;
    Transport transport_;
    OutboundStream outbound_;
    LegTimers timers_{};
    uint32_t ptime_ms_ = 20;
    bool receives_ = true;

    Leg* source_ = nullptr;
    std::vector<Leg*> sinks_;  // legs that send what this one receives
    std::unique_ptr<Tone> tone_;

    std::optional<ReceptionStatistics> reception_;
    int64_t lost_before_ = 0;  // of SSRCs that have ended
    PressTracker presses_;
    std::string cname_;
    uint64_t sent_at_last_report_ = 0;

    TimeNs ice_timeout_ = 0;
    TimeNs media_timeout_ = 0;
    TimeNs last_check_ = 0;
    TimeNs last_media_ = 0;
};

}  // namespace sdpserver
