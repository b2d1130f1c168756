#include "worker.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <exception>
#include <limits>
#include <span>
#include <system_error>

namespace sdpserver {
namespace {

constexpr TimeNs kIdle = kSecond;
constexpr TimeNs kForever = std::numeric_limits<TimeNs>::max();
constexpr int kMaxRounds = 32;  // without sending in between
constexpr unsigned long kTimerSlackNs = 1'000;  // the default of 50 us would come on top of the poll floor

}  // namespace

Worker::Worker(const SocketAddress& webrtc_address, EventQueue& events, PortPool& ports, TimeNs report_interval)
    : webrtc_out_(counters_),
      rtp_out_(counters_),
      context_{.events = events, .timers = timers_, .report_interval = report_interval, .now = monotonic_ns()},
      ports_(ports),
      webrtc_(webrtc_address, counters_),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      wake_(make_eventfd()),
      buffer_(kMaxDatagram) {
    if (!epoll_) throw std::system_error(errno, std::generic_category(), "epoll_create1");
    watch(wake_.get(), watched_wake_);
    watch(webrtc_.socket().fd(), watched_webrtc_);
    // Signals are for the thread of Python that waits for them.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] { run(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Worker::~Worker() {
    stopping_ = true;
    raise_eventfd(wake_);
    thread_.join();
}

void Worker::post(LegId leg, Command command) {
    const std::lock_guard lock(mutex_);
    if (commands_.empty()) raise_eventfd(wake_);
    commands_.emplace_back(leg, std::move(command));
}

void Worker::watch(int fd, Watched& watched) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = &watched;
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
        throw std::system_error(errno, std::generic_category(), "epoll_ctl");
    }
}

/// Closing alone would not do while a child that is being started still has the descriptor: epoll would go on to hand out
/// a leg that is gone.
void Worker::unwatch(const UdpSocket& socket) { epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, socket.fd(), nullptr); }

Leg* Worker::leg(LegId id) {
    const auto found = legs_.find(id);
    return found == legs_.end() ? nullptr : found->second.leg.get();
}

void Worker::add_webrtc_leg(LegId id, std::shared_ptr<LegFigures> figures, IceAgent ice) {
    auto leg = std::make_unique<Leg>(id, std::move(figures), webrtc_.socket(), webrtc_out_, std::move(ice));
    webrtc_.add(*leg);
    legs_[id].leg = std::move(leg);
    counters_.legs.set(legs_.size());
}

void Worker::add_rtp_leg(LegId id, std::shared_ptr<LegFigures> figures, RtpSockets sockets) {
    Entry& entry = legs_[id];  // entries stay where they are, so epoll may point into them
    entry.leg = std::make_unique<Leg>(id, std::move(figures), std::move(sockets), rtp_out_);
    entry.rtp = {Watched::What::rtp, entry.leg.get()};
    entry.rtcp = {Watched::What::rtcp, entry.leg.get()};
    watch(entry.leg->transport().sockets().rtp.fd(), entry.rtp);
    watch(entry.leg->transport().sockets().rtcp.fd(), entry.rtcp);
    counters_.legs.set(legs_.size());
}

void Worker::remove_leg(LegId id) {
    const auto found = legs_.find(id);
    if (found == legs_.end()) return;
    Leg& leg = *found->second.leg;
    leg.leave(context_);
    flush();  // what is queued points at the leg's socket and figures
    if (leg.ice() != nullptr) {
        webrtc_.remove(leg);
    } else {
        unwatch(leg.transport().sockets().rtp);
        unwatch(leg.transport().sockets().rtcp);
        ports_.give_back(leg.transport().release_sockets());
    }
    legs_.erase(found);
    counters_.legs.set(legs_.size());
}

/// Until something is ready or `wait` is over, to the microsecond: a tone's packets keep to their 20 ms.
std::span<epoll_event> Worker::poll(TimeNs wait) {
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
    return std::span(ready_).first(static_cast<size_t>(std::max(count, 0)));
}

