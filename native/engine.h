#pragma once
// The media plane as Python has it: workers, the legs they own, and the events they raise.
// Called by one thread at a time (Python's, under the GIL); values are checked here, before a worker gets them.

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "codec.h"
#include "counters.h"
#include "event_queue.h"
#include "ice.h"
#include "port_pool.h"
#include "worker.h"

namespace sdpserver {

/// No leg has this id, or none any more.
class UnknownLeg : public std::out_of_range {
    using std::out_of_range::out_of_range;
};

class Engine {
   public:
    struct Settings {
        size_t workers = 1;
        std::string webrtc_bind;
        uint16_t webrtc_port = 0;
        std::string rtp_bind;
        std::pair<uint16_t, uint16_t> rtp_port_range;
        TimeNs report_interval = 5 * kSecond;
    };

    /// Throws std::invalid_argument and std::system_error.
    explicit Engine(const Settings& settings);
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    int event_fd() const { return events_.fd(); }
    std::vector<Event> drain() { return events_.take(); }
    size_t workers() const { return workers_.size(); }
    uint16_t webrtc_port(size_t worker) const { return at(worker).webrtc_port(); }
    const WorkerCounters& counters(size_t worker) const { return at(worker).counters(); }
    void close();

    LegId create_webrtc_leg(size_t worker, IceCredentials local, IceCredentials remote);
    std::pair<LegId, uint16_t> create_rtp_leg(size_t worker);
    void remove_leg(LegId leg);

    void restart_ice(LegId leg, IceCredentials local, IceCredentials remote);
    void set_remote_ice(LegId leg, IceCredentials remote);
    void send_dtls(LegId leg, std::string datagram);
    void set_srtp(LegId leg, std::string_view profile, std::string send_key, std::string receive_key);
    void set_rtp_remote(LegId leg, const std::string& ip, uint16_t rtp_port, uint16_t rtcp_port, bool learn);
    void set_codecs(LegId leg, std::vector<Format> formats, uint32_t ptime_ms);
    void set_direction(LegId leg, bool send, bool receive);
    void set_source_leg(LegId leg, LegId source);
    void set_source_tone(LegId leg, std::span<const double> frequencies_hz, std::vector<uint32_t> cadence_ms,
                         double level_dbm0);
    void set_source_none(LegId leg);
    void set_timeouts(LegId leg, double ice_timeout_s, double media_timeout_s);
    const LegFigures& figures(LegId leg) const { return *entry(leg).figures; }

   private:
    struct Entry {
        Worker* worker = nullptr;
        std::shared_ptr<LegFigures> figures;
        bool webrtc = false;
    };

    Worker& at(size_t worker) const;
    const Entry& entry(LegId leg) const;
    const Entry& webrtc_entry(LegId leg) const;
    /// `change(worker, leg)` on the leg's worker, unless the leg has gone by then.
    template <typename Change>
    void post(LegId leg, Change change);

    EventQueue events_;
    std::unique_ptr<PortPool> ports_;
    std::vector<std::unique_ptr<Worker>> workers_;  // after what they use
    std::unordered_map<LegId, Entry> legs_;
    LegId last_leg_ = 0;
};

}  // namespace sdpserver
