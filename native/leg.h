#pragma once
// One side of a call: a WebRTC leg on its worker's shared port, or an RTP leg on ports of its own.
// Everything here runs on the worker's thread.

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "codec.h"
#include "ice.h"
#include "inlet.h"
#include "outbound_stream.h"
#include "press_sender.h"
#include "received_presses.h"
#include "reception.h"
#include "red.h"
#include "remote_reception.h"
#include "rtcp.h"
#include "timers.h"
#include "transport.h"
#include "worker_context.h"

namespace sdpserver {

class Leg final : public InletSink {
   public:
    /// A WebRTC leg.
    Leg(LegId id, std::shared_ptr<LegFigures> figures, const UdpSocket& shared, SendQueue& queue, IceAgent ice);
    /// An RTP leg.
    Leg(LegId id, std::shared_ptr<LegFigures> figures, RtpSockets sockets, SendQueue& queue);
    Leg(const Leg&) = delete;
    Leg& operator=(const Leg&) = delete;
    ~Leg() override = default;

    LegId id() const { return id_; }
    IceAgent* ice() { return ice_ ? &*ice_ : nullptr; }
    Transport& transport() { return transport_; }
    LegTimers& timers() { return timers_; }
    LegFigures& figures() { return *figures_; }
    Inlet& inlet() { return inlet_; }
    OutboundStream& outbound() { return outbound_; }

    // What it speaks and sends.
    void set_formats(FormatTable formats, uint32_t ptime_ms);
    void set_opus_receiver(const OutboundStream::OpusReceiver& receiver) { outbound_.set_opus_receiver(receiver); }
    void set_direction(bool send, bool receive);
    void set_keys(SrtpProfile profile, ConstBytes send_master, ConstBytes receive_master);
    void clear_keys() { transport_.clear_keys(); }
    void set_timeouts(WorkerContext& context, TimeNs ice_timeout, TimeNs media_timeout);
    /// Exactly one of these is what the leg sends from; null: nothing.
    void send_from(Inlet* source);
    void send_from(WorkerContext& context, std::unique_ptr<AudioSource> source);
    Inlet* source() { return source_; }
    /// In place of what it otherwise sends, from when it can send until it ends or is stopped: then
    /// `EventKind::play_ended`, with `tag`.
    void play(WorkerContext& context, std::unique_ptr<AudioSource> sound, std::string tag);
    void stop_playing(WorkerContext& context);
    /// The same, with one more frame if that avoids a click.
    void fade_playing(WorkerContext& context);
    /// In place of all of that while they last, after those that wait already.
    void send_presses(WorkerContext& context, std::span<const PressOrder> orders);
    /// Presses that the peer sends as tones are found too.
    void detect_inband_presses(WorkerContext& context, bool enabled);
    /// Say goodbye to the peer, and leave every leg that this one feeds or is fed by.
    void leave(WorkerContext& context);
    /// Onto another worker: `prepare` on the old one, `settle` on the new one, with nothing in between.
    void prepare_move();
    void settle_move(WorkerContext& context, SendQueue& queue);
    /// One frame from a room, for a leg that sends from neither an inlet nor a source of its own.
    void send_audio(WorkerContext& context, LegId source, const AudioFrame& frame);

    // What it sends of an inlet.
    Verdict on_packet(WorkerContext& context, LegId source, const RtpPacket& packet, const Format& format) override;
    void on_audio(WorkerContext& context, LegId source, const AudioFrame& frame) override;
    void on_pause() override { outbound_.detach(); }
    void on_inlet_gone() override;
    uint32_t frame_ms() const override { return outbound_.ptime_ms(); }
    uint32_t wanted_rate_hz() const override { return outbound_.wanted_rate_hz(); }

    void prefetch(unsigned step) const override;

    // What comes in.
    /// A packet is about to come from the peer: ask for what it will touch, in `DatagramSink::kPrefetchSteps`.
    void prefetch_receiving(unsigned step) const;
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
    void count_reception(WorkerContext& context, const RtpPacket& packet, const Format& format);
    void measure(WorkerContext& context, const RtpPacket& packet, const Format& format);
    void unwrap(WorkerContext& context, const RtpPacket& packet);
    void send_frame(WorkerContext& context);
    void send_frame_of(WorkerContext& context, AudioSource& from);
    void start_frames(WorkerContext& context);
    void send_press(WorkerContext& context);
    void drop_presses();
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
    bool receives_ = true;

    Inlet inlet_;                // what it receives, for others
    Inlet* source_ = nullptr;    // what it sends: this,
    std::unique_ptr<AudioSource> own_source_;  // or this,
    std::unique_ptr<AudioSource> playing_;     // but this while there is one
    std::string playing_tag_;

    Reception reception_;
    RemoteReception remote_reception_;
    std::optional<ReferenceTime> reference_time_;  // to be answered with the next report
    TimeNs reference_time_at_ = 0;
    ReceivedPresses presses_;
    RedStream red_;
    std::shared_ptr<AudioSink> inband_presses_;
    std::unique_ptr<PressSender> press_sender_;  // from the first press on
    std::string cname_;
    uint64_t sent_at_last_report_ = 0;

    TimeNs ice_timeout_ = 0;
    TimeNs media_timeout_ = 0;
    TimeNs last_check_ = 0;
    TimeNs last_media_ = 0;
};

}  // namespace sdpserver
