#include "recording.h"

#include <algorithm>
#include <exception>
#include <system_error>

namespace sdpserver {
namespace {

/// A frame that has not come so long after its time is not waited for.
constexpr TimeNs kPatience = 300 * kMillisecond;
/// How much of a file a reader may miss whose writer was killed and not started again.
constexpr TimeNs kHeaderInterval = 5 * kSecond;

}  // namespace

void Recording::Listener::take(const AudioFrame& frame, TimeNs now) {
    if (gate_->closed.load(std::memory_order_relaxed) || gate_->paused.load(std::memory_order_relaxed)) return;
    if (!ring_.push(frame, now)) gate_->dropped.fetch_add(1, std::memory_order_relaxed);
}

std::shared_ptr<AudioSink> Recording::listener(Channel channel) {
    auto made = std::make_shared<Listener>(gate_, settings_.rate_hz);
    const std::lock_guard lock(mutex_);
    inputs_.push_back({channel, made});
    return made;
}

void Recording::stop() {
    const std::lock_guard lock(mutex_);
    if (!stopped_at_) stopped_at_ = monotonic_ns();
    gate_->closed = true;
}

void Recording::collect() {
    std::vector<Input> inputs;
    {
        const std::lock_guard lock(mutex_);
        inputs = inputs_;
    }
    for (Input& input : inputs) {
        while (input.listener->pop(frame_)) {
            track_.put(static_cast<size_t>(input.channel), frame_.samples, frame_.rate_hz, frame_.now);
        }
    }
    inputs.clear();
    // A listener that no leg has any more has been read to its end: before its leg let it go, or now.
    const std::lock_guard lock(mutex_);
    std::erase_if(inputs_, [this](Input& input) {
        if (input.listener.use_count() > 1) return false;
        while (input.listener->pop(frame_)) {
            track_.put(static_cast<size_t>(input.channel), frame_.samples, frame_.rate_hz, frame_.now);
        }
        return true;
    });
}

void Recording::write(TimeNs now) {
    file_->write(track_.take());
    if (header_at_ == 0) header_at_ = now;
    if (now - header_at_ < kHeaderInterval) return;
    header_at_ = now;
    file_->update_header();
}

void Recording::fail(TimeNs now, EventQueue& events, const std::string& why) {
    gate_->closed = true;
    if (file_) {
        try {
            file_->finish();  // what was written before can be heard
        } catch (const std::exception&) {
            // The event tells of the first failure; this one is most likely the same.
        }
        file_.reset();
    }
    events.push({EventKind::recording_failed, settings_.id, now, why});
}

bool Recording::serve(TimeNs now, EventQueue& events) {
    std::optional<TimeNs> stopped_at;
    {
        const std::lock_guard lock(mutex_);
        stopped_at = stopped_at_;
    }
    try {
        if (!file_) {
            file_.emplace(settings_.path, settings_.rate_hz);
            events.push({EventKind::recording_started, settings_.id, now, settings_.path});
        }
        collect();
        track_.advance(stopped_at ? *stopped_at : now - kPatience);
        write(now);
        if (!stopped_at) return true;
        file_->finish();
        file_.reset();
    } catch (const std::system_error& error) {
        fail(now, events, error.code().message());
        return false;
    } catch (const std::exception& error) {
        fail(now, events, error.what());
        return false;
    }
    const auto duration_ms = (*stopped_at - settings_.start) / kMillisecond;
    events.push({EventKind::recording_stopped, settings_.id, now,
                 std::to_string(duration_ms) + ' ' + std::to_string(dropped())});
    return false;
}

}  // namespace sdpserver
