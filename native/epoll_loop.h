#pragma once
// The packet loop by epoll, recvmmsg and sendmmsg, which every Linux has.

#include <sys/epoll.h>

#include <array>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "file_descriptor.h"
#include "packet_loop.h"
#include "poll_floor.h"
#include "receive_batch.h"
#include "send_batch.h"

namespace sdpserver {

class EpollLoop final : public PacketLoop {
   public:
    EpollLoop(TimeNs gather, WorkerContext& context, WorkerCounters& counters);

    void add(const UdpSocket& socket, DatagramSink& sink, Arrival arrival) override;
    void remove(const UdpSocket& socket) override;
    void watch(int fd, std::function<void()> readable) override;
    void unwatch(int fd) override { forget(fd); }
    SendQueue& out(Arrival arrival) override { return arrival == Arrival::together ? shared_out_ : own_out_; }
    void flush() override;
    void run_once(TimeNs until) override;

   private:
    /// What is received is sent at the end of its round, so short rounds keep the first packets of a burst from
    /// waiting for the last.
    static constexpr size_t kMaxReady = 32;

    /// What epoll hands back. Without a socket it is a watched descriptor.
    struct Watched {
        const UdpSocket* socket = nullptr;
        DatagramSink* sink = nullptr;
        Arrival arrival{};
        uint32_t drops = 0;  // as the kernel last said
        std::function<void()> readable;
    };

    void add(int fd, Watched watched);
    void forget(int fd);
    void poll(TimeNs wait);
    void serve();
    void receive_one(const Watched& watched);
    void receive_batch(Watched& watched);

    WorkerContext& context_;
    WorkerCounters& counters_;
    FileDescriptor epoll_;
    std::unordered_map<int, Watched> watched_;  // entries stay where they are, so epoll may point at them
    SendBatch shared_out_;
    SendBatch own_out_;
    ReceiveBatch batch_;
    std::vector<uint8_t> buffer_;
    PollFloor floor_;
    bool precise_ = true;
    std::array<epoll_event, kMaxReady> ready_{};
    size_t ready_count_ = 0;
};

}  // namespace sdpserver
