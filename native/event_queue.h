#pragma once
// What workers tell Python: many writers, one reader, and a descriptor that is readable while something waits.

#include <sys/eventfd.h>

#include <cerrno>
#include <mutex>
#include <string>
#include <system_error>
#include <unordered_map>
#include <utility>
#include <vector>

#include "clock.h"
#include "file_descriptor.h"

namespace sdpserver {

/// Never used again in a process.
using LegId = uint64_t;

enum class EventKind : uint8_t {
    ice_connected = 1,
    ice_selected,
    ice_timeout,
    dtls,
    first_rtp_received,
    first_rtp_sent,
    media_timeout,
    failed,
    play_ended,
    dtmf,
    recording_started,
    recording_stopped,
    recording_failed,
    talking,
};

struct Event {
    EventKind kind{};
    LegId leg = 0;
    TimeNs time = 0;
    std::string data;
};

inline FileDescriptor make_eventfd() {
    FileDescriptor fd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    if (!fd) throw std::system_error(errno, std::generic_category(), "eventfd");
    return fd;
}

/// An eventfd cannot fail once it exists, except that a full counter is as good as a raised one.
inline void raise_eventfd(const FileDescriptor& fd) { eventfd_write(fd.get(), 1); }
inline void clear_eventfd(const FileDescriptor& fd) {
    eventfd_t count = 0;
    eventfd_read(fd.get(), &count);
}

class EventQueue {
   public:
    /// DTLS datagrams of a leg beyond this many waiting are dropped, as a full socket buffer would: a peer that sends faster
    /// than Python reads must fill neither the memory nor the place of others. Other events are few and always kept.
    static constexpr size_t kMaxDtlsWaiting = 64;

    int fd() const { return fd_.get(); }

    /// False: dropped.
    bool push(Event event) {
        const std::lock_guard lock(mutex_);
        if (event.kind == EventKind::dtls && ++dtls_waiting_[event.leg] > kMaxDtlsWaiting) return false;
        if (events_.empty() && fd_) raise_eventfd(fd_);
        events_.push_back(std::move(event));
        return true;
    }
    std::vector<Event> take() {
        const std::lock_guard lock(mutex_);
        if (fd_) clear_eventfd(fd_);
        dtls_waiting_.clear();
        return std::exchange(events_, {});
    }
    void close() {
        const std::lock_guard lock(mutex_);
        fd_.reset();
    }

   private:
    std::mutex mutex_;
    FileDescriptor fd_ = make_eventfd();
    std::vector<Event> events_;
    std::unordered_map<LegId, size_t> dtls_waiting_;
};

}  // namespace sdpserver
