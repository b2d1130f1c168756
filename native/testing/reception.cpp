// What is measured on received RTP, at times that the test chooses.

#include "reception.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>

#include <optional>
#include <tuple>

namespace nb = nanobind;
using namespace nb::literals;

namespace sdpserver {
namespace {

/// A leg's reception with figures of its own. Times are in seconds.
class TestedReception {
   public:
    bool receive(uint16_t sequence, uint32_t timestamp, double at_s, uint32_t clock_rate_hz, uint32_t ssrc,
                 bool marker) {
        const RtpPacket packet{.marker = marker, .sequence = sequence, .timestamp = timestamp, .ssrc = ssrc};
        figures_.packets_received.add(1);
        return reception_.received(packet, clock_rate_hz, time(at_s));
    }
    void sender_report(uint32_t packets, double at_s, uint32_t ssrc) {
        reception_.sender_report(ssrc, 0x12345678, packets, time(at_s));
    }
    void reset() { reception_.reset(); }
    /// (fraction lost in 1/256, lost, highest sequence number, jitter, delay since the last sender report)
    std::optional<std::tuple<uint8_t, int32_t, uint32_t, uint32_t, uint32_t>> report(double at_s) {
        const auto block = reception_.report(time(at_s));
        if (!block) return std::nullopt;
        return std::tuple{block->fraction_lost, block->lost, block->highest_sequence, block->jitter, block->delay};
    }
    nb::dict figures() const {
        nb::dict result;
        result["packets_received"] = figures_.packets_received.get();
        result["packets_lost"] = figures_.packets_lost.get();
        result["packets_unseen"] = figures_.packets_unseen.get();
        result["jitter_ms"] = figures_.jitter_ms.get();
        result["packet_ms"] = figures_.packet_ms.get();
        result["loss_runs"] = figures_.loss_runs.get();
        result["loss_runs_lost"] = figures_.loss_runs_lost.get();
        result["bursts"] = figures_.bursts.get();
        result["burst_packets"] = figures_.burst_packets.get();
        result["burst_packets_lost"] = figures_.burst_packets_lost.get();
        return result;
    }

   private:
    static TimeNs time(double at_s) { return static_cast<TimeNs>(at_s * static_cast<double>(kSecond)); }

    LegFigures figures_;
    Reception reception_{figures_};
};

}  // namespace

void register_reception(nb::module_& module) {
    nb::class_<TestedReception>(module, "Reception")
        .def(nb::init<>())
        .def("receive", &TestedReception::receive, "sequence"_a, "timestamp"_a, "at_s"_a, "clock_rate_hz"_a = 8000,
             "ssrc"_a = 1, "marker"_a = false)
        .def("sender_report", &TestedReception::sender_report, "packets"_a, "at_s"_a, "ssrc"_a = 1)
        .def("reset", &TestedReception::reset)
        .def("report", &TestedReception::report, "at_s"_a)
        .def_prop_ro("figures", &TestedReception::figures);
}

}  // namespace sdpserver
