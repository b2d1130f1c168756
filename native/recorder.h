#pragma once
// The thread that writes recordings, so that a disk holds up neither a worker nor Python.

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "event_queue.h"
#include "recording.h"

namespace sdpserver {

class Recorder {
   public:
    explicit Recorder(EventQueue& events) : events_(events) {}
    /// Finishes every recording.
    ~Recorder();
    Recorder(const Recorder&) = delete;
    Recorder& operator=(const Recorder&) = delete;

    // From any thread.
    /// The thread starts with the first one.
    void add(std::shared_ptr<Recording> recording);
    /// Write what there is now: a recording has been stopped.
    void wake();

   private:
    void run();

    EventQueue& events_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<std::shared_ptr<Recording>> recordings_;
    bool awake_ = false;
    bool stopping_ = false;
    std::thread thread_;
};

}  // namespace sdpserver
