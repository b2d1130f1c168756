#include "uring_loop.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

namespace sdpserver {
namespace {

// Before the datagram a buffer has io_uring_recvmsg_out, the source, and what SO_RXQ_OVFL says.
constexpr size_t kName = 32;
constexpr size_t kControl = CMSG_SPACE(sizeof(uint32_t));
constexpr size_t kBuffer = (sizeof(io_uring_recvmsg_out) + kName + kControl + kMaxDatagram + 63) / 64 * 64;
static_assert(kName >= sizeof(sockaddr_in6) && kName % alignof(cmsghdr) == 0);

constexpr unsigned kWorthPrefetching = 4;
constexpr TimeNs kPatience = kSecond;  // for the kernel to let go of a socket

}  // namespace

UringLoop::UringLoop(TimeNs gather, WorkerContext& context, WorkerCounters& counters)
    : context_(context),
      counters_(counters),
      ring_(kSubmissions, kCompletions, kBuffers, kBuffer),
      gathering_(gather),
      memory_((kSlots + 1) * kSlot) {
    layout_.msg_namelen = kName;
    layout_.msg_controllen = kControl;
}

void UringLoop::add(Armed armed) {
    const int fd = armed.fd;
    auto& place = armed_[fd];
    place = std::make_unique<Armed>(std::move(armed));
    ended_.reserve(armed_.size());
    arm(*place);
}

void UringLoop::add(const UdpSocket& socket, DatagramSink& sink, Arrival) {
    socket.report_drops();
    add(Armed{.fd = socket.fd(), .sink = &sink, .drops = socket.drops(), .readable = {}});
}

void UringLoop::watch(int fd, std::function<void()> readable) { add(Armed{.fd = fd, .readable = std::move(readable)}); }

void UringLoop::remove(const UdpSocket& socket) { forget(socket.fd()); }

void UringLoop::forget(int fd) {
    const auto found = armed_.find(fd);
    if (found == armed_.end()) return;
    std::unique_ptr<Armed> armed = std::move(found->second);
    armed_.erase(found);
    disarm(*armed);
    if (!armed->armed) return;
    stuck_.push_back(std::move(armed));  // what the kernel still says of it must find it
}

/// The request holds the socket, and with it its port, until its last completion; so that one is waited for.
void UringLoop::disarm(Armed& armed) {
    flush();
    std::erase(ended_, &armed);
    armed.leaving = true;
    const TimeNs started = monotonic_ns();
    if (armed.armed) {
        io_uring_sqe& cancel = submission();
        io_uring_prep_cancel64(&cancel, tag(armed.sink != nullptr ? Kind::received : Kind::readable, &armed), 0);
        cancel.user_data = tag(Kind::cancelled, nullptr);
    }
    while (armed.armed && monotonic_ns() - started < kPatience) {
        ring_.submit_and_wait(ring_.completions() + 1, kPatience / 10);
        submitted();
        for (unsigned i = 0; i < ring_.completions(); ++i) {
            io_uring_cqe& done = ring_.completion(i);
            if (subject_of<Armed>(done) != &armed) continue;
            if (kind_of(done) == Kind::received) on_received(done, armed);
            if (kind_of(done) == Kind::readable) on_done(done, armed);
            done.user_data = tag(Kind::none, nullptr);
        }
    }
}

io_uring_sqe& UringLoop::submission() {
    io_uring_sqe* entry = ring_.submission();
    while (entry == nullptr) {
        ring_.submit();
        submitted();
        entry = ring_.submission();
    }
    return *entry;
}

void UringLoop::arm(Armed& armed) {
    io_uring_sqe& entry = submission();
    if (armed.sink != nullptr) {
        io_uring_prep_recvmsg_multishot(&entry, armed.fd, &layout_, MSG_TRUNC);
        entry.flags |= IOSQE_BUFFER_SELECT;
        entry.buf_group = IoRing::kBufferGroup;
        entry.user_data = tag(Kind::received, &armed);
    } else {
        io_uring_prep_poll_multishot(&entry, armed.fd, POLLIN);
        entry.user_data = tag(Kind::readable, &armed);
    }
    armed.armed = true;
}

/// Buffers that were short are free by now.
void UringLoop::arm_again() {
    for (Armed* armed : ended_) arm(*armed);
    ended_.clear();
}

uint8_t* UringLoop::slot() {
    if (used_ == kSlots || ring_.submissions() == kSubmissions) {
        ring_.submit();
        submitted();
    }
    return memory_.data() + used_ * kSlot;  // past the others, if the kernel takes nothing
}

void UringLoop::push(const UdpSocket& socket, const SocketAddress& to, size_t length, Counter* dropped) {
    io_uring_sqe* entry = used_ < kSlots ? ring_.submission() : nullptr;
    if (entry == nullptr) {
        counters_.send_failures.add(1);
        dropped->add(1);
        return;
    }
    sockaddr_storage& address = addresses_[used_];
    const socklen_t address_length = to.write(socket.family(), address);
    // Not waiting for room, it is done when the call that submits it returns, and its slot is free.
    io_uring_prep_send(entry, socket.fd(), memory_.data() + used_ * kSlot, length, MSG_DONTWAIT);
    io_uring_prep_send_set_addr(entry, reinterpret_cast<const sockaddr*>(&address), static_cast<uint16_t>(address_length));
    entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
    entry->user_data = tag(Kind::sent, dropped);
    ++used_;
}

void UringLoop::submitted() {
    if (ring_.submissions() > 0) return;  // the kernel lacks memory: once more with the next call
    counters_.packets_sent.add(used_ - count_failures());
    used_ = 0;
}

void UringLoop::flush() {
    if (ring_.submissions() == 0) return;
    counters_.send_calls.add(1);
    ring_.submit();
    submitted();
}

/// At once, since those whose counters they are may soon be gone.
unsigned UringLoop::count_failures() {
    unsigned failures = 0;
    for (unsigned i = 0; i < ring_.completions(); ++i) {
        io_uring_cqe& done = ring_.completion(i);
        if (kind_of(done) != Kind::sent) continue;
        subject_of<Counter>(done)->add(1);
        done.user_data = tag(Kind::none, nullptr);
        ++failures;
    }
    counters_.send_failures.add(failures);
    return failures;
}

void UringLoop::run_once(TimeNs until) {
    const TimeNs gather = gathering_.wait();
    const TimeNs wait = std::max(until - monotonic_ns(), TimeNs{0});
    counters_.polls.add(1);
    if (gather > 0) counters_.paced_polls.add(1);
    ring_.submit_and_wait(gather > 0 ? Gathering::kMany : 1, gather > 0 ? std::min(wait, gather) : wait);
    submitted();
    context_.now = monotonic_ns();
    serve();
    gathering_.served(context_.now, counters_.packets_received.get());
}

void UringLoop::serve() {
    // What completes meanwhile is left to the next round: a descriptor that became readable again must be called again.
    const unsigned count = ring_.completions();
    call_readable(count);
    for (unsigned i = 0; i < count; ++i) {
        if (i % kRound == 0) prefetch(std::min(count - i, kRound));
        const io_uring_cqe& done = ring_.completion(0);
        if (kind_of(done) == Kind::received) on_received(done, *subject_of<Armed>(done));
        ring_.taken(1);
        if (i % kRound == kRound - 1) flush();
    }
    arm_again();
}

/// For the completions that come first.
void UringLoop::prefetch(unsigned count) {
    static_assert(kRound <= DatagramSink::kMaxPrefetched);
    if (count < kWorthPrefetching) return;
    struct Expected {
        Armed* armed;
        const sockaddr_storage* source;
    };
    std::array<Expected, kRound> expected;
    unsigned received = 0;
    for (unsigned i = 0; i < count; ++i) {
        const io_uring_cqe& done = ring_.completion(i);
        if (kind_of(done) != Kind::received || (done.flags & IORING_CQE_F_BUFFER) == 0) continue;
        const uint8_t* buffer = ring_.buffer(IoRing::buffer_of(done)).data() + sizeof(io_uring_recvmsg_out);
        expected[received++] = {subject_of<Armed>(done), reinterpret_cast<const sockaddr_storage*>(buffer)};
        __builtin_prefetch(subject_of<Armed>(done));
    }
    for (unsigned i = 0; i < received; ++i) __builtin_prefetch(expected[i].armed->sink);
    for (unsigned step = 0; step < DatagramSink::kPrefetchSteps; ++step) {
        for (unsigned i = 0; i < received; ++i) expected[i].armed->sink->prefetch(step, i, *expected[i].source);
    }
}

/// First, so that a leg exists before the packets that came for it after.
void UringLoop::call_readable(unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
        io_uring_cqe& done = ring_.completion(i);
        if (kind_of(done) != Kind::readable) continue;
        Armed& armed = *subject_of<Armed>(done);
        on_done(done, armed);
        done.user_data = tag(Kind::none, nullptr);
        if (!armed.leaving) armed.readable();
    }
}

