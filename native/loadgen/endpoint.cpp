#include "endpoint.h"

#include <arpa/inet.h>
#include <openssl/rand.h>
#include <sys/socket.h>
#include <time.h>

#include <cerrno>
#include <cstring>
#include <system_error>

namespace sdpserver::loadgen {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kCheckInterval = 100 * kMs;     // while no answer has come
constexpr int64_t kConsentInterval = 2500 * kMs;  // as Chromium does; RFC 7675 asks for 4 to 6 s
constexpr int64_t kConnectLimit = 10'000 * kMs;
constexpr int64_t kStillOnItsWay = 60 * kMs;
constexpr int64_t kSampleNs = 125'000;  // of 8 kHz
/// Endpoints that listen to what they get: decoding Opus for all would leave too little time for the load itself.
constexpr uint32_t kListeners = 8;
constexpr uint64_t kWarmUpPackets = 25;  // their delays are not counted: first packets of a call set things up
constexpr size_t kRtpHeader = 12, kStampLength = 24, kStampedPayload = 160;
constexpr uint32_t kStampMagic = 0x53445047;

int64_t clock_ns(clockid_t clock) {
    timespec now{};
    clock_gettime(clock, &now);
    return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

uint32_t random32() {
    uint32_t value = 0;
    RAND_bytes(reinterpret_cast<unsigned char*>(&value), sizeof value);
    return value;
}

std::string random_token(size_t length) {
    static constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::vector<uint8_t> octets(length);
    RAND_bytes(octets.data(), static_cast<int>(length));
    std::string token;
    for (uint8_t octet : octets) token += kAlphabet[octet & 63];
    return token;
}

sockaddr_in address(const std::string& ip, uint16_t port) {
    sockaddr_in made{};
    made.sin_family = AF_INET;
    made.sin_port = htons(port);
    if (inet_pton(AF_INET, ip.c_str(), &made.sin_addr) != 1) throw std::invalid_argument("no IPv4 address: " + ip);
    return made;
}

uint64_t load_be64(const uint8_t* from) { return static_cast<uint64_t>(load_be32(from)) << 32 | load_be32(from + 4); }
void store_be64(uint8_t* to, uint64_t value) {
    store_be32(to, static_cast<uint32_t>(value >> 32));
    store_be32(to + 4, static_cast<uint32_t>(value));
}

}  // namespace

int64_t monotonic_ns() { return clock_ns(CLOCK_MONOTONIC); }
int64_t realtime_ns() { return clock_ns(CLOCK_REALTIME); }

Endpoint::Endpoint(const EndpointOptions& options, Group& group)
    : options_(options), group_(group), socket_(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)),
      ufrag_(random_token(4)), pwd_(random_token(24)), ssrc_(random32()), timestamp_(random32()),
      sequence_(static_cast<uint16_t>(random32() & 0x7FFF)) {
    sockaddr_in local = address(options.bind_ip, 0);
    socklen_t length = sizeof local;
    const int on = 1;
    if (!socket_ || bind(fd(), reinterpret_cast<sockaddr*>(&local), sizeof local) != 0 ||
        getsockname(fd(), reinterpret_cast<sockaddr*>(&local), &length) != 0 ||
        setsockopt(fd(), SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) != 0) {
        throw std::system_error(errno, std::generic_category(), "socket");
    }
    local_port_ = ntohs(local.sin_port);
    if (!options_.stamped && stats().listeners < kListeners) {
        ++stats().listeners;
        listener_.emplace(options_.codec);
    }
}

void Endpoint::connect(const DtlsContext& context, const std::string& ip, uint16_t port,
                       const std::string& remote_ufrag, const std::string& remote_pwd,
                       const std::string& fingerprint) {
    remote_ = address(ip, port);
    stun_.emplace(ufrag_, pwd_);
    stun_->set_remote(remote_ufrag, remote_pwd);
    dtls_context_ = &context;
    peer_fingerprint_ = fingerprint;
    state_ = State::kChecking;
    started_ns_ = monotonic_ns();
    on_timer(started_ns_);
}

void Endpoint::set_remote(const std::string& ip, uint16_t port, std::optional<SrtpSession> srtp) {
    remote_ = address(ip, port);
    srtp_ = std::move(srtp);
    state_ = State::kConnected;
    if (options_.autostart) start_sending();
}

void Endpoint::close() {
    if (dtls_) dtls_->close();
    sending_ = false;
    state_ = State::kClosed;
}

void Endpoint::fail(std::string why) {
    error_ = std::move(why);
    sending_ = false;
    state_ = State::kFailed;
}

