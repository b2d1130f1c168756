#pragma once
// All endpoints of the process, their timers and the pace of their packets, on one thread.

#include <map>
#include <memory>
#include <queue>
#include <string>
#include <unordered_map>
#include <vector>

#include "control.h"
#include "endpoint.h"

namespace sdpserver::loadgen {

class Generator {
   public:
    Generator();
    /// Until `quit` or the end of standard input.
    void run();

   private:
    struct Watched {  // what has been told about an endpoint
        std::unique_ptr<Endpoint> endpoint;
        Endpoint::State told = Endpoint::State::kIdle;
        bool told_rtp = false, scheduled = false;
        std::string group;
    };
    struct Due {
        int64_t at_ns;
        uint32_t id;
        bool operator>(const Due& other) const { return at_ns > other.at_ns; }
    };

    void execute(const Command& command);
    void add_endpoint(const Command& command);
    void connect(const Command& command);
    void set_remote(const Command& command);
    void start(const Command& command);
    void stop(const Command& command);
    void reset(const Command& command);
    void remove(const Command& command);
    void tell_stats(const Command& command);
    void tell_changes(uint32_t id, Watched& watched);
    Watched& watched(uint32_t id);
    const DtlsContext& dtls_context(const std::string& profile);

    bool read_commands();
    void send_due();
    void receive();
    void run_timers();
    void sleep();
    void schedule(uint32_t id, Watched& watched, int64_t at_ns);

    FileDescriptor epoll_;
    std::map<std::string, std::unique_ptr<DtlsContext>> dtls_contexts_;
    std::map<std::string, Group> groups_;
    std::unordered_map<uint32_t, Watched> endpoints_;
    std::priority_queue<Due, std::vector<Due>, std::greater<>> due_;
    std::string input_;
    int64_t next_timers_ns_ = 0, next_receive_ns_ = 0;
    bool readable_ = false, done_ = false;
};

}  // namespace sdpserver::loadgen
