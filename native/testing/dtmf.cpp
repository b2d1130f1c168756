// Presses: told apart, timed, and heard in audio, without sockets and clocks.

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "inband_dtmf.h"
#include "press_sender.h"
#include "telephone_event.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace sdpserver {
namespace {

/// (event, duration in ms)
using Heard = std::pair<int, uint32_t>;

std::optional<Heard> heard(const std::optional<PressDetector::Press>& press) {
    return press ? std::optional<Heard>({press->event, press->duration_ms}) : std::nullopt;
}

TimeNs ns(double ms) { return static_cast<TimeNs>(ms * static_cast<double>(kMillisecond)); }
double ms(TimeNs time) { return static_cast<double>(time) / static_cast<double>(kMillisecond); }

std::pair<bool, std::optional<Heard>> packet(PressDetector& detector, double now_ms, uint32_t timestamp, uint8_t event,
                                             uint16_t duration, bool end, uint32_t clock_rate_hz) {
    const TelephoneEvent carried{
        .event = event, .flags_volume = end ? TelephoneEvent::kEnd : uint8_t{0}, .duration = duration};
    const auto outcome = detector.packet(carried, timestamp, clock_rate_hz, ns(now_ms));
    return {outcome.begun, heard(outcome.ended)};
}

/// ("nothing" | "over"), or ("packet", event, volume, first, end, elapsed_ms, start_ms), or ("audio", samples).
nb::tuple step(PressSender& sender, double now_ms, uint32_t interval_ms, uint32_t rate_hz) {
    switch (sender.step(ns(now_ms), interval_ms)) {
        case PressSender::Step::nothing: return nb::make_tuple("nothing");
        case PressSender::Step::over: return nb::make_tuple("over");
        case PressSender::Step::packet: {
            const auto& sent = sender.packet();
            return nb::make_tuple("packet", sent.event, sent.volume, sent.first, sent.end, sent.elapsed_ms, ms(sent.start));
        }
        case PressSender::Step::audio: break;
    }
    std::vector<int16_t> samples(interval_ms * rate_hz / 1000);
    sender.generate(samples, rate_hz);
    return nb::make_tuple("audio", nb::bytes(reinterpret_cast<const char*>(samples.data()), samples.size() * 2));
}

class Ear {
   public:
    Ear()
        : detector_([this](const InbandDtmfDetector::Press& press, TimeNs now) {
              presses_.emplace_back(press.event, press.duration_ms, ms(now));
          }) {}

    /// Samples of 16 bits, in frames of 20 ms.
    void listen(const nb::bytes& pcm, uint32_t rate_hz, bool concealed) {
        std::vector<int16_t> samples(pcm.size() / 2);
        std::memcpy(samples.data(), pcm.c_str(), samples.size() * 2);
        const size_t frame = rate_hz / 50;
        for (size_t at = 0; at < samples.size(); at += frame) {
            const auto part = std::span<const int16_t>(samples).subspan(at, std::min(frame, samples.size() - at));
            detector_.take({.samples = part,
                            .rate_hz = rate_hz,
                            .kind = concealed ? AudioKind::concealment : AudioKind::speech},
                           now_);
            now_ += 20 * kMillisecond;
        }
    }
    const std::vector<std::tuple<int, uint32_t, double>>& presses() const { return presses_; }

   private:
    std::vector<std::tuple<int, uint32_t, double>> presses_;
    TimeNs now_ = 0;
    InbandDtmfDetector detector_;
};

}  // namespace

void register_dtmf(nb::module_& module) {
    nb::class_<PressDetector>(module, "PressDetector")
        .def(nb::init<>())
        .def("packet", &packet, "now_ms"_a, "timestamp"_a, "event"_a, "duration"_a, "end"_a = false,
             "clock_rate_hz"_a = 8000)
        .def("expire", [](PressDetector& self, double now_ms) { return heard(self.expire(ns(now_ms))); }, "now_ms"_a)
        .def("restart", [](PressDetector& self) { return heard(self.restart()); })
        .def_prop_ro("due_ms", [](const PressDetector& self) { return ms(self.due()); });
    nb::class_<PressSender>(module, "PressSender")
        .def(nb::init<>())
        .def(
            "queue",
            [](PressSender& self, uint8_t event, uint32_t duration_ms, uint32_t gap_ms, uint8_t volume, bool in_band) {
                return self.queue({.event = event,
                                   .volume = volume,
                                   .in_band = in_band,
                                   .duration_ms = duration_ms,
                                   .gap_ms = gap_ms});
            },
            "event"_a, "duration_ms"_a = 100, "gap_ms"_a = 70, "volume"_a = 10, "in_band"_a = false)
        .def("step", &step, "now_ms"_a, "interval_ms"_a = 20, "rate_hz"_a = kNarrowbandHz)
        .def("clear", &PressSender::clear)
        .def("take_ended", &PressSender::take_ended)
        .def_prop_ro("busy", &PressSender::busy)
        .def_prop_ro("queued", &PressSender::queued)
        .def_prop_ro("due_ms", [](const PressSender& self) { return ms(self.due()); });
    nb::class_<Ear>(module, "InbandDtmfDetector")
        .def(nb::init<>())
        .def("listen", &Ear::listen, "pcm"_a, "rate_hz"_a = kNarrowbandHz, "concealed"_a = false)
        .def_prop_ro("presses", &Ear::presses);
}

}  // namespace sdpserver
