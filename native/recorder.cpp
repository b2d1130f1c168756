#include "recorder.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace sdpserver {
namespace {

/// Rings hold ten times as much; a longer pause would gain nothing, since what is written is counted in octets.
constexpr std::chrono::milliseconds kInterval{200};

}  // namespace

Recorder::~Recorder() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
        for (const auto& recording : recordings_) recording->stop();
    }
    changed_.notify_one();
    if (thread_.joinable()) thread_.join();
}

void Recorder::add(std::shared_ptr<Recording> recording) {
    {
        const std::lock_guard lock(mutex_);
        recordings_.push_back(std::move(recording));
        awake_ = true;
        if (!thread_.joinable()) {
            // Signals are for the thread of Python that waits for them.
            sigset_t all;
            sigset_t before;
            sigfillset(&all);
            pthread_sigmask(SIG_SETMASK, &all, &before);
            thread_ = std::thread([this] { run(); });
            pthread_sigmask(SIG_SETMASK, &before, nullptr);
        }
    }
    changed_.notify_one();
}

void Recorder::wake() {
    {
        const std::lock_guard lock(mutex_);
        awake_ = true;
    }
    changed_.notify_one();
}

void Recorder::run() {
    pthread_setname_np(pthread_self(), "recorder");
    std::unique_lock lock(mutex_);
    while (true) {
        changed_.wait(lock, [this] { return stopping_ || !recordings_.empty(); });
        if (recordings_.empty()) return;
        // Waits, unless one was added or stopped meanwhile; whoever has none to write sleeps above.
        changed_.wait_for(lock, kInterval, [this] { return stopping_ || awake_; });
        awake_ = false;
        const auto recordings = recordings_;
        lock.unlock();
        std::vector<const Recording*> over;
        for (const auto& recording : recordings) {
            if (!recording->serve(monotonic_ns(), events_)) over.push_back(recording.get());
        }
        lock.lock();
        std::erase_if(recordings_, [&over](const auto& recording) {
            return std::ranges::find(over, recording.get()) != over.end();
        });
    }
}

}  // namespace sdpserver
