#include "epoll_loop.h"

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace sdpserver {
namespace {

constexpr int kMaxRounds = 32;  // without sending in between

}  // namespace

EpollLoop::EpollLoop(TimeNs gather, WorkerContext& context, WorkerCounters& counters)
    : context_(context),
      counters_(counters),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      shared_out_(counters),
      own_out_(counters),
      buffer_(kMaxDatagram),
      floor_(gather) {
    if (!epoll_) throw std::system_error(errno, std::generic_category(), "epoll_create1");
}

void EpollLoop::add(int fd, Watched watched) {
    const auto [place, added] = watched_.insert_or_assign(fd, std::move(watched));
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = &place->second;
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
        const int error = errno;
        watched_.erase(place);
        throw std::system_error(error, std::generic_category(), "epoll_ctl");
    }
}

void EpollLoop::add(const UdpSocket& socket, DatagramSink& sink, Arrival arrival) {
    if (arrival == Arrival::together) socket.report_drops();
    const uint32_t drops = socket.drops();
    add(socket.fd(), Watched{.socket = &socket, .sink = &sink, .arrival = arrival, .drops = drops, .readable = {}});
}

void EpollLoop::watch(int fd, std::function<void()> readable) {
    add(fd, Watched{.socket = nullptr, .sink = nullptr, .arrival = {}, .drops = 0, .readable = std::move(readable)});
}

void EpollLoop::remove(const UdpSocket& socket) {
    flush();
    forget(socket.fd());
}

/// Closing alone would not do while a child that is being started still has the descriptor: epoll would go on to hand
/// out what is gone. Nor must the rest of this round.
void EpollLoop::forget(int fd) {
    const auto found = watched_.find(fd);
    if (found == watched_.end()) return;
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
    for (epoll_event& event : std::span(ready_).first(ready_count_)) {
        if (event.data.ptr == &found->second) event.data.ptr = nullptr;
    }
    watched_.erase(found);
}

void EpollLoop::flush() {
    shared_out_.flush();
    own_out_.flush();
}

/// To the microsecond: a tone's packets keep to their 20 ms.
void EpollLoop::poll(TimeNs wait) {
    counters_.polls.add(1);
    const auto room = static_cast<int>(ready_.size());
    int count = -1;
    if (precise_) {
        const timespec timeout{.tv_sec = wait / kSecond, .tv_nsec = wait % kSecond};
        count = epoll_pwait2(epoll_.get(), ready_.data(), room, &timeout, nullptr);
        precise_ = count >= 0 || errno != ENOSYS;  // a kernel before 5.11, or a sandbox that lags behind
    }
    if (!precise_) {
        const auto wait_ms = static_cast<int>((wait + kMillisecond - 1) / kMillisecond);
        count = epoll_wait(epoll_.get(), ready_.data(), room, wait_ms);
    }
    context_.now = monotonic_ns();
    ready_count_ = static_cast<size_t>(std::max(count, 0));
}

void EpollLoop::serve() {
    // Null: removed meanwhile.
    const auto next = [this](size_t i) { return static_cast<Watched*>(ready_[i].data.ptr); };
    for (size_t i = 0; i < ready_count_; ++i) {
        if (Watched* watched = next(i); watched != nullptr && watched->socket == nullptr) watched->readable();
    }
    for (size_t i = 0; i < ready_count_; ++i) {
        Watched* watched = next(i);
        if (watched == nullptr || watched->socket == nullptr) continue;
        if (watched->arrival == Arrival::together) {
            receive_batch(*watched);
        } else {
            receive_one(*watched);
        }
    }
}

void EpollLoop::run_once(TimeNs until) {
    flush();
    floor_.wait();
    poll(std::max(until - monotonic_ns(), TimeNs{0}));
    serve();
    // Before a pause everything is taken: a burst on one RTP leg would otherwise wait a pause for each packet.
    for (int i = 0; floor_.engaged() && ready_count_ > 0 && i < kMaxRounds; ++i) {
        poll(0);
        serve();
    }
    ready_count_ = 0;
    floor_.polled(context_.now, counters_.packets_received.get());
    if (floor_.engaged()) counters_.paced_polls.add(1);
}

/// There rarely is a second one, and looking for it costs more than half of taking it.
void EpollLoop::receive_one(const Watched& watched) {
    sockaddr_storage source{};
    socklen_t length = sizeof source;
    const ssize_t octets = recvfrom(watched.socket->fd(), buffer_.data(), buffer_.size(), MSG_TRUNC,
                                    reinterpret_cast<sockaddr*>(&source), &length);
    counters_.receive_calls.add(1);
    if (octets < 0) return;  // taken back, or an ICMP error of an earlier send
    counters_.packets_received.add(1);
    if (static_cast<size_t>(octets) > buffer_.size()) return counters_.malformed.add(1);
    watched.sink->on_datagram(context_, Bytes(buffer_).first(static_cast<size_t>(octets)), SocketAddress::from(source));
}

void EpollLoop::receive_batch(Watched& watched) {
    const size_t count = batch_.receive(*watched.socket);
    counters_.receive_calls.add(1);
    counters_.packets_received.add(count);
    if (const auto drops = batch_.drops()) {
        counters_.kernel_drops.add(*drops - watched.drops);
        watched.drops = *drops;
    }
    for (size_t i = 0; i < count; ++i) {
        if (batch_.cut(i)) {
            counters_.malformed.add(1);
        } else {
            watched.sink->on_datagram(context_, batch_.datagram(i), batch_.source(i));
        }
    }
}

}  // namespace sdpserver
