// The jitter buffer with all that makes audio of packets, and the encoder, at times that the test chooses.

#include "playout.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <stdexcept>
#include <tuple>
#include <vector>

#include "audio_encoder.h"
#include "red.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace sdpserver {
namespace {

ConstBytes octets_of(const nb::bytes& bytes) { return {reinterpret_cast<const uint8_t*>(bytes.c_str()), bytes.size()}; }
nb::bytes bytes_of(const void* from, size_t length) { return nb::bytes(static_cast<const char*>(from), length); }
TimeNs time_of(double seconds) { return static_cast<TimeNs>(seconds * 1e9); }

Codec codec_of(std::string_view name) {
    const auto codec = codec_by_name(name);
    if (!codec) throw std::invalid_argument("no such codec");
    return *codec;
}

const char* name_of(AudioKind kind) {
    switch (kind) {
        case AudioKind::speech: return "speech";
        case AudioKind::concealment: return "concealment";
        case AudioKind::comfort_noise: return "comfort_noise";
        case AudioKind::silence: return "silence";
    }
    throw std::logic_error("an unknown kind");
}

/// Times are in seconds, samples native 16-bit ones.
class TestedPlayout {
   public:
    TestedPlayout(uint32_t rate_hz, double min_delay_s, double max_delay_s)
        : playout_(rate_hz, {.min_delay = time_of(min_delay_s), .max_delay = time_of(max_delay_s)}), rate_hz_(rate_hz) {}

    void put(uint16_t sequence, uint32_t timestamp, const nb::bytes& payload, std::string_view codec, double at_s,
             uint32_t clock_rate_hz) {
        const RtpPacket packet{.sequence = sequence, .timestamp = timestamp, .payload = octets_of(payload)};
        if (const Codec known = codec_of(codec); known != Codec::red) {
            return playout_.put(packet, {.codec = known, .clock_rate_hz = clock_rate_hz}, time_of(at_s));
        }
        const auto packets = red_.unwrap(packet);
        if (!packets) return;
        for (const RtpPacket& one : *packets) {
            playout_.put(one, {.codec = Codec::opus, .clock_rate_hz = clock_rate_hz}, time_of(at_s));
        }
    }
    std::pair<const char*, nb::bytes> get(double at_s, uint32_t duration_ms) {
        std::vector<int16_t> samples(size_t{rate_hz_} * duration_ms / 1000);
        const AudioKind kind = playout_.get(samples, time_of(at_s));
        return {name_of(kind), bytes_of(samples.data(), samples.size() * sizeof(int16_t))};
    }
    void set_movable_ticks(bool movable) { playout_.set_movable_ticks(movable); }
    double tick_shift_s() const { return static_cast<double>(playout_.tick_shift()) * 1e-9; }
    void set_rate(uint32_t rate_hz) { playout_.set_rate(rate_hz_ = rate_hz); }
    void reset() { playout_.reset(); }
    bool idle() const { return playout_.idle(); }
    nb::dict figures() const {
        const Playout::Figures& from = playout_.figures();
        nb::dict result;
        result["delay_ms"] = from.delay_ms;
        result["target_delay_ms"] = from.target_delay_ms;
        result["packets_played"] = from.packets_played;
        result["packets_late"] = from.packets_late;
        result["packets_repeated"] = from.packets_repeated;
        result["packets_discarded"] = from.packets_discarded;
        result["packets_recovered_fec"] = from.packets_recovered_fec;
        result["packets_recovered_red"] = red_.recovered();
        result["samples_played"] = from.samples_played;
        result["samples_concealed"] = from.samples_concealed;
        result["samples_inserted"] = from.samples_inserted;
        result["samples_removed"] = from.samples_removed;
        return result;
    }

   private:
    Playout playout_;
    RedStream red_;
    uint32_t rate_hz_;
};

class TestedEncoder {
   public:
    TestedEncoder(int opus_bitrate_bps, int opus_complexity, bool opus_dtx)
        : encoder_({.opus_bitrate_bps = opus_bitrate_bps, .opus_complexity = opus_complexity, .opus_dtx = opus_dtx}) {}

