#pragma once
// How a worker's legs reach legs of other workers. A leg of another worker that is listened to here has a stand-in, an
// inlet of its own that is fed with the packets of the real one; so jitter buffers, decoders and rooms need not know of
// threads. Everything here runs on the worker's own thread.

#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "inlet.h"
#include "link_ring.h"

namespace sdpserver {

class Worker;
class Leg;

class Links {
 public:
    explicit Links(Worker& worker);
    ~Links();
    Links(const Links&) = delete;
    Links& operator=(const Links&) = delete;

    /// Rings exist from the first time that two workers have something to tell each other.
    void add_outbound(Worker& to, std::shared_ptr<LinkRing> ring);
    void add_inbound(std::shared_ptr<LinkRing> ring) { inbound_.push_back(std::move(ring)); }

    /// Here: the stand-in of a leg of worker `home`, made if there is none. `serial` grows with every use, so that an end
    /// that was on its way does not undo a new beginning.
    Inlet& stand_in(LegId source, Worker& home, uint64_t serial);
    Inlet* find(LegId source);
    LegTimers* timers(LegId source);
    /// The real leg has gone.
    void drop(LegId source) { stand_ins_.erase(source); }

    /// There: packets that `leg` receives go to `to`, where its stand-in is.
    void feed(Leg& leg, Worker& to, uint64_t serial);
    void stop_feeding(LegId leg, const Worker& to, uint64_t serial);

    /// Audio that a leg of worker `to` is to send.
    void send_audio(Worker& to, LegId leg, LegId source, const AudioFrame& frame);

    /// Take what others have written.
    void receive(WorkerContext& context, const std::function<Leg*(LegId)>& leg);
    /// Give up stand-ins that nobody listens to any more.
    void tidy();
    /// Wake those who were written to since the last time.
    void wake();

 private:
    struct StandIn {
        Worker* home = nullptr;
        uint64_t serial = 0;
        LegTimers timers{};
        std::unique_ptr<Inlet> inlet;
    };
    struct Outbound {
        std::shared_ptr<LinkRing> ring;
        bool written = false;
    };

    /// A sink of a leg's inlet: the way to one other worker.
    class Feed;

    Outbound* outbound(Worker& to);

    Worker& worker_;
    std::unordered_map<Worker*, Outbound> outbound_;
    std::vector<std::shared_ptr<LinkRing>> inbound_;
    std::unordered_map<LegId, StandIn> stand_ins_;
    std::vector<std::unique_ptr<Feed>> feeds_;
};

}  // namespace sdpserver
