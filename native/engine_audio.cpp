// What legs play of their own, and what of them is recorded.

#include <memory>
#include <stdexcept>
#include <utility>

#include "engine.h"

namespace sdpserver {

template <typename Source>
void Engine::set_own_source(LegId leg, const Source& source) {
    entry(leg).source = 0;
    post(leg, [source](Worker& worker, Leg& found) {
        found.send_from(worker.context(), std::make_unique<Source>(source));
    });
}

template <typename Source>
void Engine::play_over(LegId leg, const Source& source, std::string tag) {
    post(leg, [source, tag = std::move(tag)](Worker& worker, Leg& found) {
        found.play(worker.context(), std::make_unique<Source>(source), tag);
    });
}

void Engine::set_source_tone(LegId leg, const Tone& tone) { set_own_source(leg, tone); }

void Engine::set_source_sound(LegId leg, const SoundPlayer& player) { set_own_source(leg, player); }

void Engine::play(LegId leg, const Tone& tone, std::string tag) { play_over(leg, tone, std::move(tag)); }

void Engine::play(LegId leg, const SoundPlayer& player, std::string tag) { play_over(leg, player, std::move(tag)); }

void Engine::stop_playing(LegId leg) {
    post(leg, [](Worker& worker, Leg& found) { found.fade_playing(worker.context()); });
}

Engine::RecordingEntry& Engine::recording_entry(RecordingId recording) {
    const auto found = recordings_.find(recording);
    if (found == recordings_.end()) throw UnknownRecording("no recording " + std::to_string(recording));
    return found->second;
}

RecordingId Engine::start_recording(std::string path, uint32_t rate_hz) {
    if (path.empty() || path.find('\0') != std::string::npos) throw std::invalid_argument("not a path");
    if (rate_hz != kNarrowbandHz && rate_hz != kWidebandHz) throw std::invalid_argument("a rate of 8000 or 16000 Hz");
    if (workers_.empty()) throw std::invalid_argument("the engine is closed");
    if (!recorder_) recorder_ = std::make_unique<Recorder>(events_);
    const RecordingId id = ++last_leg_;
    auto recording = std::make_shared<Recording>(
        Recording::Settings{.id = id, .path = std::move(path), .rate_hz = rate_hz, .start = monotonic_ns()});
    recordings_[id].recording = recording;
    recorder_->add(std::move(recording));
    return id;
}

void Engine::stop_listening(RecordedLeg& recorded) {
    if (recorded.listener && legs_.contains(recorded.leg)) {
        post(recorded.leg, [listener = std::move(recorded.listener)](Worker&, Leg& found) {
            found.inlet().remove(*listener);
        });
    }
    recorded = {};
}

void Engine::set_recorded_leg(RecordingId recording, Recording::Channel channel, LegId leg) {
    RecordingEntry& recorded = recording_entry(recording);
    if (leg != 0) entry(leg);
    RecordedLeg& place = recorded.legs.at(static_cast<size_t>(channel));
    if (place.leg == leg) return;
    stop_listening(place);
    if (leg == 0) return;
    place = {.leg = leg, .listener = recorded.recording->listener(channel)};
    post(leg, [listener = place.listener](Worker&, Leg& found) { found.inlet().add(listener); });
}

void Engine::pause_recording(RecordingId recording, bool paused) { recording_entry(recording).recording->pause(paused); }

void Engine::stop_recording(RecordingId recording) {
    RecordingEntry& recorded = recording_entry(recording);
    for (RecordedLeg& place : recorded.legs) stop_listening(place);
    set_recorded_room(recording, 0);
    recorded.recording->stop();
    recorder_->wake();
    recordings_.erase(recording);
}

}  // namespace sdpserver