    void set_format(std::string_view codec, uint32_t ptime_ms) { encoder_.set_format(codec_of(codec), ptime_ms); }
    void put(const nb::bytes& samples, uint32_t rate_hz) {
        const auto* from = reinterpret_cast<const int16_t*>(samples.c_str());
        encoder_.put({.samples = {from, samples.size() / sizeof(int16_t)}, .rate_hz = rate_hz});
    }
    /// (payload, ms, to be left out)
    std::optional<std::tuple<nb::bytes, uint32_t, bool>> take() {
        std::array<uint8_t, AudioEncoder::kMaxPayload> out;
        const auto payload = encoder_.take(out);
        if (!payload) return std::nullopt;
        return std::tuple{bytes_of(out.data(), payload->octets), payload->duration_ms, payload->dtx};
    }
    void set_expected_loss(double fraction) { encoder_.set_expected_loss(fraction); }
    void reset() { encoder_.reset(); }

   private:
    AudioEncoder encoder_;
};

/// (payload type, timestamp offset, data) of each block, the primary last.
std::optional<std::vector<std::tuple<uint8_t, uint16_t, nb::bytes>>> parse_red_blocks(const nb::bytes& payload) {
    const auto red = parse_red(octets_of(payload));
    if (!red) return std::nullopt;
    std::vector<std::tuple<uint8_t, uint16_t, nb::bytes>> blocks;
    const auto add = [&blocks](const RedBlock& block) {
        blocks.emplace_back(block.payload_type, block.timestamp_offset, bytes_of(block.data.data(), block.data.size()));
    };
    for (const RedBlock& block : red->redundant()) add(block);
    add(red->primary());
    return blocks;
}

/// Octets of a playout without the state of its codecs and of concealment.
size_t playout_size(uint32_t rate_hz) {
    return sizeof(Playout) + size_t{SampleLine::kRoomMs} * rate_hz / 1000 * sizeof(int16_t);
}

}  // namespace

void register_playout(nb::module_& module) {
    module.def("parse_red", &parse_red_blocks, "payload"_a);
    module.def("playout_size", &playout_size, "rate_hz"_a);
    module.def("has_opus_redundancy", [](const nb::bytes& payload) { return has_opus_redundancy(octets_of(payload)); },
               "payload"_a);
    nb::class_<TestedPlayout>(module, "Playout")
        .def(nb::init<uint32_t, double, double>(), "rate_hz"_a = 8000, "min_delay_s"_a = 0.02, "max_delay_s"_a = 0.2)
        .def("put", &TestedPlayout::put, "sequence"_a, "timestamp"_a, "payload"_a, "codec"_a, "at_s"_a,
             "clock_rate_hz"_a = 8000)
        .def("get", &TestedPlayout::get, "at_s"_a, "duration_ms"_a = 20)
        .def("set_movable_ticks", &TestedPlayout::set_movable_ticks, "movable"_a)
        .def("set_rate", &TestedPlayout::set_rate, "rate_hz"_a)
        .def("reset", &TestedPlayout::reset)
        .def_prop_ro("tick_shift_s", &TestedPlayout::tick_shift_s)
        .def_prop_ro("idle", &TestedPlayout::idle)
        .def_prop_ro("figures", &TestedPlayout::figures);
    nb::class_<TestedEncoder>(module, "AudioEncoder")
        .def(nb::init<int, int, bool>(), "opus_bitrate_bps"_a = 16000, "opus_complexity"_a = 3, "opus_dtx"_a = false)
        .def("set_format", &TestedEncoder::set_format, "codec"_a, "ptime_ms"_a = 20)
        .def("put", &TestedEncoder::put, "samples"_a, "rate_hz"_a = 8000)
        .def("take", &TestedEncoder::take)
        .def("set_expected_loss", &TestedEncoder::set_expected_loss, "fraction"_a)
        .def("reset", &TestedEncoder::reset);
}

}  // namespace sdpserver
