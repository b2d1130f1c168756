#pragma once
// One thread with its own packet loop, WebRTC port and legs. It shares nothing but its queues and counters.

#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "counters.h"
#include "event_queue.h"
#include "file_descriptor.h"
#include "leg.h"
#include "links.h"
#include "packet_loop.h"
#include "port_pool.h"
#include "room.h"
#include "timers.h"
#include "webrtc_port.h"

namespace sdpserver {

class Worker {
   public:
    using Command = std::function<void(Worker&)>;

    /// Throws std::system_error.
    Worker(const PacketLoopSettings& settings, const SocketAddress& webrtc_address, EventQueue& events,
           PortPool& ports, const AudioSettings& audio, TimeNs report_interval);
    /// Stops the thread and closes every leg.
    ~Worker();
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    // From any thread.
    uint16_t webrtc_port() const { return webrtc_.socket().port(); }
    const WorkerCounters& counters() const { return counters_; }
    /// Carried out on the worker's thread, in order, within one round. One that throws ends its leg.
    void post(LegId leg, Command command);
    /// Look at commands and at what other workers have written.
    void wake() { raise_eventfd(wake_); }
    /// No command is carried out after this, and no leg is left. Idempotent.
    void stop();

    // On the worker's thread, from commands.
    void add_webrtc_leg(LegId id, std::shared_ptr<LegFigures> figures, IceAgent ice);
    void add_rtp_leg(LegId id, std::shared_ptr<LegFigures> figures, RtpSockets sockets);
    void remove_leg(LegId id);
    /// Null: the leg was removed while the command was on its way.
    Leg* leg(LegId id);
    /// What leg `id` receives: of one of its own, or the stand-in of another worker's. Null: it is not known here.
    Inlet* inlet(LegId id);
    Links& links() { return links_; }
    /// An RTP leg that goes to another worker, with its sockets, and comes from there.
    std::unique_ptr<Leg> take_out(LegId id);
    void put_in(std::unique_ptr<Leg> leg);
    void add_room(RoomId id, uint32_t rate_hz) { rooms_[id] = std::make_unique<Room>(id, rate_hz, *this); }
    void remove_room(RoomId id) { rooms_.erase(id); }
    /// Null: there is none by that id, or none any more.
    Room* room(RoomId id);
    WorkerContext& context() { return context_; }
    WebRtcPort& webrtc() { return webrtc_; }

   private:
    /// One of the sockets of an RTP leg.
    struct LegPort final : DatagramSink {
        Leg* leg = nullptr;
        Transport::Component component{};

        void on_datagram(WorkerContext& context, Bytes datagram, const SocketAddress& source) override {
            leg->on_own_datagram(context, component, source, datagram);
        }
        void prefetch(unsigned step, unsigned, const sockaddr_storage&) override { leg->prefetch_receiving(step); }
    };
    struct Entry {
        std::unique_ptr<Leg> leg;
        LegPort rtp;
        LegPort rtcp;
    };

    void add_rtp_leg(std::unique_ptr<Leg> leg);
    void run(std::promise<void> ready);
    void serve();
    TimeNs next_timer() const;
    void run_commands();
    void run_timers();

    WorkerCounters counters_;
    TimerHeap timers_;
    WorkerContext context_;
    PortPool& ports_;
    WebRtcPort webrtc_;
    FileDescriptor wake_;
    PacketLoopSettings loop_settings_;
    std::unique_ptr<PacketLoop> loop_;  // lives as long as the thread; before the legs, which send through it
    Links links_{*this};
    std::unordered_map<LegId, Entry> legs_;
    std::unordered_map<RoomId, std::unique_ptr<Room>> rooms_;  // after what their members are

    std::mutex mutex_;
    std::vector<std::pair<LegId, Command>> commands_;
    std::atomic<bool> stopping_{false};
    std::thread thread_;
};

}  // namespace sdpserver
