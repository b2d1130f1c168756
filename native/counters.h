#pragma once
// Figures that one worker writes and anyone may read at any time without stopping it.

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>

#include "socket_address.h"
#include "voip_metrics.h"

namespace sdpserver {

/// Written by one thread only, so that counting is a plain load and store.
template <typename T>
class Figure {
   public:
    void set(T value) { value_.store(value, std::memory_order_relaxed); }
    T get() const { return value_.load(std::memory_order_relaxed); }
    void add(T value) { set(static_cast<T>(get() + value)); }

   private:
    std::atomic<T> value_{};
};

using Counter = Figure<uint64_t>;

enum class Codec : uint8_t { none, pcmu, pcma, g722, opus, comfort_noise, telephone_event, red };
enum class Conversion : uint8_t { none, relay, convert, transcode };

/// What `LegStats` in _media.pyi documents.
struct LegFigures {
    Counter packets_received, octets_received, packets_sent, octets_sent;
    Figure<int64_t> packets_lost, packets_unseen, remote_packets_lost;
    Counter loss_runs, loss_runs_lost, bursts, burst_packets, burst_packets_lost;
    Figure<double> jitter_ms, remote_jitter_ms, packet_ms;
    Figure<double> remote_fraction_lost;  // in the last interval
    Figure<double> expected_loss;         // the same, smoothed: what an encoder should be prepared for
    Figure<double> round_trip_ms;         // -1: unknown
    Counter reports_received;             // on what we send
    Figure<double> playout_delay_ms, concealed_ms;
    Counter packets_late, packets_recovered;
    Figure<Codec> codec_received, codec_sent;
    Figure<Conversion> conversion;
    Counter auth_failures, replayed, dropped_source, dropped_malformed, dropped_payload_type, dropped_direction;
    Counter auth_failures_in_a_row;  // of RTP
    Counter dropped_conversion, dropped_send, rtcp_received, rtcp_sent;
    Counter telephone_events_received, telephone_events_sent;
    Figure<int64_t> last_heard{};         // RTP or RTCP, monotonic ns; 0: never
    Figure<int64_t> last_sent{};          // RTP
    std::atomic<uint32_t> presses_queued{0};  // by the engine, until the worker has sent them

    LegFigures() { round_trip_ms.set(-1.0); }

    /// Changes a few times in a leg's life, hence a lock.
    void set_remote_address(const SocketAddress& address) {
        const std::lock_guard lock(mutex_);
        remote_address_ = address;
    }
    std::optional<SocketAddress> remote_address() const {
        const std::lock_guard lock(mutex_);
        return remote_address_;
    }

    /// From the peer's extended reports, if it sends any.
    void set_voip_metrics(const VoipMetrics& metrics) {
        const std::lock_guard lock(mutex_);
        voip_metrics_ = metrics;
    }
    std::optional<VoipMetrics> voip_metrics() const {
        const std::lock_guard lock(mutex_);
        return voip_metrics_;
    }

   private:
    mutable std::mutex mutex_;
    std::optional<SocketAddress> remote_address_;
    std::optional<VoipMetrics> voip_metrics_;
};

struct WorkerCounters {
    Counter polls, receive_calls, packets_received, send_calls, packets_sent, send_failures;
    Counter stun, stun_failures, dtls, dtls_dropped, unknown_source, malformed, kernel_drops, paced_polls;
    Counter legs, timers;
};

}  // namespace sdpserver
