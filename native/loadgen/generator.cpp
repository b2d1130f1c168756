#include "generator.h"

#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <stdexcept>
#include <system_error>

namespace sdpserver::loadgen {
namespace {

constexpr int64_t kMs = 1'000'000, kPeriod = 20 * kMs, kTimers = 10 * kMs;
// From so many streams on packets are collected once a millisecond: arrival times come from the kernel, so nothing is
// lost by it, and the generator needs half the CPU. Below, every datagram is taken at once: handshakes are timed.
constexpr size_t kBusyStreams = 40;
constexpr int64_t kReceiveInterval = 1 * kMs;
constexpr uint32_t kInput = 0;  // epoll's tag of standard input; endpoints start at 1

void tell(const Json& json) { std::printf("%s\n", json.text().c_str()); }

Codec codec_of(const std::string& name) {
    for (Codec codec : {Codec::kPcmu, Codec::kPcma, Codec::kOpus}) {
        if (info(codec).name == name) return codec;
    }
    throw std::invalid_argument("codec is PCMU, PCMA or opus, not " + name);
}

const SrtpProfile& profile_of(const std::string& name) {
    if (const SrtpProfile* found = SrtpProfile::find(name)) return *found;
    throw std::invalid_argument("unknown SRTP profile " + name);
}

Json summary(const Histogram& histogram) {
    return Json()
        .add("count", histogram.count())
        .add("mean", histogram.mean_us())
        .add("p50", histogram.quantile_us(0.5))
        .add("p99", histogram.quantile_us(0.99))
        .add("max", histogram.max_us());
}

timespec to_timespec(int64_t ns) { return {ns / 1'000'000'000, ns % 1'000'000'000}; }

}  // namespace

Generator::Generator() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    prctl(PR_SET_TIMERSLACK, 1000UL);  // ns: packets leave when they are due
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u32 = kInput;
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, STDIN_FILENO, &event) != 0) {
        throw std::system_error(errno, std::generic_category(), "standard input must be a pipe");
    }
    prepared_audio(Codec::kPcmu);  // encodes everything now, not with the first packet
}

void Generator::run() {
    tell(Json().add("event", "ready").add("pid", static_cast<int64_t>(getpid())));
    while (!done_) {
        send_due();
        const int64_t now_ns = monotonic_ns();
        if (due_.size() < kBusyStreams || now_ns >= next_receive_ns_) {
            receive();
            next_receive_ns_ = now_ns + kReceiveInterval;
        }
        if (now_ns >= next_timers_ns_) {
            run_timers();
            next_timers_ns_ = now_ns + kTimers;
        }
        if (readable_ && !read_commands()) break;
        std::fflush(stdout);
        sleep();
    }
    for (auto& [id, entry] : endpoints_) entry.endpoint->close();
}

void Generator::sleep() {
    int64_t until = next_timers_ns_;
    if (!due_.empty()) until = std::min(until, due_.top().at_ns);
    if (due_.size() >= kBusyStreams) {
        const timespec at = to_timespec(std::min(until, next_receive_ns_));
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr);
        return;
    }
    const timespec wait = to_timespec(std::max<int64_t>(until - monotonic_ns(), 0));
    epoll_event event;
    epoll_pwait2(epoll_.get(), &event, 1, &wait, nullptr);
}

void Generator::send_due() {
    const int64_t now_ns = monotonic_ns();
    while (!due_.empty() && due_.top().at_ns <= now_ns) {
        const Due next = due_.top();
        due_.pop();
        const auto found = endpoints_.find(next.id);
        if (found == endpoints_.end()) continue;
        Watched& entry = found->second;
        entry.scheduled = false;
        if (!entry.endpoint->sending()) continue;
        entry.endpoint->send_packet(next.at_ns);
        schedule(next.id, entry, next.at_ns + kPeriod);
    }
}

void Generator::schedule(uint32_t id, Watched& entry, int64_t at_ns) {
    due_.push({at_ns, id});
    entry.scheduled = true;
}

