// The demultiplexer: whole datagrams from several addresses reach the shared port and an RTP leg's own sockets, with the
// real legs behind them. The peers have proved themselves and hold the keys; the strangers have not and do not.
// A record: what to do, who does it, milliseconds since the last one, a datagram.

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <string>

#include "input.h"
#include "leg.h"
#include "send_batch.h"
#include "support.h"
#include "tone.h"
#include "webrtc_port.h"

using namespace sdpserver;

namespace {

constexpr std::string_view kPwd = "the password of the leg.";
constexpr std::string_view kPeerPwd = "the password of the peer";
constexpr SrtpProfile kProfile = SrtpProfile::aead_aes_128_gcm;
constexpr uint64_t kWebRtcLegs = 2;

/// An address of this process's own, so that nobody else's late packets are mistaken for ours.
std::string loopback() {
    const auto pid = static_cast<unsigned>(getpid());
    return "127.83." + std::to_string(pid >> 8 & 0xff) + "." + std::to_string(pid & 0xff);
}

/// Kept for all runs. The first two are the addresses of leg 1's peer, then two of leg 2's, then the RTP
/// leg's peer, then two strangers.
class Host {
   public:
    Host()
        : socket_(UdpSocket::bind(*SocketAddress::parse(loopback(), 0))),
          address_(*SocketAddress::parse(loopback(), socket_.port())) {}

    const SocketAddress& address() const { return address_; }
    /// Empty: nothing has come.
    std::vector<uint8_t> receive() const {
        std::vector<uint8_t> datagram(SendQueue::kSlot);
        const ssize_t octets = recv(socket_.fd(), datagram.data(), datagram.size(), MSG_DONTWAIT);
        datagram.resize(octets > 0 ? static_cast<size_t>(octets) : 0);
        return datagram;
    }

   private:
    UdpSocket socket_;
    SocketAddress address_;
};

constexpr size_t kHosts = 7;
constexpr size_t kRtpPeer = 4;
constexpr size_t kFirstStranger = 5;

/// What a stranger must not change.
struct State {
    uint64_t packets_received = 0;
    uint64_t rtcp_received = 0;
    uint64_t packets_sent = 0;
    uint64_t auth_failures = 0;
    uint64_t presses = 0;
    int64_t packets_lost = 0;
    std::optional<SocketAddress> remote;
    LegTimers timers{};

    bool operator==(const State&) const = default;

    static State of(Leg& leg) {
        const LegFigures& figures = leg.figures();
        return {.packets_received = figures.packets_received.get(), .rtcp_received = figures.rtcp_received.get(),
                .packets_sent = figures.packets_sent.get(), .auth_failures = figures.auth_failures.get(),
                .presses = figures.telephone_events_received.get(), .packets_lost = figures.packets_lost.get(),
                .remote = figures.remote_address(), .timers = leg.timers()};
    }
};

class World {
   public:
    explicit World(std::span<const Host, kHosts> hosts)
        : hosts_(hosts),
          context_{.events = events_,
                   .timers = timers_,
                   .audio = audio_,
                   .report_interval = kSecond,
                   .now = 1000 * kSecond},
          port_(*SocketAddress::parse(loopback(), 0), counters_) {
        for (uint64_t id = 1; id <= kWebRtcLegs; ++id) {
            IceAgent ice({ufrag(id), std::string(kPwd)}, {"peer", std::string(kPeerPwd)});
            legs_[id - 1] = std::make_unique<Leg>(id, std::make_shared<LegFigures>(), port_.socket(), out_, std::move(ice));
            port_.add(leg(id));
            leg(id).set_formats(formats(0), 20);
            leg(id).set_timeouts(context_, 30 * kSecond, 60 * kSecond);
            set_keys(id);
        }
        const SocketAddress any = *SocketAddress::parse(loopback(), 0);
        RtpSockets sockets{.rtp = UdpSocket::bind(any), .rtcp = UdpSocket::bind(any), .port = 0};
        legs_[2] = std::make_unique<Leg>(3, std::make_shared<LegFigures>(), std::move(sockets), out_);
        leg(3).set_formats(formats(0), 20);
        set_peer(false);
        leg(1).send_from(&leg(3).inlet());
        leg(3).send_from(&leg(1).inlet());
        leg(2).send_from(&leg(2).inlet());
    }

    ~World() {
        for (auto& one : legs_) {
            one->leave(context_);
            if (one->ice() != nullptr) port_.remove(*one);
        }
        out_.flush();
        look_at_strangers();
    }
    World(const World&) = delete;
    World& operator=(const World&) = delete;

    void pass(TimeNs time) {
        context_.now += time;
        while (const auto entry = timers_.take_due(context_.now)) {
            Leg& due = leg(entry->leg);
            if (due.timers()[static_cast<size_t>(entry->timer)] != entry->due) continue;
            if (entry->timer == Timer::ice_check) {
                port_.on_check_timer(context_, due);
            } else {
                due.on_timer(context_, entry->timer);
            }
        }
    }

