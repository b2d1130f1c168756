#include "engine.h"

#include <algorithm>
#include <cmath>
#include <future>
#include <stdexcept>

#include "tone.h"

namespace sdpserver {
namespace {

constexpr double kMaxGatherMs = 5.0;  // more would be heard
constexpr double kMaxTimeoutS = 30.0 * 24 * 3600;
constexpr size_t kMinPwd = 22;  // ice-char (RFC 8839 section 5.4)
constexpr size_t kMinUfrag = 4;
constexpr size_t kMaxCredential = 256;
constexpr uint32_t kMinPressMs = 40;  // ITU-T Q.24
constexpr uint32_t kMaxPressMs = 10'000;
constexpr uint8_t kMaxPressVolume = 63;

SocketAddress address_of(const std::string& ip, uint16_t port) {
    const auto address = SocketAddress::parse(ip, port);
    if (!address) throw std::invalid_argument("not an IP address: " + ip);
    return *address;
}

/// USERNAME is "theirs:ours", so a colon cannot be part of either.
IceCredentials checked(IceCredentials credentials) {
    const auto& [ufrag, pwd] = credentials;
    if (ufrag.size() < kMinUfrag || ufrag.size() > kMaxCredential || ufrag.find(':') != std::string::npos) {
        throw std::invalid_argument("an ICE ufrag has 4 to 256 characters and no colon");
    }
    if (pwd.size() < kMinPwd || pwd.size() > kMaxCredential) {
        throw std::invalid_argument("an ICE password has 22 to 256 characters");
    }
    return credentials;
}

/// The peer's may come later, by `set_remote_ice`.
IceCredentials checked_remote(IceCredentials credentials) {
    return credentials.ufrag.empty() && credentials.pwd.empty() ? credentials : checked(std::move(credentials));
}

TimeNs timeout_ns(double seconds) {
    if (!std::isfinite(seconds) || seconds < 0 || seconds > kMaxTimeoutS) {
        throw std::invalid_argument("a timeout is between 0 and 30 days");
    }
    return static_cast<TimeNs>(seconds * static_cast<double>(kSecond));
}

Io io_by_name(const std::string& name) {
    if (name == "epoll") return Io::epoll;
    if (name == "io_uring") return Io::io_uring;
    if (name == "auto") return io_uring_works() ? Io::io_uring : Io::epoll;
    throw std::invalid_argument("io is auto, epoll or io_uring");
}

ConstBytes octets(const std::string& text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }

}  // namespace

Engine::Engine(const Settings& settings) : audio_(settings.audio), io_(io_by_name(settings.io)) {
    if (settings.workers == 0) throw std::invalid_argument("at least one worker");
    const auto& [playout, encoder] = settings.audio;
    if (encoder.opus_bitrate_bps < 6000 || encoder.opus_bitrate_bps > 128'000) {
        throw std::invalid_argument("the bit rate of Opus is 6000 to 128000 bit/s");
    }
    if (encoder.opus_complexity < 0 || encoder.opus_complexity > 10) {
        throw std::invalid_argument("the complexity of Opus is 0 to 10");
    }
    if (playout.min_delay < 20 * kMillisecond || playout.max_delay < playout.min_delay ||
        playout.max_delay > 500 * kMillisecond) {
        throw std::invalid_argument("the jitter buffer is from 20 ms or more to 500 ms or less");
    }
    if (settings.webrtc_port != 0 && settings.webrtc_port + settings.workers - 1 > 0xffff) {
        throw std::invalid_argument("the ports of the workers end beyond 65535");
    }
    const auto [first, last] = settings.rtp_port_range;
    ports_ = std::make_unique<PortPool>(address_of(settings.rtp_bind, 0), first, last);
    if (!(settings.gather_ms >= 0 && settings.gather_ms <= kMaxGatherMs)) {
        throw std::invalid_argument("packets gather for 0 to 5 ms");
    }
    const auto gather = static_cast<TimeNs>(settings.gather_ms * static_cast<double>(kMillisecond));
    const PacketLoopSettings loop{.io = io_, .gather = gather};
    for (size_t i = 0; i < settings.workers; ++i) {
        const auto port = static_cast<uint16_t>(settings.webrtc_port == 0 ? 0 : settings.webrtc_port + i);
        workers_.push_back(std::make_unique<Worker>(loop, address_of(settings.webrtc_bind, port), events_, *ports_, audio_,
                                                    settings.report_interval));
    }
}

void Engine::close() {
    legs_.clear();
    rooms_.clear();
    for (const auto& worker : workers_) worker->stop();  // all of them, before one that others write to is gone
    links_.clear();
    workers_.clear();
    recordings_.clear();
    recorder_.reset();
    events_.close();
}

Worker& Engine::at(size_t worker) const {
    if (worker >= workers_.size()) throw std::invalid_argument("no such worker");
    return *workers_[worker];
}

const Engine::Entry& Engine::entry(LegId leg) const {
    const auto found = legs_.find(leg);
    if (found == legs_.end()) throw UnknownLeg("no leg " + std::to_string(leg));
    return found->second;
}

const Engine::Entry& Engine::webrtc_entry(LegId leg) const {
    const Entry& found = entry(leg);
    if (!found.webrtc) throw std::invalid_argument("not a WebRTC leg");
    return found;
}

LegId Engine::create_webrtc_leg(size_t worker, IceCredentials local, IceCredentials remote) {
    IceAgent ice(checked(std::move(local)), checked_remote(std::move(remote)));
    Worker& owner = at(worker);
    const LegId id = ++last_leg_;
    const auto figures = std::make_shared<LegFigures>();
    legs_.emplace(id, Entry{.worker = &owner, .figures = figures, .webrtc = true});
    owner.post(id, [id, figures, ice = std::move(ice)](Worker& on) { on.add_webrtc_leg(id, figures, ice); });
    return id;
}

std::pair<LegId, uint16_t> Engine::create_rtp_leg(size_t worker) {
    Worker& owner = at(worker);
    const auto sockets = std::make_shared<RtpSockets>(ports_->take());  // a std::function must be copyable
    const uint16_t port = sockets->port;
    const LegId id = ++last_leg_;
    const auto figures = std::make_shared<LegFigures>();
    legs_.emplace(id, Entry{.worker = &owner, .figures = figures, .webrtc = false});
    owner.post(id, [id, figures, sockets](Worker& on) { on.add_rtp_leg(id, figures, std::move(*sockets)); });
    return {id, port};
}

void Engine::remove_leg(LegId leg) {
    const auto found = legs_.find(leg);
    if (found == legs_.end()) return;
    if (found->second.room != 0) leave_room(found->second.room, leg);
    found->second.worker->post(leg, [leg](Worker& worker) { worker.remove_leg(leg); });
    legs_.erase(found);
}

void Engine::restart_ice(LegId leg, IceCredentials local, IceCredentials remote) {
    webrtc_entry(leg);
    post(leg, [local = checked(std::move(local)), remote = checked(std::move(remote))](Worker& worker, Leg& found) {
        worker.webrtc().restart_ice(found, local, remote);
    });
}

void Engine::set_remote_ice(LegId leg, IceCredentials remote) {
    webrtc_entry(leg);
    post(leg, [remote = checked(std::move(remote))](Worker&, Leg& found) { found.ice()->set_remote(remote); });
}

void Engine::send_dtls(LegId leg, std::string datagram) {
    webrtc_entry(leg);
    post(leg, [datagram = std::move(datagram)](Worker& worker, Leg& found) {
        worker.webrtc().send_dtls(found, octets(datagram));
    });
}

void Engine::set_srtp(LegId leg, std::string_view profile, std::string send_key, std::string receive_key) {
    entry(leg);
    const auto known = srtp_profile(profile);
    if (!known) throw std::invalid_argument("no such SRTP profile: " + std::string(profile));
    const size_t length = srtp_master_length(*known);
    if (send_key.size() != length || receive_key.size() != length) {
        throw std::invalid_argument("a master key and salt of this profile have " + std::to_string(length) + " octets");
    }
    post(leg, [profile = *known, send = std::move(send_key), receive = std::move(receive_key)](Worker&, Leg& found) {
        found.set_keys(profile, octets(send), octets(receive));
    });
}

void Engine::clear_srtp(LegId leg) {
    if (entry(leg).webrtc) throw std::invalid_argument("a WebRTC leg has no plain RTP");
    post(leg, [](Worker&, Leg& found) { found.clear_keys(); });
}

void Engine::set_rtp_remote(LegId leg, const std::string& ip, uint16_t rtp_port, uint16_t rtcp_port, bool learn) {
    if (entry(leg).webrtc) throw std::invalid_argument("not an RTP leg");
    std::optional<SocketAddress> rtp;
    std::optional<SocketAddress> rtcp;
    if (rtp_port != 0) {
        rtp = address_of(ip, rtp_port);
        if (!ports_->reaches(*rtp)) throw std::invalid_argument("an IPv6 peer, but RTP legs are on IPv4: " + ip);
        if (rtp->is_unspecified()) {
            rtp.reset();  // c=0.0.0.0: nowhere to send to (RFC 3264 section 8.4)
        } else if (rtcp_port != 0) {
            rtcp = rtp->with_port(rtcp_port);
        }
    }
    post(leg, [rtp, rtcp, learn](Worker&, Leg& found) { found.transport().set_peer(rtp, rtcp, learn); });
}

void Engine::set_codecs(LegId leg, std::vector<Format> formats, uint32_t ptime_ms) {
    if (ptime_ms < 10 || ptime_ms > 60 || ptime_ms % 10 != 0) {
        throw std::invalid_argument("ptime is 10, 20, 30, 40, 50 or 60 ms");
    }
    post(leg, [table = FormatTable(std::move(formats)), ptime_ms](Worker&, Leg& found) {
        found.set_formats(table, ptime_ms);
    });
}

void Engine::set_opus_receiver(LegId leg, const OutboundStream::OpusReceiver& receiver) {
    if (receiver.max_playback_rate_hz < 8'000 || receiver.max_playback_rate_hz > 48'000) {
        throw std::invalid_argument("Opus is played at 8000 to 48000 Hz");
    }
    if (receiver.max_average_bitrate_bps < 6'000 || receiver.max_average_bitrate_bps > 510'000) {
        throw std::invalid_argument("Opus has 6000 to 510000 bits a second");
    }
    post(leg, [receiver](Worker&, Leg& found) { found.set_opus_receiver(receiver); });
}

void Engine::set_direction(LegId leg, bool send, bool receive) {
    post(leg, [send, receive](Worker&, Leg& found) { found.set_direction(send, receive); });
}

void Engine::set_source_leg(LegId leg, LegId source) {
    entry(source);
    entry(leg).source = source;
    connect(leg, source);
}

void Engine::connect(LegId leg, LegId source) {
    Worker& here = *entry(leg).worker;
    Worker& there = *entry(source).worker;
    if (&here == &there) {
        return post(leg, [source](Worker& worker, Leg& found) {
            if (Leg* from = worker.leg(source)) found.send_from(&from->inlet());
        });
    }
    link(there, here);
    const uint64_t serial = ++last_link_;
    post(leg, [source, &there, serial](Worker& worker, Leg& found) {
        found.send_from(&worker.links().stand_in(source, there, serial));
    });
    post(source, [&here, serial](Worker& worker, Leg& found) { worker.links().feed(found, here, serial); });
}

/// A ring between two workers, once they need one.
void Engine::link(Worker& from, Worker& to) {
    if (!links_.emplace(&from, &to).second) return;
    const auto ring = std::make_shared<LinkRing>();
    to.post(0, [ring](Worker& worker) { worker.links().add_inbound(ring); });
    from.post(0, [ring, &to](Worker& worker) { worker.links().add_outbound(to, ring); });
}

void Engine::move_rtp_leg(LegId leg, size_t worker) {
    if (entry(leg).webrtc) throw std::invalid_argument("not an RTP leg");
    Worker& from = *entry(leg).worker;
    Worker& to = at(worker);
    if (&from == &to) return;
    const RoomId room = entry(leg).room;
    const Mixer::Rules rules = room == 0 ? Mixer::Rules{} : room_entry(room).seats.at(leg).rules;
    if (room != 0) leave_room(room, leg);
    // The new worker has it before anyone posts to it there, and the old one has told all that listened.
    auto moved = std::make_shared<std::promise<void>>();
    const std::future<void> done = moved->get_future();  // broken if the worker cannot: its lambda alone has the promise
    from.post(leg, [leg, &to, moved = std::move(moved)](Worker& old) {
        const auto taken = std::make_shared<std::unique_ptr<Leg>>(old.take_out(leg));
        to.post(leg, [taken](Worker& now) {
            if (*taken) now.put_in(std::move(*taken));
        });
        moved->set_value();
    });
    done.wait();
    entry(leg).worker = &to;
    for (const auto& [id, other] : legs_) {
        if (other.source != 0 && (id == leg || other.source == leg) && legs_.contains(other.source)) {
            connect(id, other.source);
        }
    }
    if (room != 0) join_room(room, leg, rules);
}

void Engine::set_source_none(LegId leg) {
    entry(leg).source = 0;
    post(leg, [](Worker&, Leg& found) { found.send_from(nullptr); });
}

void Engine::send_presses(LegId leg, const std::vector<PressOrder>& orders) {
    for (const PressOrder& order : orders) {
        if (order.event >= PressSender::kEvents) throw std::invalid_argument("a key has an event of 0 to 15");
        if (order.volume > kMaxPressVolume) throw std::invalid_argument("a volume is 0 to 63");
        if (order.duration_ms < kMinPressMs || order.duration_ms > kMaxPressMs || order.gap_ms < kMinPressMs ||
            order.gap_ms > kMaxPressMs) {
            throw std::invalid_argument("a press and the pause after it last 40 to 10000 ms");
        }
    }
    const auto count = static_cast<uint32_t>(orders.size());
    std::atomic<uint32_t>& queued = entry(leg).figures->presses_queued;
    if (queued.load(std::memory_order_relaxed) + count > PressSender::kMaxQueued) {
        throw PressQueueFull("the leg has " + std::to_string(PressSender::kMaxQueued) + " presses waiting");
    }
    queued.fetch_add(count, std::memory_order_relaxed);
    post(leg, [orders](Worker& worker, Leg& found) { found.send_presses(worker.context(), orders); });
}

void Engine::detect_inband_presses(LegId leg, bool enabled) {
    post(leg, [enabled](Worker& worker, Leg& found) { found.detect_inband_presses(worker.context(), enabled); });
}

void Engine::set_timeouts(LegId leg, double ice_timeout_s, double media_timeout_s) {
    post(leg, [ice = timeout_ns(ice_timeout_s), media = timeout_ns(media_timeout_s)](Worker& worker, Leg& found) {
        found.set_timeouts(worker.context(), ice, media);
    });
}

}  // namespace sdpserver
