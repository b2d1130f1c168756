#pragma once
// The packet loop by io_uring: what comes in is received by requests that stay armed, what goes out is given to the
// kernel many at a time, and both, and the wait, share one system call a round.

#include <array>
#include <memory>
#include <unordered_map>
#include <vector>

#include "gathering.h"
#include "io_ring.h"
#include "packet_loop.h"

namespace sdpserver {

class UringLoop final : public PacketLoop, private SendQueue {
   public:
    /// On the thread that will run it. Throws std::system_error: too old a kernel, or a sandbox that forbids it.
    UringLoop(TimeNs gather, WorkerContext& context, WorkerCounters& counters);

    void add(const UdpSocket& socket, DatagramSink& sink, Arrival arrival) override;
    void remove(const UdpSocket& socket) override;
    void watch(int fd, std::function<void()> readable) override;
    void unwatch(int fd) override { forget(fd); }
    SendQueue& out(Arrival) override { return *this; }
    void flush() override;
    void run_once(TimeNs until) override;

   private:
    static constexpr unsigned kSlots = 128;
    static constexpr unsigned kSubmissions = 2 * kSlots;
    static constexpr unsigned kBuffers = 1024;
    /// Every buffer and every request of 2,000 legs; past that the kernel keeps them until there is room.
    static constexpr unsigned kCompletions = 8192;
    /// What is received is sent after so many, so that the first packets of a burst do not wait for the last.
    static constexpr unsigned kRound = 32;

    /// What a completion is of, in the lowest bits of its user data; above them is a pointer.
    enum class Kind : uint64_t { none, sent, received, readable, cancelled };
    static constexpr uint64_t kKindMask = 7;

    /// A descriptor with a request of ours on it. Without a sink it is a watched one.
    struct alignas(8) Armed {
        int fd = -1;
        DatagramSink* sink = nullptr;
        bool armed = false;
        bool leaving = false;
        uint32_t drops = 0;  // as the kernel last said
        std::function<void()> readable;
    };

    // SendQueue
    uint8_t* slot() override;
    void push(const UdpSocket& socket, const SocketAddress& to, size_t length, Counter* dropped) override;

    static uint64_t tag(Kind kind, const void* of) {
        return reinterpret_cast<uintptr_t>(of) | static_cast<uint64_t>(kind);
    }
    static Kind kind_of(const io_uring_cqe& done) { return static_cast<Kind>(done.user_data & kKindMask); }
    template <typename T>
    static T* subject_of(const io_uring_cqe& done) {
        return reinterpret_cast<T*>(done.user_data & ~kKindMask);
    }

    void add(Armed armed);
    void arm(Armed& armed);
    void arm_again();
    void forget(int fd);
    void disarm(Armed& armed);
    io_uring_sqe& submission();
    void submitted();
    void serve();
    void prefetch(unsigned count);
    void call_readable(unsigned count);
    unsigned count_failures();
    void on_received(const io_uring_cqe& done, Armed& armed);
    void on_readable(const io_uring_cqe& done, Armed& armed);
    void on_done(const io_uring_cqe& done, Armed& armed);
    void hand_out(Armed& armed, Bytes buffer);

    WorkerContext& context_;
    WorkerCounters& counters_;
    IoRing ring_;
    Gathering gathering_;
    std::unordered_map<int, std::unique_ptr<Armed>> armed_;
    std::vector<std::unique_ptr<Armed>> stuck_;  // the kernel did not let go of them in time
    std::vector<Armed*> ended_;  // to be armed again
    msghdr layout_{};  // of a buffer: what stands before the datagram

    std::vector<uint8_t> memory_;
    std::array<sockaddr_storage, kSlots> addresses_{};
    unsigned used_ = 0;
};

}  // namespace sdpserver