    void to_port(std::vector<uint8_t> datagram, size_t from) { port_.on_datagram(context_, datagram, address(from)); }

    void to_port_from_stranger(std::vector<uint8_t> datagram, size_t from) {
        const auto before = states();
        const uint64_t refused = refusals();
        events_.take();
        to_port(std::move(datagram), from);
        fuzz::expect(states() == before, "a stranger changes no leg");
        fuzz::expect(events_.take().empty(), "a stranger raises no event");
        fuzz::expect(refusals() == refused + 1, "what a stranger sends is counted once");
    }

    void to_rtp_leg(std::vector<uint8_t> datagram, size_t from, bool rtcp) {
        leg(3).on_own_datagram(context_, rtcp ? Transport::Component::rtcp : Transport::Component::rtp, address(from),
                               datagram);
    }

    void to_rtp_leg_from_stranger(std::vector<uint8_t> datagram, size_t from, bool rtcp) {
        if (learning_) return to_rtp_leg(std::move(datagram), from, rtcp);
        const auto before = states();
        const uint64_t refused = leg(3).figures().dropped_source.get();
        to_rtp_leg(std::move(datagram), from, rtcp);
        fuzz::expect(states() == before, "a stranger changes no leg");
        fuzz::expect(leg(3).figures().dropped_source.get() == refused + 1, "what a stranger sends is counted once");
    }

    void check(uint64_t id, size_t from, ConstBytes more_attributes) {
        auto attributes = fuzz::stun_attribute(0x0006, ufrag(id) + ":peer");
        attributes.insert(attributes.end(), more_attributes.begin(), more_attributes.end());
        to_port(fuzz::sealed_stun(kStunBindingRequest, {}, attributes, kPwd), from);
    }

    /// Answers our own check if that is what has come.
    void answer(size_t from) {
        const std::vector<uint8_t> datagram = hosts_[from].receive();
        const auto message = parse_stun(datagram);
        if (!message || message->type != kStunBindingRequest) return;
        std::vector<uint8_t> reply(kMaxStunLength);
        reply.resize(write_binding_success(reply, message->transaction, port_address(), kPeerPwd));
        to_port(std::move(reply), from);
    }

    void sealed_rtp(uint64_t id, size_t from, const std::vector<uint8_t>& plain) {
        Peer& peer = *peers_[id - 1];
        const size_t header = rtp_header_length(plain);
        if (header == 0) return;
        std::vector<uint8_t> packet = plain;
        packet.resize(plain.size() + kMaxSrtpOverhead);
        const uint64_t index = peer.index.estimate(load_be16(&plain[2]));
        if (!peer.index.repeated(index)) peer.index.mark(index);
        peer.rtp.seal(packet.data(), header, plain.size(), index);
        packet.resize(plain.size() + peer.rtp.tag_length());
        packet.shrink_to_fit();
        to_port(std::move(packet), from);
    }

    void sealed_rtcp(uint64_t id, size_t from, const std::vector<uint8_t>& plain) {
        if (plain.size() < 8) return;
        std::vector<uint8_t> packet = plain;
        packet.resize(plain.size() + Srtcp::kMaxOverhead);
        packet.resize(peers_[id - 1]->rtcp.protect(packet.data(), plain.size()));
        packet.shrink_to_fit();
        to_port(std::move(packet), from);
    }

    void command(ConstBytes arguments) {
        const uint8_t what = arguments.empty() ? 0 : arguments[0];
        const uint8_t how = arguments.size() < 2 ? 0 : arguments[1];
        const uint64_t id = 1 + how % 3;
        const uint64_t other = 1 + (how >> 2) % 3;
        switch (what % 13) {
            case 0: leg(id).set_direction((how & 0x10) != 0, (how & 0x20) != 0); break;
            case 1: leg(id).set_formats(formats(how >> 2), 20); break;
            case 2: leg(id).send_from(&leg(other).inlet()); break;
            case 3: leg(id).send_from(nullptr); break;
            case 4: leg(id).send_from(context_, tone(0)); break;
            case 5: set_peer((how & 0x10) != 0); break;
            case 6:
                if (id <= kWebRtcLegs) set_keys(id);
                break;
            case 7:
                if (id <= kWebRtcLegs) port_.restart_ice(leg(id), {ufrag(id), std::string(kPwd)}, {"peer", std::string(kPeerPwd)});
                break;
            case 8: leg(id).play(context_, tone(1), "beep"); break;
            case 9: leg(id).stop_playing(context_); break;
            case 10: leg(id).inlet().add(listener_); break;
            case 11: leg(id).inlet().remove(*listener_); break;
            default: leg(id).set_timeouts(context_, how * kMillisecond, how * kMillisecond); break;
        }
    }

    void finish_round() {
        out_.flush();
        look_at_strangers();
        events_.take();
    }

