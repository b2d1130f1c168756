#include "worker.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

#include <algorithm>
#include <exception>

namespace sdpserver {
namespace {

constexpr TimeNs kIdle = kSecond;
constexpr unsigned long kTimerSlackNs = 1'000;  // the default of 50 us would come on top of the poll floor

}  // namespace

Worker::Worker(const PacketLoopSettings& settings, const SocketAddress& webrtc_address, EventQueue& events,
               PortPool& ports, const AudioSettings& audio, TimeNs report_interval)
    : context_{.events = events,
               .timers = timers_,
               .audio = audio,
               .report_interval = report_interval,
               .now = monotonic_ns()},
      ports_(ports),
      webrtc_(webrtc_address, counters_),
      wake_(make_eventfd()),
      loop_settings_(settings) {
    // Signals are for the thread of Python that waits for them.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    std::promise<void> ready;
    std::future<void> started = ready.get_future();
    thread_ = std::thread([this, ready = std::move(ready)]() mutable { run(std::move(ready)); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    try {
        started.get();
    } catch (...) {
        thread_.join();
        throw;
    }
}

Worker::~Worker() { stop(); }

void Worker::stop() {
    stopping_ = true;
    wake();
    if (thread_.joinable()) thread_.join();
}

void Worker::post(LegId leg, Command command) {
    const std::lock_guard lock(mutex_);
    if (commands_.empty()) wake();
    commands_.emplace_back(leg, std::move(command));
}

Leg* Worker::leg(LegId id) {
    const auto found = legs_.find(id);
    return found == legs_.end() ? nullptr : found->second.leg.get();
}

void Worker::add_webrtc_leg(LegId id, std::shared_ptr<LegFigures> figures, IceAgent ice) {
    auto leg = std::make_unique<Leg>(id, std::move(figures), webrtc_.socket(),
                                     loop_->out(PacketLoop::Arrival::together), std::move(ice));
    webrtc_.add(*leg);
    legs_[id].leg = std::move(leg);
    counters_.legs.set(legs_.size());
}

Inlet* Worker::inlet(LegId id) {
    Leg* own = leg(id);
    return own != nullptr ? &own->inlet() : links_.find(id);
}

void Worker::add_rtp_leg(LegId id, std::shared_ptr<LegFigures> figures, RtpSockets sockets) {
    SendQueue& out = loop_->out(PacketLoop::Arrival::singly);
    add_rtp_leg(std::make_unique<Leg>(id, std::move(figures), std::move(sockets), out));
}

void Worker::add_rtp_leg(std::unique_ptr<Leg> leg) {
    Entry& entry = legs_[leg->id()];  // entries stay where they are, so the loop may point into them
    entry.leg = std::move(leg);
    entry.rtp.leg = entry.rtcp.leg = entry.leg.get();
    entry.rtp.component = Transport::Component::rtp;
    entry.rtcp.component = Transport::Component::rtcp;
    loop_->add(entry.leg->transport().sockets().rtp, entry.rtp, PacketLoop::Arrival::singly);
    loop_->add(entry.leg->transport().sockets().rtcp, entry.rtcp, PacketLoop::Arrival::singly);
    counters_.legs.set(legs_.size());
}

void Worker::remove_leg(LegId id) {
    const auto found = legs_.find(id);
    if (found == legs_.end()) return;
    Leg& leg = *found->second.leg;
    if (leg.ice() != nullptr) {
        webrtc_.remove(leg);
    } else {
        loop_->remove(leg.transport().sockets().rtp);
        loop_->remove(leg.transport().sockets().rtcp);
    }
    leg.leave(context_);
    loop_->flush();  // what is queued points at the leg's socket and figures
    if (leg.ice() == nullptr) ports_.give_back(leg.transport().release_sockets());
    legs_.erase(found);
    counters_.legs.set(legs_.size());
}

Room* Worker::room(RoomId id) {
    const auto found = rooms_.find(id);
    return found == rooms_.end() ? nullptr : found->second.get();
}

std::unique_ptr<Leg> Worker::take_out(LegId id) {
    const auto found = legs_.find(id);
    if (found == legs_.end()) return nullptr;
    std::unique_ptr<Leg> leg = std::move(found->second.leg);
    loop_->remove(leg->transport().sockets().rtp);  // which may hand out the last that came
    loop_->remove(leg->transport().sockets().rtcp);
    leg->prepare_move();
    legs_.erase(found);
    counters_.legs.set(legs_.size());
    return leg;
}

void Worker::put_in(std::unique_ptr<Leg> leg) {
    Leg& moved = *leg;
    links_.drop(moved.id());  // it is no other worker's any more
    add_rtp_leg(std::move(leg));
    moved.settle_move(context_, loop_->out(PacketLoop::Arrival::singly));
}

TimeNs Worker::next_timer() const {
    const TimeNs latest = monotonic_ns() + kIdle;
    return std::min(timers_.next().value_or(latest), latest);
}

void Worker::run(std::promise<void> ready) {
    pthread_setname_np(pthread_self(), "media");
    prctl(PR_SET_TIMERSLACK, kTimerSlackNs);
    try {
        loop_ = make_packet_loop(loop_settings_, context_, counters_);
        loop_->watch(wake_.get(), [this] { run_commands(); });
        loop_->add(webrtc_.socket(), webrtc_, PacketLoop::Arrival::together);
        ready.set_value();
    } catch (...) {
        return ready.set_exception(std::current_exception());
    }
    serve();
    loop_->remove(webrtc_.socket());
    loop_->unwatch(wake_.get());
    loop_.reset();
}

void Worker::serve() {
    while (!stopping_) {
        loop_->run_once(next_timer());
        run_timers();
        links_.wake();
    }
    run_commands();  // legs handed over by the last commands must not be lost with their sockets
    rooms_.clear();
    while (!legs_.empty()) remove_leg(legs_.begin()->first);
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
    links_.receive(context_, [this](LegId id) { return leg(id); });
    links_.tidy();
}

void Worker::run_timers() {
    while (const auto entry = timers_.take_due(context_.now)) {
        Leg* due = leg(entry->leg);
        LegTimers* timers = due != nullptr ? &due->timers() : links_.timers(entry->leg);
        Room* timed = timers != nullptr ? nullptr : room(entry->leg);
        if (timed != nullptr) timers = &timed->timers();
        if (timers == nullptr || (*timers)[static_cast<size_t>(entry->timer)] != entry->due) continue;  // stale
        if (timed != nullptr) {
            timed->on_timer();
        } else if (due == nullptr) {
            links_.find(entry->leg)->on_timer(context_);
        } else if (entry->timer == Timer::ice_check) {
            webrtc_.on_check_timer(context_, *due);
        } else {
            due->on_timer(context_, entry->timer);
        }
    }
    counters_.timers.set(timers_.size());
}

}  // namespace sdpserver