void Endpoint::send(ConstBytes datagram) {
    if (sendto(fd(), datagram.data(), datagram.size(), 0, reinterpret_cast<const sockaddr*>(&remote_),
               sizeof remote_) < 0) {
        ++stats().send_errors;
    }
}

void Endpoint::on_timer(int64_t now_ns) {
    if (!stun_ || state_ == State::kFailed || state_ == State::kClosed) return;
    const bool connected = state_ == State::kConnected;
    if (!connected && now_ns - started_ns_ > kConnectLimit) {
        return fail(state_ == State::kChecking ? "no answer to ICE checks" : "DTLS did not end");
    }
    if (now_ns >= next_check_ns_) {
        std::array<uint8_t, kMaxCheckLength> check;
        send(ConstBytes(check.data(), stun_->write_check(check)));
        next_check_ns_ = now_ns + (state_ == State::kChecking ? kCheckInterval : kConsentInterval);
    }
    if (state_ == State::kHandshaking && now_ns >= next_dtls_ns_) {
        dtls_->handle_timeout();
        on_dtls({});
    }
}

bool Endpoint::receive_one(const Endpoint* pair) {
    std::array<uint8_t, 2048> buffer;
    alignas(cmsghdr) std::array<uint8_t, 128> control;
    sockaddr_in from{};
    iovec part{buffer.data(), buffer.size()};
    msghdr message{};
    message.msg_name = &from;
    message.msg_namelen = sizeof from;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t length = recvmsg(fd(), &message, 0);
    if (length < 0) return false;
    if (length == 0 || state_ == State::kClosed) return true;
    const Bytes datagram(buffer.data(), static_cast<size_t>(length));
    if (datagram[0] < 4) {  // RFC 7983
        on_stun(datagram, from);
    } else if (datagram[0] >= 20 && datagram[0] < 64) {
        on_dtls(datagram);
    } else if (datagram[0] >= 128 && datagram[0] < 192 && datagram.size() >= kRtpHeader) {
        if (datagram[1] >= 192 && datagram[1] < 224) {  // RFC 5761 section 4
            ++stats().rtcp;
            return true;
        }
        int64_t arrived_ns = 0;
        for (cmsghdr* at = CMSG_FIRSTHDR(&message); at; at = CMSG_NXTHDR(&message, at)) {
            if (at->cmsg_level == SOL_SOCKET && at->cmsg_type == SO_TIMESTAMPNS) {
                timespec stamp{};
                std::memcpy(&stamp, CMSG_DATA(at), sizeof stamp);
                arrived_ns = stamp.tv_sec * 1'000'000'000 + stamp.tv_nsec;
            }
        }
        on_rtp(datagram, arrived_ns ? arrived_ns : realtime_ns(), pair);
    }
    return true;
}

void Endpoint::on_stun(ConstBytes datagram, const sockaddr_in& from) {
    if (!stun_) return;
    if (stun_->is_answer(datagram)) {
        if (state_ != State::kChecking) return;
        state_ = State::kHandshaking;
        next_check_ns_ = monotonic_ns() + kConsentInterval;
        dtls_ = std::make_unique<DtlsClient>(*dtls_context_, peer_fingerprint_,
                                             [this](ConstBytes out) { send(out); });
        dtls_->start();
        on_dtls({});
        return;
    }
    std::array<uint8_t, kMaxCheckLength> answer;
    if (const size_t length = stun_->write_answer(datagram, ntohl(from.sin_addr.s_addr), ntohs(from.sin_port), answer)) {
        send(ConstBytes(answer.data(), length));
    }
}

void Endpoint::on_dtls(ConstBytes datagram) {
    if (!dtls_) return;
    if (!datagram.empty()) dtls_->receive(datagram);
    if (const auto left = dtls_->timeout()) next_dtls_ns_ = monotonic_ns() + left->count();
    switch (dtls_->state()) {
        case DtlsClient::State::kConnected:
            if (state_ != State::kHandshaking) return;
            srtp_ = dtls_->srtp();
            if (!srtp_) return fail("the server chose no SRTP profile");
            state_ = State::kConnected;
            if (options_.autostart) start_sending();
            return;
        case DtlsClient::State::kFailed:
            return fail(dtls_->error());
        case DtlsClient::State::kClosed:
            sending_ = false;
            state_ = State::kClosed;
            return;
        case DtlsClient::State::kHandshaking:
            return;
    }
}

