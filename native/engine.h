#pragma once
// The media plane as Python has it: workers, the legs they own, and the events they raise.
// Called by one thread at a time (Python's, under the GIL); values are checked here, before a worker gets them.

#include <array>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "codec.h"
#include "counters.h"
#include "event_queue.h"
#include "ice.h"
#include "port_pool.h"
#include "recorder.h"
#include "sound_player.h"
#include "tone.h"
#include "worker.h"

namespace sdpserver {

/// No leg has this id, or none any more.
class UnknownLeg : public std::out_of_range {
    using std::out_of_range::out_of_range;
};

/// No recording has this id, or it has been stopped.
class UnknownRecording : public std::out_of_range {
    using std::out_of_range::out_of_range;
};

/// No room has this id, or none any more.
class UnknownRoom : public std::out_of_range {
    using std::out_of_range::out_of_range;
};

/// More presses than a leg keeps.
class PressQueueFull : public std::overflow_error {
    using std::overflow_error::overflow_error;
};

class Engine {
   public:
    struct Settings {
        size_t workers = 1;
        std::string webrtc_bind;
        uint16_t webrtc_port = 0;
        std::string rtp_bind;
        std::pair<uint16_t, uint16_t> rtp_port_range;
        AudioSettings audio;
        TimeNs report_interval = 5 * kSecond;
        std::string io = "auto";  // or "epoll", "io_uring"
        double gather_ms = 1.0;
    };

    /// Throws std::invalid_argument and std::system_error.
    explicit Engine(const Settings& settings);
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    int event_fd() const { return events_.fd(); }
    std::vector<Event> drain() { return events_.take(); }
    size_t workers() const { return workers_.size(); }
    Io io() const { return io_; }
    uint16_t webrtc_port(size_t worker) const { return at(worker).webrtc_port(); }
    const WorkerCounters& counters(size_t worker) const { return at(worker).counters(); }
    void close();

    LegId create_webrtc_leg(size_t worker, IceCredentials local, IceCredentials remote);
    std::pair<LegId, uint16_t> create_rtp_leg(size_t worker);
    void remove_leg(LegId leg);

    void restart_ice(LegId leg, IceCredentials local, IceCredentials remote);
    void set_remote_ice(LegId leg, IceCredentials remote);
    void send_dtls(LegId leg, std::string datagram);
    void set_srtp(LegId leg, std::string_view profile, std::string send_key, std::string receive_key);
    void clear_srtp(LegId leg);
    void set_rtp_remote(LegId leg, const std::string& ip, uint16_t rtp_port, uint16_t rtcp_port, bool learn);
    void set_codecs(LegId leg, std::vector<Format> formats, uint32_t ptime_ms);
    void set_opus_receiver(LegId leg, const OutboundStream::OpusReceiver& receiver);
    void set_direction(LegId leg, bool send, bool receive);
    void set_source_leg(LegId leg, LegId source);
    void set_source_tone(LegId leg, const Tone& tone);
    void set_source_sound(LegId leg, const SoundPlayer& player);
    void set_source_none(LegId leg);
    /// In place of the source, once the leg can send, until it is over or stopped.
    void play(LegId leg, const Tone& tone, std::string tag);
    void play(LegId leg, const SoundPlayer& player, std::string tag);
    void stop_playing(LegId leg);
    /// Presses of keys, after those that wait. Throws PressQueueFull.
    void send_presses(LegId leg, const std::vector<PressOrder>& orders);
    void detect_inband_presses(LegId leg, bool enabled);
    /// Onto another worker, with its sockets and what it sends and feeds. Waits for the worker that has it.
    void move_rtp_leg(LegId leg, size_t worker);
    RecordingId start_recording(std::string path, uint32_t rate_hz);
    /// Record what this leg receives on a channel, instead of another leg; 0: nobody.
    void set_recorded_leg(RecordingId recording, Recording::Channel channel, LegId leg);
    /// Record the whole mix of a room on both channels, instead of what was recorded of another; 0: no more.
    void set_recorded_room(RecordingId recording, RoomId room);
    void pause_recording(RecordingId recording, bool paused);
    void stop_recording(RecordingId recording);
    RoomId create_room(size_t worker, uint32_t rate_hz);
    void close_room(RoomId room);
    /// Out of the room that it is in and into this one, or under other rules.
    void join_room(RoomId room, LegId leg, const Mixer::Rules& rules);
    void leave_room(RoomId room, LegId leg);
    std::vector<std::pair<LegId, double>> room_levels(RoomId room) const;
    void set_timeouts(LegId leg, double ice_timeout_s, double media_timeout_s);
    const LegFigures& figures(LegId leg) const { return *entry(leg).figures; }

   private:
    struct Entry {
        Worker* worker = nullptr;
        std::shared_ptr<LegFigures> figures;
        bool webrtc = false;
        LegId source = 0;  // that it sends from; 0: none, or audio of its own
        RoomId room = 0;
    };
    struct Seat {
        Mixer::Rules rules;
        std::shared_ptr<SeatFigures> figures;
    };
    struct RoomEntry {
        Worker* worker = nullptr;
        std::map<LegId, Seat> seats;
    };

    struct RecordedLeg {
        LegId leg = 0;
        std::shared_ptr<AudioSink> listener;
    };
    struct RecordingEntry {
        std::shared_ptr<Recording> recording;
        std::array<RecordedLeg, StereoTrack::kChannels> legs;
        RoomId room = 0;
        std::array<std::shared_ptr<AudioSink>, StereoTrack::kChannels> room_listeners;
    };

    Worker& at(size_t worker) const;
    const Entry& entry(LegId leg) const;
    Entry& entry(LegId leg) { return const_cast<Entry&>(std::as_const(*this).entry(leg)); }
    const Entry& webrtc_entry(LegId leg) const;
    void connect(LegId leg, LegId source);
    RoomEntry& room_entry(RoomId room);
    void link(Worker& from, Worker& to);
    RecordingEntry& recording_entry(RecordingId recording);
    void stop_listening(RecordedLeg& recorded);
    /// Audio of its own, instead of another leg's.
    template <typename Source>
    void set_own_source(LegId leg, const Source& source);
    /// Over whatever it sends, until it ends.
    template <typename Source>
    void play_over(LegId leg, const Source& source, std::string tag);
    /// `change(worker, leg)` on the leg's worker, unless the leg has gone by then.
    template <typename Change>
    void post(LegId leg, Change change);

    AudioSettings audio_;
    Io io_;
    EventQueue events_;
    std::unique_ptr<PortPool> ports_;
    std::vector<std::unique_ptr<Worker>> workers_;  // after what they use
    std::unordered_map<LegId, Entry> legs_;
    std::unique_ptr<Recorder> recorder_;
    std::unordered_map<RecordingId, RecordingEntry> recordings_;
    std::unordered_map<RoomId, RoomEntry> rooms_;
    LegId last_leg_ = 0;  // or recording, or room
    std::set<std::pair<Worker*, Worker*>> links_;  // from, to
    uint64_t last_link_ = 0;
};

template <typename Change>
void Engine::post(LegId leg, Change change) {
    entry(leg).worker->post(leg, [leg, change = std::move(change)](Worker& worker) {
        if (Leg* found = worker.leg(leg)) change(worker, *found);
    });
}

}  // namespace sdpserver
