#include "packet_loop.h"

#include <algorithm>
#include <array>
#include <system_error>

#include "epoll_loop.h"
#include "event_queue.h"
#include "timers.h"
#include "uring_loop.h"

namespace sdpserver {
namespace {

constexpr TimeNs kTrial = kSecond;

struct CountingSink final : DatagramSink {
    size_t octets = 0;
    void on_datagram(WorkerContext&, Bytes datagram, const SocketAddress&) override { octets += datagram.size(); }
};

/// What a worker does: a request that stays armed, a datagram out and in, and an end that frees the port.
bool try_io_uring() {
    EventQueue events;
    TimerHeap timers;
    WorkerCounters counters;
    const AudioSettings audio;
    WorkerContext context{
        .events = events, .timers = timers, .audio = audio, .report_interval = 0, .now = monotonic_ns()};
    UringLoop loop(0, context, counters);
    const UdpSocket socket = UdpSocket::bind(*SocketAddress::parse("127.0.0.1", 0));
    const SocketAddress address = *SocketAddress::parse("127.0.0.1", socket.port());
    CountingSink sink;
    Counter dropped;
    loop.add(socket, sink, PacketLoop::Arrival::singly);
    const TimeNs until = monotonic_ns() + kTrial;
    for (size_t round = 1; round <= 2; ++round) {
        std::fill_n(loop.out(PacketLoop::Arrival::singly).slot(), 100, uint8_t{0});
        loop.out(PacketLoop::Arrival::singly).push(socket, address, 100, &dropped);
        while (sink.octets < round * 100 && context.now < until) loop.run_once(until);
    }
    loop.remove(socket);
    return sink.octets == 200 && dropped.get() == 0;
}

}  // namespace

bool io_uring_works() {
    try {
        return try_io_uring();
    } catch (const std::system_error&) {
        return false;  // why does not matter: epoll does the same
    }
}

std::unique_ptr<PacketLoop> make_packet_loop(const PacketLoopSettings& settings, WorkerContext& context,
                                             WorkerCounters& counters) {
    if (settings.io == Io::io_uring) return std::make_unique<UringLoop>(settings.gather, context, counters);
    return std::make_unique<EpollLoop>(settings.gather, context, counters);
}

}  // namespace sdpserver
