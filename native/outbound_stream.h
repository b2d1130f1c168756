#pragma once
// What a leg sends: packets of another leg, relayed or converted, or linear audio that is encoded here.

#include "audio.h"
#include "audio_encoder.h"
#include "codec.h"
#include "press_sender.h"
#include "rtcp.h"
#include "rtp.h"
#include "telephone_event.h"
#include "transport.h"
#include "worker_context.h"

namespace sdpserver {

class OutboundStream {
   public:
    OutboundStream(LegId leg, Transport& transport, const FormatTable& formats, LegFigures& figures)
        : leg_(leg), transport_(transport), formats_(formats), figures_(figures) {}

    void set_enabled(bool enabled);
    bool enabled() const { return enabled_; }
    /// What comes next is from another source.
    void detach() { rewriter_.detach(); }
    /// New SSRC and numbers for a new security association.
    void restart();

    enum class Forwarded : uint8_t { sent, dropped, needs_audio };
    /// A packet that leg `source` received in the format `in`; `needs_audio`: it cannot be sent as it is.
    Forwarded forward(WorkerContext& context, LegId source, const RtpPacket& packet, const Format& in);
    /// It is not sent on purpose: what is sent next follows without a gap.
    void skip(LegId source, const RtpPacket& packet);
    /// Linear audio in the first codec that it can be made in, in packets of `set_ptime`. `source`: whose it is, a leg
    /// or `kOwnAudio`. True: a packet was sent.
    bool send_audio(WorkerContext& context, LegId source, const AudioFrame& frame);

    static constexpr LegId kOwnAudio = 0;  // no leg has this id

    // Presses of our own, in place of everything else.
    /// While muted, `forward` and `send_audio` leave out what they get; the time that it took goes on.
    void set_muted(bool muted) { muted_ = muted; }
    /// False: the peer takes no event packets, or none can be sent now.
    bool send_press(WorkerContext& context, const PressSender::Packet& press);
    /// Its tones.
    bool send_press_audio(WorkerContext& context, const AudioFrame& frame) { return encode(context, kOwnPresses, frame); }
    /// A press of the source is being relayed; one of ours would break it.
    bool relays_press(TimeNs now) const { return now < relayed_press_until_; }

    void set_ptime(uint32_t ptime_ms) { ptime_ms_ = ptime_ms; }
    uint32_t ptime_ms() const { return ptime_ms_; }
    /// How the peer wants to get Opus that is encoded here (RFC 7587 section 6.1).
    struct OpusReceiver {
        uint32_t max_playback_rate_hz = 48'000;
        int max_average_bitrate_bps = 510'000;
        bool use_inband_fec = false;
        bool use_dtx = false;
        bool operator==(const OpusReceiver&) const = default;
    };
    void set_opus_receiver(const OpusReceiver& receiver);
    /// The rate at which its codec takes linear audio best.
    uint32_t wanted_rate_hz() const;
    /// What part of our packets the peer says it loses, 0 to 1: its answer is redundancy, where the codec has it.
    void set_expected_loss(double fraction);

    uint32_t ssrc() const { return rewriter_.ssrc(); }
    uint32_t clock_rate_hz() const { return rewriter_.source().clock_rate_out; }
    /// Nothing until something was sent.
    std::optional<SenderInfo> sender_info(TimeNs now) const;

   private:
    static constexpr LegId kOwnPresses = LegId{1} << 62;

    bool encode(WorkerContext& context, LegId source, const AudioFrame& frame);
    bool forward_event(WorkerContext& context, LegId source, const RtpPacket& packet, const Format& in);
    AudioEncoder& encoder(const WorkerContext& context);
    Rewriter::Source encoded_stream(const Format& audio) const;
    const Format* noise_format(const AudioFrame& frame, const Format& audio) const;
    bool send_noise(WorkerContext& context, const Format& audio, const Format& noise, const AudioFrame& frame);
    bool send(WorkerContext& context, const Format& format, const Rewriter::Numbers& numbers, bool marker,
              size_t payload_length);

    LegId leg_;
    Transport& transport_;
    const FormatTable& formats_;
    LegFigures& figures_;
    bool enabled_ = true;
    Rewriter rewriter_;
    uint32_t ptime_ms_ = 20;
    std::unique_ptr<AudioEncoder> encoder_;  // when there is something to encode
    std::optional<OpusReceiver> opus_receiver_;
    double expected_loss_ = 0.0;
    LegId encoded_source_ = kOwnAudio;
    uint16_t encoded_sequence_ = 0;
    uint32_t encoded_timestamp_ = 0;
    bool pausing_ = false;  // noise was sent in place of audio
    uint8_t noise_level_ = 0;  // -dBov
    TimeNs noise_sent_ = 0;
    LegId press_source_ = 0;
    uint32_t press_ssrc_ = 0;
    PressTracker presses_;  // of the source
    uint32_t press_timestamp_ = 0;  // that the last one was given
    TimeNs relayed_press_until_ = 0;
    bool muted_ = false;
    uint32_t packets_ = 0;  // since the last restart, as sender reports count
    uint32_t octets_ = 0;
};

}  // namespace sdpserver
