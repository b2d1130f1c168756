#pragma once
// One party of a call with a UDP socket of its own: a WebRTC client, an SRTP phone with keys from SDES, or an RTP phone.

#include <netinet/in.h>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "audio.h"
#include "bytes.h"
#include "dtls_client.h"
#include "file_descriptor.h"
#include "histogram.h"
#include "onset.h"
#include "srtp_session.h"
#include "stun_client.h"

namespace sdpserver::loadgen {

int64_t monotonic_ns();
int64_t realtime_ns();

/// What one side of a group of calls sent and received since the last reset.
struct SideStats {
    uint64_t sent = 0, received = 0, octets = 0, duplicates = 0, reordered = 0;
    uint64_t foreign = 0;  // RTP that none of our endpoints sent: tones of the server, say
    uint64_t auth_failures = 0, rtcp = 0, send_errors = 0;
    uint32_t listeners = 0;  // endpoints that listen to their audio, for its delay
    Histogram delay;
};

/// Both sides of a group. Side A is the one with SRTP, side B the plain one.
struct Group {
    std::array<SideStats, 2> sides;
    Histogram lateness;  // how long after its due time a packet left
};

struct EndpointOptions {
    uint32_t id = 0;
    uint32_t pair = 0;  // who receives what this one sends; itself: echo
    int side = 0;
    Codec codec = Codec::kPcmu;
    bool stamped = true;  // payload is a time stamp, which a relay hands through; otherwise audio
    bool autostart = false;  // send as soon as connected
    std::string bind_ip = "127.0.0.1";
};

class Endpoint {
   public:
    enum class State { kIdle, kChecking, kHandshaking, kConnected, kFailed, kClosed };

    Endpoint(const EndpointOptions& options, Group& group);
    Endpoint(const Endpoint&) = delete;

    const EndpointOptions& options() const { return options_; }
    int fd() const { return socket_.get(); }
    uint16_t local_port() const { return local_port_; }
    State state() const { return state_; }
    const std::string& error() const { return error_; }
    const std::string& ufrag() const { return ufrag_; }
    const std::string& pwd() const { return pwd_; }
    int64_t first_rtp_ns() const { return first_rtp_ns_; }  // monotonic, 0: none yet

    /// ICE, then DTLS, then SRTP by the context's profile.
    void connect(const DtlsContext& context, const std::string& ip, uint16_t port, const std::string& remote_ufrag,
                 const std::string& remote_pwd, const std::string& fingerprint);
    /// Connected at once: plain RTP, or SRTP when a session is given.
    void set_remote(const std::string& ip, uint16_t port, std::optional<SrtpSession> srtp);
    /// Retransmissions and consent. To be called every 10 ms or so.
    void on_timer(int64_t now_ns);
    /// Takes one datagram if there is one. False: there was none.
    bool receive_one(const Endpoint* pair);
    /// Sends close_notify.
    void close();

    bool sending() const { return sending_; }
    void start_sending();
    void stop_sending() { sending_ = false; }
    /// One packet, which was due at `due_ns`.
    void send_packet(int64_t due_ns);
    void forget_counts();

   private:
    void fail(std::string why);
    void send(ConstBytes datagram);
    void on_stun(ConstBytes datagram, const sockaddr_in& from);
    void on_dtls(ConstBytes datagram);
    void on_rtp(Bytes datagram, int64_t arrived_ns, const Endpoint* pair);
    void count_arrival(uint64_t index, int64_t sent_ns, int64_t arrived_ns);
    SideStats& stats() { return group_.sides[static_cast<size_t>(options_.side)]; }

    EndpointOptions options_;
    Group& group_;
    FileDescriptor socket_;
    uint16_t local_port_ = 0;
    sockaddr_in remote_{};
    State state_ = State::kIdle;
    std::string error_, ufrag_, pwd_, peer_fingerprint_;
    std::optional<StunClient> stun_;
    const DtlsContext* dtls_context_ = nullptr;
    std::unique_ptr<DtlsClient> dtls_;
    std::optional<SrtpSession> srtp_;
    int64_t started_ns_ = 0, next_check_ns_ = 0, next_dtls_ns_ = 0, first_rtp_ns_ = 0;

    bool sending_ = false, marker_ = true;
    uint32_t ssrc_ = 0, timestamp_ = 0;
    uint16_t sequence_ = 0;
    uint64_t index_ = 0;  // packets sent since the counts were forgotten
    int64_t last_sent_ns_ = 0, previous_sent_ns_ = 0, stopped_at_ns_ = 0;
    int64_t onset_sent_ns_ = 0;
    std::optional<OnsetListener> listener_;
    std::vector<bool> seen_;
    uint64_t highest_seen_ = 0;
};

}  // namespace sdpserver::loadgen