void Generator::receive() {
    std::array<epoll_event, 512> events;
    int count = 0;
    do {
        count = epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
        bool took = false;
        for (int i = 0; i < count; ++i) {
            const uint32_t id = events[static_cast<size_t>(i)].data.u32;
            if (id == kInput) {
                readable_ = true;
                continue;
            }
            const auto found = endpoints_.find(id);
            if (found == endpoints_.end()) continue;
            Watched& entry = found->second;
            const auto pair = endpoints_.find(entry.endpoint->options().pair);
            took |= entry.endpoint->receive_one(pair == endpoints_.end() ? nullptr : pair->second.endpoint.get());
            tell_changes(id, entry);
        }
        if (!took) break;
    } while (count > 0);
}

void Generator::run_timers() {
    const int64_t now_ns = monotonic_ns();
    for (auto& [id, entry] : endpoints_) {
        entry.endpoint->on_timer(now_ns);
        tell_changes(id, entry);
    }
}

void Generator::tell_changes(uint32_t id, Watched& entry) {
    const Endpoint& endpoint = *entry.endpoint;
    if (endpoint.state() != entry.told) {
        entry.told = endpoint.state();
        Json json;
        switch (endpoint.state()) {
            case Endpoint::State::kHandshaking:
                json.add("event", "ice");
                break;
            case Endpoint::State::kConnected:
                json.add("event", "connected");
                break;
            case Endpoint::State::kFailed:
                json.add("event", "failed").add("error", endpoint.error());
                break;
            case Endpoint::State::kClosed:
                json.add("event", "closed");
                break;
            default:
                json.add("event", "checking");
        }
        tell(json.add("id", id).add("at_ns", monotonic_ns()));
    }
    if (!entry.told_rtp && endpoint.first_rtp_ns()) {
        entry.told_rtp = true;
        tell(Json().add("event", "first_rtp").add("id", id).add("at_ns", endpoint.first_rtp_ns()));
    }
    if (endpoint.sending() && !entry.scheduled) schedule(id, entry, monotonic_ns());
}

bool Generator::read_commands() {
    readable_ = false;
    std::array<char, 65536> chunk;
    const ssize_t length = read(STDIN_FILENO, chunk.data(), chunk.size());
    if (length <= 0) return false;
    input_.append(chunk.data(), static_cast<size_t>(length));
    size_t at = 0;
    for (size_t end; (end = input_.find('\n', at)) != std::string::npos; at = end + 1) {
        const std::string line = input_.substr(at, end - at);
        try {
            execute(Command::parse(line));
        } catch (const std::exception& error) {
            tell(Json().add("event", "error").add("error", error.what()).add("command", line));
        }
    }
    input_.erase(0, at);
    return true;
}

void Generator::execute(const Command& command) {
    const std::string& verb = command.verb();
    if (verb == "endpoint") return add_endpoint(command);
    if (verb == "connect") return connect(command);
    if (verb == "remote") return set_remote(command);
    if (verb == "start") return start(command);
    if (verb == "stop") return stop(command);
    if (verb == "reset") return reset(command);
    if (verb == "remove") return remove(command);
    if (verb == "stats") return tell_stats(command);
    if (verb == "quit") {
        done_ = true;
        return;
    }
    throw std::invalid_argument("no such command: " + verb);
}

Generator::Watched& Generator::watched(uint32_t id) {
    const auto found = endpoints_.find(id);
    if (found == endpoints_.end()) throw std::invalid_argument("no endpoint " + std::to_string(id));
    return found->second;
}

const DtlsContext& Generator::dtls_context(const std::string& profile) {
    auto& context = dtls_contexts_[profile];
    if (!context) context = std::make_unique<DtlsContext>(profile_of(profile));
    return *context;
}