TimeNs Worker::until_next_timer() const {
    return std::clamp(timers_.next().value_or(kForever) - monotonic_ns(), TimeNs{0}, kIdle);
}

void Worker::serve(std::span<const epoll_event> reported) {
    // First, so that a leg exists before the packets that came for it after; and alone, since commands may remove a leg
    // that the rest of `reported` points at. What is left waiting is reported again by the next poll.
    const bool commanded =
        std::ranges::any_of(reported, [this](const epoll_event& event) { return event.data.ptr == &watched_wake_; });
    if (commanded) return run_commands();
    for (const epoll_event& event : reported) {
        const Watched& watched = *static_cast<const Watched*>(event.data.ptr);
        switch (watched.what) {
            case Watched::What::commands: break;
            case Watched::What::webrtc: webrtc_.receive(context_); break;
            case Watched::What::rtp: receive(*watched.leg, Transport::Component::rtp); break;
            case Watched::What::rtcp: receive(*watched.leg, Transport::Component::rtcp); break;
        }
    }
}

void Worker::run() {
    pthread_setname_np(pthread_self(), "media");
    prctl(PR_SET_TIMERSLACK, kTimerSlackNs);
    while (!stopping_) {
        floor_.wait();
        auto reported = poll(until_next_timer());
        serve(reported);
        // Before a pause everything is taken: a burst on one RTP leg would otherwise wait a pause for each packet.
        for (int i = 0; floor_.engaged() && !reported.empty() && i < kMaxRounds; ++i) {
            reported = poll(0);
            serve(reported);
        }
        run_timers();
        flush();
        floor_.polled(context_.now, counters_.packets_received.get());
        if (floor_.engaged()) counters_.paced_polls.add(1);
    }
    run_commands();  // legs handed over by the last commands must not be lost with their sockets
    while (!legs_.empty()) remove_leg(legs_.begin()->first);
}

void Worker::receive(Leg& leg, Transport::Component component) {
    const RtpSockets& sockets = leg.transport().sockets();
    const UdpSocket& socket = component == Transport::Component::rtp ? sockets.rtp : sockets.rtcp;
    sockaddr_storage native{};
    socklen_t length = sizeof native;
    // One at a time: there rarely is a second one, and looking for it costs more than half of taking it.
    const ssize_t octets = recvfrom(socket.fd(), buffer_.data(), buffer_.size(), MSG_TRUNC,
                                    reinterpret_cast<sockaddr*>(&native), &length);
    counters_.receive_calls.add(1);
    if (octets < 0) return;  // taken back, or an ICMP error of an earlier send
    counters_.packets_received.add(1);
    if (static_cast<size_t>(octets) > buffer_.size()) return counters_.malformed.add(1);
    leg.on_own_datagram(context_, component, SocketAddress::from(native),
                        Bytes(buffer_).first(static_cast<size_t>(octets)));
}

void Worker::run_commands() {
    clear_eventfd(wake_);
    std::vector<std::pair<LegId, Command>> commands;
    {
        const std::lock_guard lock(mutex_);
        commands.swap(commands_);
    }
    for (const auto& [leg, command] : commands) {
        try {
            command(*this);
        } catch (const std::exception& error) {  // no memory, no descriptor, refused keys: this leg's end, and no other's
            context_.events.push({EventKind::failed, leg, monotonic_ns(), error.what()});
            remove_leg(leg);
        }
    }
}

void Worker::run_timers() {
    while (const auto entry = timers_.take_due(context_.now)) {
        Leg* due = leg(entry->leg);
        if (due == nullptr || due->timers()[static_cast<size_t>(entry->timer)] != entry->due) continue;  // stale
        if (entry->timer == Timer::ice_check) {
            webrtc_.on_check_timer(context_, *due);
        } else {
            due->on_timer(context_, entry->timer);
        }
    }
    counters_.timers.set(timers_.size());
}

void Worker::flush() {
    webrtc_out_.flush();
    rtp_out_.flush();
}

}  // namespace sdpserver
