#include "engine.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace sdpserver {
namespace {

constexpr double kMaxTimeoutS = 30.0 * 24 * 3600;
constexpr size_t kMinPwd = 22;  // ice-char (RFC 8839 section 5.4)
constexpr size_t kMinUfrag = 4;
constexpr size_t kMaxCredential = 256;

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

ConstBytes octets(const std::string& text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }

}  // namespace

Engine::Engine(const Settings& settings) {
    if (settings.workers == 0) throw std::invalid_argument("at least one worker");
    if (settings.webrtc_port != 0 && settings.webrtc_port + settings.workers - 1 > 0xffff) {
        throw std::invalid_argument("the ports of the workers end beyond 65535");
    }
    const auto [first, last] = settings.rtp_port_range;
    ports_ = std::make_unique<PortPool>(address_of(settings.rtp_bind, 0), first, last);
    for (size_t i = 0; i < settings.workers; ++i) {
        const auto port = static_cast<uint16_t>(settings.webrtc_port == 0 ? 0 : settings.webrtc_port + i);
        workers_.push_back(std::make_unique<Worker>(address_of(settings.webrtc_bind, port), events_, *ports_,
                                                    settings.report_interval));
    }
}

void Engine::close() {
    legs_.clear();
    workers_.clear();
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

template <typename Change>
void Engine::post(LegId leg, Change change) {
    entry(leg).worker->post(leg, [leg, change = std::move(change)](Worker& worker) {
        if (Leg* found = worker.leg(leg)) change(worker, *found);
    });
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

void Engine::set_direction(LegId leg, bool send, bool receive) {
    post(leg, [send, receive](Worker&, Leg& found) { found.set_direction(send, receive); });
}

void Engine::set_source_leg(LegId leg, LegId source) {
    if (entry(leg).worker != entry(source).worker) throw std::invalid_argument("the legs are on different workers");
    post(leg, [source](Worker& worker, Leg& found) {
        if (Leg* from = worker.leg(source)) found.send_from(*from);
    });
}

void Engine::set_source_tone(LegId leg, std::span<const double> frequencies_hz, std::vector<uint32_t> cadence_ms,
                             double level_dbm0) {
    post(leg, [tone = Tone(frequencies_hz, std::move(cadence_ms), level_dbm0)](Worker& worker, Leg& found) {
        found.send_tone(worker.context(), tone);
    });
}

void Engine::set_source_none(LegId leg) {
    post(leg, [](Worker&, Leg& found) { found.send_nothing(); });
}

void Engine::set_timeouts(LegId leg, double ice_timeout_s, double media_timeout_s) {
    post(leg, [ice = timeout_ns(ice_timeout_s), media = timeout_ns(media_timeout_s)](Worker& worker, Leg& found) {
        found.set_timeouts(worker.context(), ice, media);
    });
}

}  // namespace sdpserver
