// A packet loop without a worker: sockets on 127.0.0.1, what they receive, and the queue.

#include "packet_loop.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <map>
#include <stdexcept>

#include "event_queue.h"
#include "gathering.h"
#include "worker_context.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace sdpserver {
namespace {

Io io_of(const std::string& name) {
    if (name == "epoll") return Io::epoll;
    if (name == "io_uring") return Io::io_uring;
    throw std::invalid_argument("no such io: " + name);
}

/// Bound, and watched by one loop at a time.
class TestPort final : public DatagramSink {
   public:
    TestPort() : socket(UdpSocket::bind(*SocketAddress::parse("127.0.0.1", 0))) { socket.set_receive_buffer(1 << 23); }

    void on_datagram(WorkerContext&, Bytes datagram, const SocketAddress& source) override {
        received.emplace_back(source.port(), std::string(reinterpret_cast<char*>(datagram.data()), datagram.size()));
        std::ranges::fill(datagram, uint8_t{0xff});  // what decryption in place would do
    }

    UdpSocket socket;
    std::vector<std::pair<uint16_t, std::string>> received;
};

/// Everything on the calling thread, as it would be on a worker's.
class TestLoop {
   public:
    TestLoop(const std::string& io, double gather_ms)
        : loop_(make_packet_loop(
              {.io = io_of(io), .gather = static_cast<TimeNs>(gather_ms * static_cast<double>(kMillisecond))}, context_,
              counters_)) {}

    void add(TestPort& port, bool together) {
        loop_->add(port.socket, port, together ? PacketLoop::Arrival::together : PacketLoop::Arrival::singly);
    }
    void remove(const TestPort& port) { loop_->remove(port.socket); }
    void watch(int fd, nb::callable call) {
        loop_->watch(fd, [call = std::move(call)] { call(); });
    }
    void unwatch(int fd) { loop_->unwatch(fd); }
    void send(const TestPort& from, const std::string& ip, uint16_t port, const nb::bytes& datagram) {
        SendQueue& queue = loop_->out(PacketLoop::Arrival::singly);
        std::copy_n(datagram.c_str(), datagram.size(), queue.slot());
        queue.push(from.socket, *SocketAddress::parse(ip, port), datagram.size(), &dropped_);
    }
    void flush() { loop_->flush(); }
    void close() {
        loop_.reset();
        events_.close();
    }
    void run_once(double wait_s) {
        loop_->run_once(monotonic_ns() + static_cast<TimeNs>(wait_s * static_cast<double>(kSecond)));
    }
    uint64_t dropped() const { return dropped_.get(); }
    const WorkerCounters& counters() const { return counters_; }

   private:
    EventQueue events_;
    TimerHeap timers_;
    AudioSettings audio_;
    WorkerContext context_{
        .events = events_, .timers = timers_, .audio = audio_, .report_interval = 0, .now = monotonic_ns()};
    WorkerCounters counters_;
    Counter dropped_;
    std::unique_ptr<PacketLoop> loop_;
};

nb::list received(TestPort& port) {
    nb::list result;
    for (const auto& [source, datagram] : std::exchange(port.received, {})) {
        result.append(nb::make_tuple(source, nb::bytes(datagram.data(), datagram.size())));
    }
    return result;
}

nb::dict counts(const TestLoop& loop) {
    const WorkerCounters& counters = loop.counters();
    nb::dict result;
    result["polls"] = counters.polls.get();
    result["packets_received"] = counters.packets_received.get();
    result["packets_sent"] = counters.packets_sent.get();
    result["send_failures"] = counters.send_failures.get();
    result["malformed"] = counters.malformed.get();
    result["kernel_drops"] = counters.kernel_drops.get();
    return result;
}

}  // namespace

void register_packet_loop(nb::module_& module) {
    nb::class_<TestPort>(module, "TestPort")
        .def(nb::init<>())
        .def_prop_ro("port", [](const TestPort& self) { return self.socket.port(); })
        .def("set_receive_buffer", [](TestPort& self, int octets) { self.socket.set_receive_buffer(octets); })
        .def("take", &received)
        .def("close", [](TestPort& self) { self.socket = UdpSocket(); });
    nb::class_<TestLoop>(module, "TestLoop")
        .def(nb::init<const std::string&, double>(), "io"_a, "gather_ms"_a = 0.0)
        .def("add", &TestLoop::add, "port"_a, "together"_a = false)
        .def("remove", &TestLoop::remove, "port"_a)
        .def("watch", &TestLoop::watch, "fd"_a, "call"_a)
        .def("unwatch", &TestLoop::unwatch, "fd"_a)
        .def("send", &TestLoop::send, "source"_a, "ip"_a, "port"_a, "datagram"_a)
        .def("flush", &TestLoop::flush)
        .def("close", &TestLoop::close)
        .def("run_once", &TestLoop::run_once, "wait_s"_a = 0.0)
        .def_prop_ro("dropped", &TestLoop::dropped)
        .def_prop_ro("counts", &counts);
    nb::class_<Gathering>(module, "Gathering")
        .def("__init__", [](Gathering* self, int64_t longest_ns) { new (self) Gathering(longest_ns); }, "longest_ns"_a)
        .def_prop_ro("wait_ns", &Gathering::wait)
        .def("served", &Gathering::served, "now"_a, "packets_in_all"_a);
    module.def("io_uring_works", &io_uring_works);
}

}  // namespace sdpserver