   private:
    struct Peer {
        Peer()
            : rtp(kProfile, SrtpSessionKeys::derive(kProfile, fuzz::master_key(kProfile, 1)), SrtpCipher::Use::encrypt),
              rtcp(kProfile, fuzz::master_key(kProfile, 1), fuzz::master_key(kProfile, 101)) {}

        PacketIndex index;
        SrtpCipher rtp;
        Srtcp rtcp;
    };

    /// A recorder or a room would take its place.
    struct Listener final : AudioSink {
        uint32_t wanted_rate_hz() const override { return kWidebandHz; }
        void take(const AudioFrame& frame, TimeNs) override {
            fuzz::expect(frame.duration_ms() == 10 || frame.duration_ms() == 20, "a frame lasts a tick");
        }
    };

    static std::unique_ptr<AudioSource> tone(uint32_t rounds) {
        return std::make_unique<Tone>(std::array{440.0}, std::vector<uint32_t>{100, 100}, -13.0, 0.0, rounds);
    }
    static std::string ufrag(uint64_t id) { return "leg" + std::to_string(id); }
    static FormatTable formats(uint8_t variant) {
        const Format pcmu{Codec::pcmu, 8000, 0, 0};
        const Format pcma{Codec::pcma, 8000, 8, 8};
        const Format opus{Codec::opus, 48000, 111, 111};
        const Format noise{Codec::comfort_noise, 8000, 13, 13};
        const Format event_8000{Codec::telephone_event, 8000, 101, 101};
        const Format event_48000{Codec::telephone_event, 48000, 110, 110};
        switch (variant % 4) {
            case 0: return FormatTable({pcmu, pcma, event_8000, noise});
            case 1: return FormatTable({pcma, event_8000});
            case 2: return FormatTable({opus, pcmu, event_48000, event_8000});
            default: return FormatTable({opus, event_48000});
        }
    }

    Leg& leg(uint64_t id) { return *legs_[id - 1]; }
    const SocketAddress& address(size_t host) const { return hosts_[host].address(); }
    SocketAddress port_address() const { return *SocketAddress::parse(loopback(), port_.socket().port()); }

    void set_keys(uint64_t id) {
        const auto theirs = fuzz::master_key(kProfile, 1);
        const auto ours = fuzz::master_key(kProfile, 101);
        leg(id).set_keys(kProfile, ours, theirs);
        peers_[id - 1] = std::make_unique<Peer>();
    }

    void set_peer(bool learn) {
        learning_ = learning_ || learn;
        leg(3).transport().set_peer(address(kRtpPeer), address(kRtpPeer), learn);
    }

    uint64_t refusals() const {
        return counters_.malformed.get() + counters_.unknown_source.get() + counters_.stun_failures.get();
    }

    std::array<State, 3> states() { return {State::of(leg(1)), State::of(leg(2)), State::of(leg(3))}; }

    void look_at_strangers() const {
        if (learning_) return;
        for (const Host& stranger : hosts_.subspan(kFirstStranger)) {
            fuzz::expect(stranger.receive().empty(), "nothing is sent to an address that has not proved itself");
        }
    }

    std::span<const Host, kHosts> hosts_;
    WorkerCounters counters_;
    SendBatch out_{counters_};
    EventQueue events_;
    TimerHeap timers_;
    const AudioSettings audio_;
    WorkerContext context_;
    WebRtcPort port_;
    std::array<std::unique_ptr<Leg>, 3> legs_;
    std::array<std::unique_ptr<Peer>, kWebRtcLegs> peers_;
    std::shared_ptr<Listener> listener_ = std::make_shared<Listener>();
    bool learning_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const std::array<Host, kHosts> hosts;
    fuzz::start_over();
    for (const Host& host : hosts) {
        while (!host.receive().empty()) {
        }
    }
    fuzz::Input input(data, size);
    World world(hosts);
    while (!input.empty()) {
        const size_t what = input.choice(8);
        const uint8_t who = input.octet();
        world.pass(input.octet() * kMillisecond);
        const std::vector<uint8_t> datagram = input.datagram();
        const uint64_t id = 1 + who % kWebRtcLegs;
        const size_t peer = who / 2 % kRtpPeer;  // leg 2's peer may use the addresses of leg 1's
        const size_t stranger = kFirstStranger + who % (kHosts - kFirstStranger);
        switch (what) {
            case 0: world.to_port(datagram, peer); break;
            case 1: world.to_port_from_stranger(datagram, stranger); break;
            case 2: world.check(id, peer, datagram); break;
            case 3: world.answer(peer); break;
            case 4: world.sealed_rtp(id, peer, datagram); break;
            case 5: world.sealed_rtcp(id, peer, datagram); break;
            case 6:
                if ((who & 0x40) != 0) {
                    world.to_rtp_leg_from_stranger(datagram, stranger, (who & 0x80) != 0);
                } else {
                    world.to_rtp_leg(datagram, kRtpPeer, (who & 0x80) != 0);
                }
                break;
            default: world.command(datagram); break;
        }
        world.finish_round();
    }
    return 0;
}