void Generator::add_endpoint(const Command& command) {
    EndpointOptions options;
    options.id = command.number("id");
    options.pair = command.number("pair", options.id);
    options.side = command.text("side") == "a" ? 0 : 1;
    options.codec = codec_of(command.text("codec", "PCMU"));
    options.stamped = command.text("payload", "stamp") == "stamp";
    options.autostart = command.number("autostart", 0) != 0;
    options.bind_ip = command.text("bind", "127.0.0.1");
    if (options.id == kInput || endpoints_.contains(options.id)) throw std::invalid_argument("id is taken");
    Watched entry;
    entry.group = command.text("group");
    entry.endpoint = std::make_unique<Endpoint>(options, groups_[entry.group]);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u32 = options.id;
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, entry.endpoint->fd(), &event) != 0) {
        throw std::system_error(errno, std::generic_category(), "epoll");
    }
    tell(Json()
             .add("reply", "endpoint")
             .add("id", options.id)
             .add("port", static_cast<uint32_t>(entry.endpoint->local_port()))
             .add("ufrag", entry.endpoint->ufrag())
             .add("pwd", entry.endpoint->pwd())
             .add("fingerprint", DtlsContext::fingerprint()));
    endpoints_.emplace(options.id, std::move(entry));
}

void Generator::connect(const Command& command) {
    const uint32_t id = command.number("id");
    Watched& entry = watched(id);
    entry.endpoint->connect(dtls_context(command.text("profile")), command.text("ip"),
                            static_cast<uint16_t>(command.number("port")), command.text("ufrag"), command.text("pwd"),
                            command.text("fingerprint"));
    tell_changes(id, entry);
}

void Generator::set_remote(const Command& command) {
    const uint32_t id = command.number("id");
    Watched& entry = watched(id);
    std::optional<SrtpSession> srtp;
    if (const std::string profile = command.text("profile", ""); !profile.empty()) {
        srtp = SrtpSession::create(profile_of(profile), command.hex("send_key"), command.hex("receive_key"));
        if (!srtp) throw std::invalid_argument("the keys do not fit the profile");
    }
    entry.endpoint->set_remote(command.text("ip"), static_cast<uint16_t>(command.number("port")), std::move(srtp));
    tell_changes(id, entry);
}

void Generator::start(const Command& command) {
    const std::string group = command.text("group");
    const bool spread = command.text("pattern") == "spread";
    const int64_t base = monotonic_ns() + kPeriod;
    // Multiples of the golden ratio: every packet has its own place in the 20 ms, whatever their number.
    constexpr double kGolden = 0.6180339887498949;
    double place = 0;
    for (auto& [id, entry] : endpoints_) {
        if (entry.group != group || entry.endpoint->state() != Endpoint::State::kConnected) continue;
        entry.endpoint->start_sending();
        place += kGolden;
        const double share = spread ? place - std::floor(place) : 0.0;
        if (!entry.scheduled) schedule(id, entry, base + static_cast<int64_t>(share * static_cast<double>(kPeriod)));
    }
}

void Generator::stop(const Command& command) {
    for (auto& [id, entry] : endpoints_) {
        if (entry.group == command.text("group")) entry.endpoint->stop_sending();
    }
}

void Generator::reset(const Command& command) {
    const std::string group = command.text("group");
    groups_[group] = Group{};
    for (auto& [id, entry] : endpoints_) {
        if (entry.group == group) entry.endpoint->forget_counts();
    }
}

void Generator::remove(const Command& command) {
    const uint32_t id = command.number("id");
    watched(id).endpoint->close();
    endpoints_.erase(id);
}

void Generator::tell_stats(const Command& command) {
    const std::string name = command.text("group");
    const Group& group = groups_[name];
    Json json;
    json.add("reply", "stats").add("group", name);
    for (size_t side = 0; side < 2; ++side) {
        const SideStats& stats = group.sides[side];
        json.add(side == 0 ? "a" : "b", Json()
                                            .add("sent", stats.sent)
                                            .add("received", stats.received)
                                            .add("octets", stats.octets)
                                            .add("duplicates", stats.duplicates)
                                            .add("reordered", stats.reordered)
                                            .add("foreign", stats.foreign)
                                            .add("auth_failures", stats.auth_failures)
                                            .add("rtcp", stats.rtcp)
                                            .add("send_errors", stats.send_errors)
                                            .add("delay_us", summary(stats.delay)));
    }
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& time) {
        return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    };
    tell(json.add("late_us", summary(group.lateness)).add("cpu_s", seconds(usage.ru_utime) + seconds(usage.ru_stime)));
}

}  // namespace sdpserver::loadgen