void UringLoop::on_done(const io_uring_cqe& done, Armed& armed) {
    if ((done.flags & IORING_CQE_F_MORE) != 0) return;
    armed.armed = false;
    if (!armed.leaving) ended_.push_back(&armed);
}

void UringLoop::on_received(const io_uring_cqe& done, Armed& armed) {
    if ((done.flags & IORING_CQE_F_BUFFER) != 0) {
        const uint16_t id = IoRing::buffer_of(done);
        if (done.res > 0 && !armed.leaving) hand_out(armed, ring_.buffer(id).first(static_cast<size_t>(done.res)));
        ring_.give_back(id);
    }
    on_done(done, armed);
}

void UringLoop::hand_out(Armed& armed, Bytes buffer) {
    counters_.packets_received.add(1);
    io_uring_recvmsg_out* out = io_uring_recvmsg_validate(buffer.data(), static_cast<int>(buffer.size()), &layout_);
    const bool whole = out != nullptr && (out->flags & MSG_TRUNC) == 0 && out->payloadlen <= kMaxDatagram;
    if (!whole) return counters_.malformed.add(1);
    for (cmsghdr* said = io_uring_recvmsg_cmsg_firsthdr(out, &layout_); said != nullptr;
         said = io_uring_recvmsg_cmsg_nexthdr(out, &layout_, said)) {
        if (said->cmsg_level != SOL_SOCKET || said->cmsg_type != SO_RXQ_OVFL) continue;
        uint32_t drops = 0;
        std::memcpy(&drops, CMSG_DATA(said), sizeof drops);
        counters_.kernel_drops.add(drops - armed.drops);
        armed.drops = drops;
    }
    const auto& source = *static_cast<const sockaddr_storage*>(io_uring_recvmsg_name(out));
    auto* datagram = static_cast<uint8_t*>(io_uring_recvmsg_payload(out, &layout_));
    armed.sink->on_datagram(context_, {datagram, out->payloadlen}, SocketAddress::from(source));
}

}  // namespace sdpserver
