#pragma once
// A room on its worker: every 20 ms it draws a frame from each member's inlet and sends each one his mix. Members on
// other workers are heard through stand-ins and sent to by the links between workers.

#include <memory>
#include <vector>

#include "audio.h"
#include "counters.h"
#include "event_queue.h"
#include "mixer.h"
#include "rate_converter.h"
#include "timers.h"

namespace sdpserver {

class Worker;

/// Never used again in a process, and never a leg's.
using RoomId = LegId;

/// What a room tells about one member, at any time.
struct SeatFigures {
    Figure<double> level_dbov;
    Figure<bool> talking;

    SeatFigures() { level_dbov.set(Mixer::kSilenceDbov); }
};

class Room {
   public:
    /// Places of those who have just left are still fading out.
    static constexpr size_t kMaxMembers = Mixer::kMaxMembers - 8;

    Room(RoomId id, uint32_t rate_hz, Worker& worker) : id_(id), worker_(worker), mixer_(rate_hz) {}
    /// All members leave; what they send next is for others to say.
    ~Room();
    Room(const Room&) = delete;
    Room& operator=(const Room&) = delete;

    LegTimers& timers() { return timers_; }

    /// `home`: the worker that the leg is on. The leg goes on sending what it sends until it can hear the room.
    /// Throws std::length_error: there is no place left.
    void join(LegId leg, Worker& home, const Mixer::Rules& rules, std::shared_ptr<SeatFigures> figures);
    void leave(LegId leg);
    void set_rules(LegId leg, const Mixer::Rules& rules);
    /// Hears all that anybody says, from the next tick on.
    void add(std::shared_ptr<AudioSink> listener) { listeners_.push_back(std::move(listener)); }
    void remove(const AudioSink& listener);

    /// A tick.
    void on_timer();

   private:
    struct Seat {
        LegId leg = 0;
        Worker* home = nullptr;
        size_t slot = 0;
        bool spoke = false;       // in this tick
        bool hears_room = false;  // and no longer what it was sent before
        uint32_t waited_ticks = 0;
        std::shared_ptr<SeatFigures> figures;
        std::unique_ptr<RateConverter> converter = std::make_unique<RateConverter>();
    };

    Seat* seat(LegId leg);
    void release(const Seat& seat);
    /// True: it has something to say.
    bool draw(const Seat& speaker);
    void send(Seat& listener, bool somebody_else_spoke);
    void tell(const Seat& member);

    RoomId id_;
    Worker& worker_;
    Mixer mixer_;
    LegTimers timers_{};
    std::vector<Seat> seats_;
    std::vector<std::shared_ptr<AudioSink>> listeners_;
    std::array<int16_t, kWidebandHz * Mixer::kFrameMs / 1000 + 1> converted_{};
};

}  // namespace sdpserver
