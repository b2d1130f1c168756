#pragma once
// What a worker waits on: sockets whose datagrams are handed to a sink, descriptors that something is called for, and
// the queues through which datagrams leave. All of it is one thread's.

#include <functional>
#include <memory>

#include "bytes.h"
#include "clock.h"
#include "counters.h"
#include "send_queue.h"
#include "socket_address.h"
#include "worker_context.h"

namespace sdpserver {

/// Takes what one socket receives.
class DatagramSink {
   public:
    virtual ~DatagramSink() = default;
    /// `datagram` may be written to, and is gone after the call. It is whole: what was cut is counted and dropped.
    virtual void on_datagram(WorkerContext& context, Bytes datagram, const SocketAddress& source) = 0;
    /// Datagram `i` of a few will soon be handed out. Called for all of them with `step` 0, then 1, ..., so that what one
    /// step has asked for can be looked at by the next.
    virtual void prefetch(unsigned /*step*/, unsigned /*i*/, const sockaddr_storage& /*source*/) {}
    static constexpr unsigned kPrefetchSteps = 4;
    static constexpr unsigned kMaxPrefetched = 32;
};

class PacketLoop {
   public:
    /// How a socket's datagrams mostly come, to be read as suits them.
    enum class Arrival : uint8_t { singly, together };

    PacketLoop() = default;
    virtual ~PacketLoop() = default;
    PacketLoop(const PacketLoop&) = delete;
    PacketLoop& operator=(const PacketLoop&) = delete;

    /// Hand what the socket receives to `sink`, until it is removed. Both stay where they are until then.
    /// Throws std::system_error.
    virtual void add(const UdpSocket& socket, DatagramSink& sink, Arrival arrival) = 0;
    /// What is queued is sent first. Once it returns, the socket may be closed or given to another loop. Not to be
    /// called by a sink, but by what a descriptor was watched for, by timers, and between rounds.
    virtual void remove(const UdpSocket& socket) = 0;
    /// Call `readable` while `fd` can be read; before any datagram of the same round is handed out.
    /// Throws std::system_error.
    virtual void watch(int fd, std::function<void()> readable) = 0;
    /// Not from within the call for this very `fd`.
    virtual void unwatch(int fd) = 0;

    /// For sockets added with `arrival`.
    virtual SendQueue& out(Arrival arrival) = 0;
    /// Send what is queued, now.
    virtual void flush() = 0;
    /// One round: send what is queued, wait until something has come or until the time `until`, and serve it.
    /// `now` of the context is kept.
    virtual void run_once(TimeNs until) = 0;
};

/// How packets come and go: by epoll, which every Linux has, or by io_uring, which costs less.
enum class Io : uint8_t { epoll, io_uring };

struct PacketLoopSettings {
    Io io = Io::epoll;
    TimeNs gather = kMillisecond;  // the longest that packets wait for more under load; 0: each is served at once
};

/// Whether this system lets us use io_uring, and it does what we need of it: found out by sending datagrams through it.
bool io_uring_works();
/// On the thread that will run it. Throws std::system_error.
std::unique_ptr<PacketLoop> make_packet_loop(const PacketLoopSettings& settings, WorkerContext& context,
                                             WorkerCounters& counters);

}  // namespace sdpserver
