#include "io_ring.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <system_error>

namespace sdpserver {
namespace {

void check(int result, const char* what) {
    if (result < 0) throw std::system_error(-result, std::generic_category(), what);
}

}  // namespace

IoRing::IoRing(unsigned submissions, unsigned completions, unsigned buffers, size_t buffer_octets)
    : buffers_(std::bit_ceil(buffers)), buffer_octets_(buffer_octets), memory_(buffers_ * buffer_octets) {
    io_uring_params parameters{};
    // What came in is worked on when we ask for it, on our own thread, which saves wake-ups and locks.
    parameters.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
                       IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
    parameters.cq_entries = completions;
    check(io_uring_queue_init_params(submissions, &ring_, &parameters), "io_uring_setup");
    try {
        constexpr unsigned kNeeded =
            IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_EXT_ARG | IORING_FEAT_CQE_SKIP;
        if ((parameters.features & kNeeded) != kNeeded) check(-ENOSYS, "io_uring_setup");
        map_buffers();
        io_uring_register_ring_fd(&ring_);  // each call then finds the ring faster; without it, it just works
    } catch (...) {
        io_uring_queue_exit(&ring_);
        throw;
    }
}

void IoRing::map_buffers() {
    const size_t octets = buffers_ * sizeof(io_uring_buf);
    void* memory = mmap(nullptr, octets, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
    if (memory == MAP_FAILED) check(-errno, "mmap");
    free_ = static_cast<io_uring_buf_ring*>(memory);
    io_uring_buf_reg registration{};
    registration.ring_addr = reinterpret_cast<uint64_t>(memory);
    registration.ring_entries = buffers_;
    registration.bgid = kBufferGroup;
    if (const int result = io_uring_register_buf_ring(&ring_, &registration, 0); result < 0) {
        munmap(memory, octets);
        check(result, "io_uring_register");
    }
    io_uring_buf_ring_init(free_);
    for (unsigned i = 0; i < buffers_; ++i) give_back(static_cast<uint16_t>(i));
}

IoRing::~IoRing() {
    io_uring_queue_exit(&ring_);
    munmap(free_, buffers_ * sizeof(io_uring_buf));
}

unsigned IoRing::submit() {
    io_uring_submit(&ring_);  // an error, a lack of memory say, shows in what is left
    return submissions();
}

unsigned IoRing::submit_and_wait(unsigned completions, TimeNs wait) {
    __kernel_timespec timeout{.tv_sec = wait / kSecond, .tv_nsec = wait % kSecond};
    io_uring_cqe* first = nullptr;
    io_uring_submit_and_wait_timeout(&ring_, &first, completions, &timeout, nullptr);
    return submissions();
}

void IoRing::give_back(uint16_t id) {
    io_uring_buf_ring_add(free_, buffer(id).data(), static_cast<unsigned>(buffer_octets_), id,
                          io_uring_buf_ring_mask(buffers_), 0);
    io_uring_buf_ring_advance(free_, 1);
}

}  // namespace sdpserver
