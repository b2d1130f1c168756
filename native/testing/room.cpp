// The mixer of rooms, by itself: frames in, frames out, without a clock.

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>

#include <cstring>
#include <stdexcept>
#include <vector>

#include "limiter.h"
#include "mixer.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace sdpserver {
namespace {

std::vector<int16_t> samples_of(const nb::bytes& octets) {
    std::vector<int16_t> samples(octets.size() / sizeof(int16_t));
    std::memcpy(samples.data(), octets.c_str(), samples.size() * sizeof(int16_t));
    return samples;
}
nb::bytes bytes_of(std::span<const int16_t> samples) {
    return nb::bytes(reinterpret_cast<const char*>(samples.data()), samples.size_bytes());
}
size_t checked(const Mixer& mixer, size_t slot) {
    if (slot >= mixer.slots()) throw std::out_of_range("no such member");
    return slot;
}
/// Native 32-bit samples in, 16-bit ones out.
nb::bytes limit(Limiter& limiter, const nb::bytes& sum) {
    std::vector<int32_t> in(sum.size() / sizeof(int32_t));
    std::memcpy(in.data(), sum.c_str(), in.size() * sizeof(int32_t));
    std::vector<int16_t> out(in.size());
    limiter.process(in, out);
    return bytes_of(out);
}

}  // namespace

void register_room(nb::module_& module);
void register_room(nb::module_& module) {
    nb::class_<Limiter>(module, "Limiter")
        .def(nb::init<uint32_t>(), "rate_hz"_a)
        .def_prop_ro("gain", &Limiter::gain)
        .def("process", &limit, "frame"_a);
    nb::class_<Mixer>(module, "Mixer")
        .def(nb::init<uint32_t>(), "rate_hz"_a)
        .def_prop_ro("members", &Mixer::members)
        .def(
            "add", [](Mixer& self, uint32_t says, uint32_t hears) { return self.add({.says = says, .hears = hears}); },
            "says"_a = 1, "hears"_a = 1)
        .def("remove", [](Mixer& self, size_t slot) { self.remove(checked(self, slot)); }, "slot"_a)
        .def(
            "set_rules",
            [](Mixer& self, size_t slot, uint32_t says, uint32_t hears, bool muted) {
                self.set_rules(checked(self, slot), {.says = says, .hears = hears, .muted = muted});
            },
            "slot"_a, "says"_a = 1, "hears"_a = 1, "muted"_a = false)
        .def(
            "put",
            [](Mixer& self, size_t slot, const nb::bytes& frame) { self.put(checked(self, slot), samples_of(frame)); },
            "slot"_a, "frame"_a)
        .def("mix", &Mixer::mix)
        .def(
            "heard_by", [](Mixer& self, size_t slot) { return bytes_of(self.heard_by(checked(self, slot))); },
            "slot"_a)
        .def("heard_by_all", [](Mixer& self) { return bytes_of(self.heard_by_all()); })
        .def(
            "level_dbov", [](const Mixer& self, size_t slot) { return self.level_dbov(checked(self, slot)); },
            "slot"_a)
        .def(
            "talking", [](const Mixer& self, size_t slot) { return self.talking(checked(self, slot)); }, "slot"_a)
        .def(
            "chosen", [](const Mixer& self, size_t slot) { return self.chosen(checked(self, slot)); }, "slot"_a);
}

}  // namespace sdpserver
