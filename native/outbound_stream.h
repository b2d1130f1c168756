#pragma once
// What a leg sends: packets of another leg, relayed, converted or transcoded, or tones of our own.

#include "codec.h"
#include "rtcp.h"
#include "rtp.h"
#include "telephone_event.h"
#include "tone.h"
#include "transcoder.h"
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

    /// A packet that leg `source` received in the format `in`. True: it was sent.
    bool forward(WorkerContext& context, LegId source, const RtpPacket& packet, const Format& in);
    /// One frame of a tone in the first codec that it can be made in. True: it was sent.
    bool send_tone(WorkerContext& context, Tone& tone, uint32_t ptime_ms);

    uint32_t ssrc() const { return rewriter_.ssrc(); }
    uint32_t clock_rate_hz() const { return rewriter_.source().clock_rate_out; }
    /// Nothing until something was sent.
    std::optional<SenderInfo> sender_info(TimeNs now) const;

   private:
    static constexpr uint64_t kOwnTone = 0;  // no leg has this id

    bool forward_event(WorkerContext& context, LegId source, const RtpPacket& packet, const Format& in);
    size_t transcode(LegId source, const RtpPacket& packet, Codec in, Codec out, Bytes room);
    bool send(WorkerContext& context, const Format& format, const Rewriter::Numbers& numbers, bool marker,
              size_t payload_length);

    LegId leg_;
    Transport& transport_;
    const FormatTable& formats_;
    LegFigures& figures_;
    bool enabled_ = true;
    Rewriter rewriter_;
    Transcoder transcoder_;
    LegId transcoded_leg_ = 0;
    uint32_t transcoded_ssrc_ = 0;
    PressTracker presses_;  // of the source
    uint32_t press_timestamp_ = 0;  // that the last one was given
    uint16_t tone_sequence_ = 0;
    uint32_t tone_timestamp_ = 0;
    uint32_t packets_ = 0;  // since the last restart, as sender reports count
    uint32_t octets_ = 0;
};

}  // namespace sdpserver
