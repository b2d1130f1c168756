#pragma once
// What a leg hears of its peer, as an unbroken line of linear audio: packets are put in as they come, frames are taken
// out as time passes, and whatever the network did between is made up for.
//
// A frame is 10 or 20 ms of time; packets are of any length. What is decoded waits in a line of samples, of which `get`
// takes the next ones. A packet is decoded when its samples are needed and not before, so late ones have all the time
// there is. The delay is the time from a sample's place in media time to when it is played; it grows by whatever has to
// be made up while a packet is awaited, and otherwise only by stretching time.

#include <memory>
#include <optional>

#include "audio.h"
#include "audio_decoder.h"
#include "codec.h"
#include "comfort_noise.h"
#include "concealment.h"
#include "delay_estimate.h"
#include "jitter_buffer.h"
#include "media_timeline.h"
#include "rtp.h"
#include "sample_line.h"

namespace sdpserver {

class Playout {
   public:
    /// Audio that waits, the frame that is being played included.
    struct Settings {
        TimeNs min_delay = 20 * kMillisecond;
        TimeNs max_delay = 200 * kMillisecond;
    };
    struct Figures {
        double delay_ms = 0;         // that is added to the fastest packets, their own length included
        double target_delay_ms = 0;  // what the jitter asks for
        uint64_t packets_played = 0;
        uint64_t packets_late = 0;       // their time was over
        uint64_t packets_repeated = 0;
        uint64_t packets_discarded = 0;  // broken, or too many at once
        uint64_t packets_recovered_fec = 0;
        uint64_t samples_played = 0;  // all that `get` gave
        uint64_t samples_concealed = 0;  // not those of pauses
        uint64_t samples_inserted = 0;  // by stretching time
        uint64_t samples_removed = 0;
    };

    /// Frames of 8000 or 16000 Hz.
    Playout(uint32_t rate_hz, const Settings& settings);

    /// A packet of audio or comfort noise: in any order, late or doubled.
    void put(const RtpPacket& packet, const Format& format, TimeNs now);
    /// The next 10 or 20 ms; all of `out` is filled.
    AudioKind get(std::span<int16_t> out, TimeNs now);
    /// Whether the caller moves its ticks as `tick_shift` asks. Otherwise they come at even times, as a room's do, and
    /// packets wait for them for up to a frame.
    void set_movable_ticks(bool movable) { movable_ = movable; }
    /// How much later (or earlier) than in even time the next `get` had better come: up to 1 ms. So the delay follows
    /// the packets to the millisecond, and the sender's clock for ever, without any samples being touched.
    TimeNs tick_shift() const { return shift_ * 125'000 / 6; }
    /// Nothing to play any more: `get` need not be called before the next `put`.
    bool idle() const;

    /// Frames of another rate from now on. What was decoded already is lost.
    void set_rate(uint32_t rate_hz);
    uint32_t rate_hz() const { return rate_hz_; }
    /// The next packet is another source's.
    void reset();

    const Figures& figures() const { return figures_; }

   private:
    /// More packets than one, which may only keep a pause's noise up to date.
    static constexpr uint32_t kTalk = 2;

    // What comes in.
    void measure_delay(const RtpPacket& packet, Codec codec, TimeNs arrival, int64_t at, uint32_t duration);
    void put_part(JitterBuffer::Packet packet, ConstBytes payload);
    // What goes into the line.
    void fill(size_t wanted);
    void play_next();
    void discard_next();
    void await(size_t missing);
    void was_lost(bool lost);
    void fill_gap(const JitterBuffer::Packet& next, size_t missing);
    int64_t time_until(const JitterBuffer::Packet& next) const;
    bool begins_talk(const JitterBuffer::Packet& next) const;
    size_t conceal(size_t count);
    void make_noise(size_t count);
    void close_seam(std::span<int16_t> decoded);
    // When it is played.
    void follow_clock(int64_t now, int64_t frame);
    void shed();
    void adapt();
    void decode_ahead(size_t wanted);
    void stretch(int64_t too_short, int64_t too_long);
    int64_t least_delay(int64_t slowest) const;
    int64_t target(int64_t slowest) const;
    int64_t grid() const;
    int64_t delay() const { return tick_ - position_ + waiting_time(); }

    int64_t per_sample() const { return kMediaHz / rate_hz_; }
    int64_t media_time_of(size_t samples) const { return static_cast<int64_t>(samples) * per_sample(); }
    int64_t waiting_time() const { return media_time_of(line_.waiting()); }
    size_t samples_of(int64_t media_time) const { return static_cast<size_t>(media_time / per_sample()); }

    Settings settings_;
    uint32_t rate_hz_;
    Figures figures_;
    MediaTimeline timeline_;
    DelayEstimate delays_;
    JitterBuffer packets_;
    AudioDecoder decoder_;
    SampleLine line_;
    std::unique_ptr<Concealment> concealment_;  // made at the first loss
    ComfortNoise noise_;
    NoiseFloor floor_;

    uint16_t newest_ = 0;  // sequence number of what was put

    // Times in 1/48000 s.
    int64_t position_ = 0;     // of what is to be decoded next
    int64_t tick_ = 0;         // when this frame is played, smoothed
    int64_t frame_ = 0;        // its length
    int64_t packet_ = 0;       // that of the packets
    int64_t awaited_ = 0;      // made up at `position_`, for a packet that may still come
    uint64_t unexplained_ = 0;  // samples of that, of which the next packet will tell whether they were lost
    int64_t nothing_for_ = 0;  // since a packet was played
    int64_t calm_for_ = 0;     // since time was stretched
    int64_t shift_ = 0;        // of the next tick
    bool movable_ = false;
    bool started_ = false;     // there was a packet
    bool beginning_ = false;   // of which nothing has been played
    bool ticking_ = false;
    bool pausing_ = false;     // the source has said that it is silent
    bool noise_given_ = false;  // by comfort noise packets
    bool making_noise_ = false;  // of our own
    bool seam_ = false;        // what is decoded next does not continue the line
    uint16_t sequence_ = 0;    // of the packet that was played last
    uint32_t since_pause_ = kTalk;  // packets; a stream does not begin with a pause
    size_t speech_left_ = 0;     // samples in the line, up to the last ones of a packet
    AudioKind kind_ = AudioKind::silence;
};

}  // namespace sdpserver
