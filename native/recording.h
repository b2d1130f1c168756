#pragma once
// One recorded call: what is said on each side goes to a channel of a stereo file.

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "audio.h"
#include "event_queue.h"
#include "frame_ring.h"
#include "stereo_track.h"
#include "wav_writer.h"

namespace sdpserver {

/// From the same numbers as legs.
using RecordingId = LegId;

class Recording {
   public:
    enum class Channel : uint8_t { left, right };

    struct Settings {
        RecordingId id = 0;
        std::string path;
        uint32_t rate_hz = kNarrowbandHz;
        TimeNs start = 0;
    };

    explicit Recording(Settings settings) : settings_(std::move(settings)), track_(settings_.rate_hz, settings_.start) {}
    /// Writes to a file that is open already.
    Recording(Settings settings, WavWriter file) : Recording(std::move(settings)) { file_.emplace(std::move(file)); }

    // From any thread.
    RecordingId id() const { return settings_.id; }
    /// What listens for a channel, on any worker; each leg gets one of its own.
    std::shared_ptr<AudioSink> listener(Channel channel);
    /// While paused, nothing that is said leaves the worker; in the file there is silence for as long.
    void pause(bool paused) { gate_->paused.store(paused, std::memory_order_relaxed); }
    /// Frames that were lost because the disk could not keep up.
    uint64_t dropped() const { return gate_->dropped.load(std::memory_order_relaxed); }
    /// What has been heard until now is written, then the file gets its name.
    void stop();

    // On the writer's thread.
    /// False: it is over, and an event has said how.
    bool serve(TimeNs now, EventQueue& events);

   private:
    /// What listeners look at for each frame.
    struct Gate {
        std::atomic<bool> closed{false};
        std::atomic<bool> paused{false};
        std::atomic<uint64_t> dropped{0};
    };

    class Listener final : public AudioSink {
       public:
        Listener(std::shared_ptr<Gate> gate, uint32_t rate_hz) : gate_(std::move(gate)), rate_hz_(rate_hz) {}
        uint32_t wanted_rate_hz() const override { return rate_hz_; }
        void take(const AudioFrame& frame, TimeNs now) override;
        bool pop(FrameRing::Frame& frame) { return ring_.pop(frame); }

       private:
        /// 4 s at 8 kHz, 2 s at 16 kHz: for so long the disk may hang.
        static constexpr size_t kRing = size_t{1} << 15;

        std::shared_ptr<Gate> gate_;
        uint32_t rate_hz_;
        FrameRing ring_{kRing};
    };
    struct Input {
        Channel channel;
        std::shared_ptr<Listener> listener;
    };

    void open(EventQueue& events);
    void collect();
    void write(TimeNs now);
    void fail(TimeNs now, EventQueue& events, const std::string& why);

    Settings settings_;
    std::shared_ptr<Gate> gate_ = std::make_shared<Gate>();
    std::mutex mutex_;
    std::vector<Input> inputs_;
    std::optional<TimeNs> stopped_at_;

    // The writer's.
    StereoTrack track_;
    std::optional<WavWriter> file_;
    FrameRing::Frame frame_;
    TimeNs header_at_ = 0;
};

}  // namespace sdpserver
