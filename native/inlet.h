#pragma once
// What is heard from one leg, on one worker: packets for those who can pass them on as they are, linear audio for all others.
//
// Packets are cheap and keep the sender's timing; linear audio comes out of a jitter buffer and a decoder, one frame a
// tick, for all who listen. That part exists only while somebody needs it.

#include <memory>
#include <optional>
#include <vector>

#include "audio.h"
#include "codec.h"
#include "playout.h"
#include "prefetch.h"
#include "rtp.h"
#include "timers.h"
#include "worker_context.h"

namespace sdpserver {

/// Sends on what an inlet hears: a leg, or the link to a leg of another worker.
class InletSink {
 public:
    /// What became of a packet; `needs_audio`: it can only be sent by way of linear audio.
    enum class Verdict : uint8_t { passed, needs_audio };

    virtual ~InletSink() = default;
    virtual Verdict on_packet(WorkerContext& context, LegId source, const RtpPacket& packet, const Format& format) = 0;
    virtual void on_audio(WorkerContext& context, LegId source, const AudioFrame& frame) = 0;
    /// What follows does not continue what was.
    virtual void on_pause() = 0;
    /// The inlet is going; it has forgotten this sink.
    virtual void on_inlet_gone() = 0;
    /// How long the frames should be, and of what rate.
    virtual uint32_t frame_ms() const = 0;
    virtual uint32_t wanted_rate_hz() const = 0;
    /// A packet is about to come: ask for what it will touch, in two steps.
    virtual void prefetch(unsigned /*step*/) const {}
};

class Inlet {
 public:
    /// `timers` are those of the source's leg, or of what stands for it on this worker.
    Inlet(LegId source, LegTimers& timers, LegFigures* figures) : source_(source), timers_(timers), figures_(figures) {}
    ~Inlet();
    Inlet(const Inlet&) = delete;
    Inlet& operator=(const Inlet&) = delete;

    LegId source() const { return source_; }
    /// Somebody is there to hear it.
    bool in_use() const { return !sinks_.empty() || !listeners_.empty() || driver_ != nullptr; }

    void add(InletSink& sink) { sinks_.push_back({&sink, false}); }
    void remove(const InletSink& sink);
    /// Linear audio for as long as the inlet lives or until it is removed.
    void add(std::shared_ptr<AudioSink> listener) { listeners_.push_back(std::move(listener)); }
    void remove(const AudioSink& listener);
    /// The legs that send it; listeners stay.
    void leave_sinks();
    void disconnect();

    void prefetch() const { sdpserver::prefetch(sinks_.data(), sinks_.size() * sizeof(Entry)); }
    void prefetch_sinks(unsigned step) const {
        for (const Entry& entry : sinks_) entry.sink->prefetch(step);
    }

    /// Audio, telephone-event or comfort noise that the leg has received.
    void on_packet(WorkerContext& context, const RtpPacket& packet, const Format& format);
    /// What the leg receives is dropped on purpose for now.
    void pause();
    /// What comes next is another stream.
    void restart();
    /// `Timer::playout` is due.
    void on_timer(WorkerContext& context);

    /// A room draws the frames itself, at its own ticks, instead of the timer. `driver`: who; null: the timer again.
    void set_driver(WorkerContext& context, const void* driver);
    /// For the driver: the frame that is due, of `duration_ms`, which the others get too. Silence when there is nothing.
    AudioFrame draw(WorkerContext& context, uint32_t duration_ms, uint32_t wanted_rate_hz);

 private:
    struct Entry {
        InletSink* sink = nullptr;
        bool audio = false;  // the newest packet could not be passed on as it is
    };

    bool needs_audio() const;
    uint32_t frame_ms() const;
    uint32_t rate_hz(uint32_t at_least) const;
    void hand_out(WorkerContext& context, const AudioFrame& frame);
    void count(const Playout::Figures& before);
    void stop_playout();
    TimeNs& due() { return timers_[static_cast<size_t>(Timer::playout)]; }

    LegId source_;
    LegTimers& timers_;
    LegFigures* figures_;  // null: of a leg of another worker, which alone may write them
    std::vector<Entry> sinks_;
    std::vector<std::shared_ptr<AudioSink>> listeners_;
    const void* driver_ = nullptr;
    std::unique_ptr<Playout> playout_;
    std::vector<int16_t> frame_;
    uint32_t ssrc_ = 0;
    Codec codec_ = Codec::none;  // of the newest audio packet
};

}  // namespace sdpserver