void Endpoint::on_rtp(Bytes datagram, int64_t arrived_ns, const Endpoint* pair) {
    size_t length = datagram.size();
    if (srtp_) {
        length = srtp_->unprotect(datagram);
        if (length == 0) {
            ++stats().auth_failures;
            return;
        }
    } else if (stun_) {
        return;  // SRTP before the keys are there
    }
    if (!first_rtp_ns_) first_rtp_ns_ = monotonic_ns() - std::max<int64_t>(realtime_ns() - arrived_ns, 0);
    // The servers here send no CSRC and no header extension toward us.
    const uint8_t* payload = datagram.data() + kRtpHeader;
    stats().octets += length - kRtpHeader;
    if (!options_.stamped) {
        if (!pair || arrived_ns - pair->last_sent_ns_ > kStillOnItsWay) {
            ++stats().foreign;  // what the server makes up when we have stopped
            return;
        }
        ++stats().received;
        if (!listener_) return;
        const auto begins = listener_->hear({payload, length - kRtpHeader});
        if (begins && pair->onset_sent_ns_ && pair->index_ > kWarmUpPackets) {
            stats().delay.add(arrived_ns - pair->onset_sent_ns_ + *begins * kSampleNs);
        }
        return;
    }
    if (length < kRtpHeader + kStampLength || load_be32(payload) != kStampMagic ||
        load_be32(payload + 4) != options_.pair) {
        ++stats().foreign;
        return;
    }
    count_arrival(load_be64(payload + 8), static_cast<int64_t>(load_be64(payload + 16)), arrived_ns);
}

void Endpoint::count_arrival(uint64_t index, int64_t sent_ns, int64_t arrived_ns) {
    SideStats& side = stats();
    if (index >= seen_.size()) seen_.resize(index + 256);
    if (seen_[index]) {
        ++side.duplicates;
        return;
    }
    seen_[index] = true;
    ++side.received;
    if (index < highest_seen_) ++side.reordered;
    highest_seen_ = std::max(highest_seen_, index);
    if (index >= kWarmUpPackets) side.delay.add(arrived_ns - sent_ns);
}

void Endpoint::start_sending() {
    if (sending_ || state_ != State::kConnected) return;
    const int64_t now_ns = monotonic_ns();
    if (stopped_at_ns_) {  // the RTP clock went on during the pause (RFC 3550 section 5.1)
        timestamp_ += static_cast<uint32_t>((now_ns - stopped_at_ns_) / (20 * kMs)) *
                      (info(options_.codec).clock_rate_hz / 50);
    }
    sending_ = marker_ = true;
}

void Endpoint::send_packet(int64_t due_ns) {
    std::array<uint8_t, 512> packet;
    const CodecInfo& codec = info(options_.codec);
    packet[0] = 0x80;
    packet[1] = static_cast<uint8_t>(codec.payload_type | (marker_ ? 0x80 : 0));
    store_be16(&packet[2], sequence_);
    store_be32(&packet[4], timestamp_);
    store_be32(&packet[8], ssrc_);
    const int64_t now_ns = realtime_ns();
    size_t length = kRtpHeader;
    if (options_.stamped) {
        uint8_t* stamp = &packet[kRtpHeader];
        std::memset(stamp, 0xFF, kStampedPayload);
        store_be32(stamp, kStampMagic);
        store_be32(stamp + 4, options_.id);
        store_be64(stamp + 8, index_);
        store_be64(stamp + 16, static_cast<uint64_t>(now_ns));
        length += kStampedPayload;
    } else {
        const size_t place = sequence_ % prepared_audio(options_.codec).size();
        const auto& audio = prepared_audio(options_.codec)[place];
        if (place == kOnsetPacket) onset_sent_ns_ = now_ns;
        std::memcpy(&packet[kRtpHeader], audio.data(), audio.size());
        length += audio.size();
    }
    marker_ = false;
    ++sequence_;
    timestamp_ += codec.clock_rate_hz / 50;
    if (srtp_) length = srtp_->protect(packet, length);
    if (length == 0) {
        ++stats().send_errors;
        return;
    }
    send(ConstBytes(packet.data(), length));
    ++index_;
    ++stats().sent;
    previous_sent_ns_ = std::exchange(last_sent_ns_, now_ns);
    stopped_at_ns_ = monotonic_ns();
    group_.lateness.add(stopped_at_ns_ - due_ns);
}

void Endpoint::forget_counts() {
    index_ = highest_seen_ = 0;
    last_sent_ns_ = previous_sent_ns_ = 0;
    seen_.assign(seen_.size(), false);
}

}  // namespace sdpserver::loadgen
