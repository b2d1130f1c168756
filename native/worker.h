#pragma once
// One thread with its own epoll, WebRTC port and legs. It shares nothing but its queues and counters.

#include <sys/epoll.h>

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "counters.h"
#include "event_queue.h"
#include "leg.h"
#include "poll_floor.h"
#include "port_pool.h"
#include "timers.h"
#include "udp_socket.h"
#include "webrtc_port.h"

namespace sdpserver {

class Worker {
   public:
    using Command = std::function<void(Worker&)>;

    /// Throws std::system_error.
    Worker(const SocketAddress& webrtc_address, EventQueue& events, PortPool& ports, TimeNs report_interval);
    /// Stops the thread and closes every leg.
    ~Worker();
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    // From any thread.
    uint16_t webrtc_port() const { return webrtc_.socket().port(); }
    const WorkerCounters& counters() const { return counters_; }
    /// Carried out on the worker's thread, in order, within one round. One that throws ends its leg.
    void post(LegId leg, Command command);

    // On the worker's thread, from commands.
    void add_webrtc_leg(LegId id, std::shared_ptr<LegFigures> figures, IceAgent ice);
    void add_rtp_leg(LegId id, std::shared_ptr<LegFigures> figures, RtpSockets sockets);
    void remove_leg(LegId id);
    /// Null: the leg was removed while the command was on its way.
    Leg* leg(LegId id);
    WorkerContext& context() { return context_; }
    WebRtcPort& webrtc() { return webrtc_; }

   private:
    /// What is received is sent at the end of its round, so short rounds keep the first packets of a burst from waiting for
    /// the last.
    static constexpr size_t kMaxReady = 32;

    /// What epoll hands back: a leg's socket, or one of the worker's own.
    struct Watched {
        enum class What : uint8_t { commands, webrtc, rtp, rtcp } what{};
        Leg* leg = nullptr;
    };
    struct Entry {
        std::unique_ptr<Leg> leg;
        Watched rtp;
        Watched rtcp;
    };

    void watch(int fd, Watched& watched);
    void run();
    std::span<epoll_event> poll(TimeNs wait);
    TimeNs until_next_timer() const;
    void serve(std::span<const epoll_event> reported);
    void unwatch(const UdpSocket& socket);
    void receive(Leg& leg, Transport::Component component);
    void run_commands();
    void run_timers();
    void flush();

    WorkerCounters counters_;
    SendQueue webrtc_out_;
    SendQueue rtp_out_;
    TimerHeap timers_;
    WorkerContext context_;
    PortPool& ports_;
    WebRtcPort webrtc_;
    FileDescriptor epoll_;
    FileDescriptor wake_;
    Watched watched_wake_{Watched::What::commands};
    Watched watched_webrtc_{Watched::What::webrtc};
    PollFloor floor_;
    bool precise_ = true;
    std::unordered_map<LegId, Entry> legs_;
    std::vector<uint8_t> buffer_;
    std::array<epoll_event, kMaxReady> ready_{};

    std::mutex mutex_;
    std::vector<std::pair<LegId, Command>> commands_;
    std::atomic<bool> stopping_{false};
    std::thread thread_;
};

}  // namespace sdpserver
