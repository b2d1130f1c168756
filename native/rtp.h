#pragma once
// RTP packets (RFC 3550 section 5.1): reading what came in, and numbering what goes out.

#include <optional>

#include "bytes.h"
#include "clock.h"

namespace sdpserver {

inline constexpr size_t kRtpHeaderLength = 12;

/// Whether a packet on a multiplexed port is RTCP: payload types 64-95 with the marker bit off (RFC 5761 section 4).
inline bool is_rtcp(ConstBytes packet) {
    const uint8_t type = packet[1] & 0x7f;
    return type >= 64 && type < 96;
}

/// Octets of fixed header, CSRC list and header extension; 0 if the packet is not RTP or does not hold them.
size_t rtp_header_length(ConstBytes packet);

struct RtpPacket {
    uint8_t payload_type = 0;
    bool marker = false;
    uint16_t sequence = 0;
    uint32_t timestamp = 0;
    uint32_t ssrc = 0;
    ConstBytes payload{};  // without padding
};

/// Nothing if version, lengths, extension or padding do not add up.
std::optional<RtpPacket> parse_rtp(ConstBytes packet);

/// Whether the timestamps of audio that goes on in sequence are another clock's, as after a transfer in a PBX that
/// keeps its SSRC: they fell behind, or ran ahead by more than jitter and a stalled network explain.
/// In timestamp units; `passed`: what they could have advanced by.
inline bool timestamp_jumped(uint32_t advance, int64_t passed, uint32_t clock_rate_hz) {
    constexpr int64_t kMaxAheadSeconds = 2;
    const auto step = static_cast<int32_t>(advance);
    return step < 0 || step > passed + kMaxAheadSeconds * clock_rate_hz;
}

/// The fixed header alone; payload goes behind it.
void write_rtp_header(uint8_t* out, const RtpPacket& packet);

/// Sequence numbers and timestamps of one outbound stream, whatever it is fed from (RFC 3550 section 7.1 for a mixer
/// or translator that puts its own SSRC). While a source goes on, its order and gaps are kept by adding an offset, so
/// that late and repeated packets stay what they are. When the source or a clock changes, the sequence goes on by one
/// and the timestamp by the time that has passed; when only the source's timestamps jump, the timestamp alone does.
class Rewriter {
   public:
    struct Source {
        uint64_t id = 0;  // the leg, or a number of our own generators
        uint32_t ssrc = 0;
        uint32_t clock_rate_in = 0;
        uint32_t clock_rate_out = 0;
        bool operator==(const Source&) const = default;
    };
    struct Numbers {
        uint16_t sequence = 0;
        uint32_t timestamp = 0;
        bool first = false;  // of this source, or since its timestamps jumped: its marker bit is to be set
    };

    Rewriter();

    /// Nothing: a lone packet far from where its source was; the next one in sequence shows whether the source has
    /// started anew (RFC 3550 appendix A.1).
    /// `duration_ms`: of its audio; 0: it has none, and its timestamp may be that of an earlier packet.
    std::optional<Numbers> map(const Source& source, const RtpPacket& packet, TimeNs now, uint32_t duration_ms);
    /// A packet of our own among those of the source, which goes on: its sequence number, and, for the `first` of those
    /// with one timestamp, the one that the stream has at `at`.
    struct Inserted {
        uint16_t sequence = 0;
        uint32_t timestamp = 0;
    };
    Inserted insert(bool first, uint32_t clock_rate_hz, TimeNs at, uint32_t duration_ms);
    /// The packet is not sent on purpose: leave no gap behind it.
    void skip(uint64_t source, const RtpPacket& packet);
    /// The next packet is a new source's, also if it comes from the same.
    void detach() { attached_ = false; }
    /// New SSRC and numbers, for a new security association.
    void restart();

    uint32_t ssrc() const { return ssrc_; }
    bool sent_anything() const { return last_sent_ != 0; }
    const Source& source() const { return source_; }
    bool attached_to(uint64_t id, uint32_t ssrc) const { return attached_ && source_.id == id && source_.ssrc == ssrc; }
    /// What the stream's timestamp is at `now`, for sender reports (RFC 3550 section 6.4.1).
    uint32_t timestamp_at(TimeNs now) const;

   private:
    void attach(const Source& source, const RtpPacket& packet, TimeNs now);
    void go_on_in_time(const RtpPacket& packet, uint32_t clock_rate_hz, TimeNs now);
    bool jumped(const RtpPacket& packet, int sequence_step, TimeNs now, uint32_t duration_ms) const;
    bool has_number(uint16_t sequence);
    uint32_t scaled(uint32_t timestamp) const;

    uint32_t ssrc_ = 0;
    bool attached_ = false;
    Source source_;
    uint16_t sequence_offset_ = 0;
    uint16_t highest_in_ = 0;
    uint16_t expected_restart_ = 0;
    std::optional<uint16_t> barrier_;  // what the source sent up to there has no number any more
    bool restart_suspected_ = false;
    int64_t timestamp_in_ = 0;  // unwrapped, relative to the packet that attached
    uint32_t newest_in_ = 0;
    bool has_audio_ = false;  // from the source
    uint32_t audio_in_ = 0;   // the timestamp of the newest
    TimeNs audio_at_ = 0;
    uint32_t timestamp_base_ = 0;
    uint16_t last_sequence_ = 0;
    uint32_t last_timestamp_ = 0;
    uint32_t last_duration_ms_ = 0;
    TimeNs last_sent_ = 0;
};

}  // namespace sdpserver
