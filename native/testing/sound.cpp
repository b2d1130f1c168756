// Tones, sounds and recordings by themselves, with frames and times that a test makes.

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "recorder.h"
#include "sound_player.h"
#include "tone.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace sdpserver {
namespace {

nb::bytes pcm_of(std::span<const int16_t> samples) {
    return nb::bytes(reinterpret_cast<const char*>(samples.data()), samples.size_bytes());
}

std::vector<int16_t> samples_of(const nb::bytes& pcm) {
    std::vector<int16_t> samples(pcm.size() / sizeof(int16_t));
    std::copy_n(pcm.c_str(), samples.size() * sizeof(int16_t), reinterpret_cast<char*>(samples.data()));
    return samples;
}

std::pair<nb::bytes, bool> generate(AudioSource& source, size_t samples, uint32_t rate_hz) {
    std::vector<int16_t> out(samples, int16_t{-1});
    const bool more = source.generate(out, rate_hz);
    return {pcm_of(out), more};
}

/// A recorder with an event queue of its own, and listeners that frames are put into as a worker would.
class Recordings {
   public:
    void start(RecordingId id, std::string path, uint32_t rate_hz, std::optional<int> fd) {
        Recording::Settings settings{.id = id, .path = path, .rate_hz = rate_hz, .start = monotonic_ns()};
        auto recording = fd ? std::make_shared<Recording>(settings, WavWriter(FileDescriptor(*fd), path, rate_hz))
                            : std::make_shared<Recording>(settings);
        recordings_[id] = recording;
        recorder_->add(std::move(recording));
    }
    std::shared_ptr<AudioSink> listener(RecordingId id, size_t channel) {
        return recordings_.at(id)->listener(static_cast<Recording::Channel>(channel));
    }
    void pause(RecordingId id, bool paused) { recordings_.at(id)->pause(paused); }
    void stop(RecordingId id) {
        recordings_.at(id)->stop();
        recorder_->wake();
    }
    uint64_t dropped(RecordingId id) const { return recordings_.at(id)->dropped(); }
    void close() {
        recorder_.reset();
        events_.close();
    }
    std::vector<std::tuple<int, RecordingId, std::string>> drain() {
        std::vector<std::tuple<int, RecordingId, std::string>> events;
        for (Event& event : events_.take()) {
            events.emplace_back(static_cast<int>(event.kind), event.leg, std::move(event.data));
        }
        return events;
    }

   private:
    EventQueue events_;
    std::unique_ptr<Recorder> recorder_ = std::make_unique<Recorder>(events_);
    std::unordered_map<RecordingId, std::shared_ptr<Recording>> recordings_;
};

}  // namespace

void register_sound(nb::module_& module) {
    nb::class_<AudioSource>(module, "AudioSource").def("generate", &generate, "samples"_a, "rate_hz"_a)
        .def("fade_out", &AudioSource::fade_out);
    nb::class_<Tone, AudioSource>(module, "Tone")
        .def(
            "__init__",
            [](Tone* self, const std::vector<double>& frequencies_hz, std::vector<uint32_t> cadence_ms,
               double level_dbm0, double modulation_hz, uint32_t rounds) {
                new (self) Tone(frequencies_hz, std::move(cadence_ms), level_dbm0, modulation_hz, rounds);
            },
            "frequencies_hz"_a, "cadence_ms"_a = std::vector<uint32_t>(), "level_dbm0"_a = -13.0,
            "modulation_hz"_a = 0.0, "rounds"_a = 0);
    // `Sound` itself is in _media.
    module.def("sound_samples", [](const Sound& sound, uint32_t rate_hz) { return pcm_of(sound.samples(rate_hz)); },
               "sound"_a, "rate_hz"_a);
    nb::class_<SoundPlayer, AudioSource>(module, "SoundPlayer")
        .def(
            "__init__",
            [](SoundPlayer* self, const std::shared_ptr<Sound>& sound, bool loop, double gain_db) {
                new (self) SoundPlayer(sound, loop, gain_db);
            },
            "sound"_a, "loop"_a = false, "gain_db"_a = 0.0);

    nb::class_<StereoTrack>(module, "StereoTrack")
        .def(nb::init<uint32_t, TimeNs>(), "rate_hz"_a, "start"_a)
        .def(
            "put",
            [](StereoTrack& self, size_t channel, const nb::bytes& pcm, uint32_t rate_hz, TimeNs now) {
                self.put(channel, samples_of(pcm), rate_hz, now);
            },
            "channel"_a, "pcm"_a, "rate_hz"_a, "now"_a)
        .def("advance", &StereoTrack::advance, "now"_a)
        .def("take", [](StereoTrack& self) { return pcm_of(self.take()); });
    nb::class_<AudioSink>(module, "AudioSink")
        .def(
            "take",
            [](AudioSink& self, const nb::bytes& pcm, uint32_t rate_hz, TimeNs now) {
                self.take({.samples = samples_of(pcm), .rate_hz = rate_hz}, now);
            },
            "pcm"_a, "rate_hz"_a, "now"_a)
        .def_prop_ro("wanted_rate_hz", &AudioSink::wanted_rate_hz);
    nb::class_<Recordings>(module, "Recordings")
        .def(nb::init<>())
        .def("start", &Recordings::start, "id"_a, "path"_a, "rate_hz"_a, "fd"_a = nb::none())
        .def("listener", &Recordings::listener, "id"_a, "channel"_a)
        .def("pause", &Recordings::pause, "id"_a, "paused"_a)
        .def("stop", &Recordings::stop, "id"_a)
        .def("dropped", &Recordings::dropped, "id"_a)
        .def("close", &Recordings::close, nb::call_guard<nb::gil_scoped_release>())
        .def("drain", &Recordings::drain);
}

}  // namespace sdpserver
