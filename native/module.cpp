// The border to Python: `_media`, as _media.pyi has it. Nothing here runs per packet.

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>
#include <openssl/crypto.h>
#include <opus/opus.h>

#include <cerrno>
#include <optional>
#include <system_error>
#include <tuple>

#include "engine.h"
#include "srtcp.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace sdpserver {
namespace {

/// (encoding name, clock rate in Hz, payload type sent or none, payload type received)
using CodecEntry = std::tuple<std::string, uint32_t, std::optional<uint8_t>, uint8_t>;

std::vector<Format> formats_of(const std::vector<CodecEntry>& entries) {
    std::vector<Format> formats;
    for (const auto& [name, clock_rate_hz, send_type, receive_type] : entries) {
        const auto codec = codec_by_name(name);
        if (!codec) throw std::invalid_argument("no such codec: " + name);
        if (send_type == Format::kNotSent) throw std::invalid_argument("a payload type above 127");
        formats.push_back({*codec, clock_rate_hz, send_type.value_or(Format::kNotSent), receive_type});
    }
    return formats;
}

std::string text_of(const nb::bytes& bytes) { return {bytes.c_str(), bytes.size()}; }

nb::list drain(Engine& engine) {
    nb::list events;
    for (const Event& event : engine.drain()) {
        events.append(nb::make_tuple(static_cast<int>(event.kind), event.leg, event.time,
                                     nb::bytes(event.data.data(), event.data.size())));
    }
    return events;
}

const char* conversion_name(Conversion conversion) {
    switch (conversion) {
        case Conversion::relay: return "relay";
        case Conversion::convert: return "convert";
        case Conversion::transcode: return "transcode";
        case Conversion::none: break;
    }
    return "none";
}

nb::object voip_metrics(const LegFigures& figures) {
    const auto metrics = figures.voip_metrics();
    if (!metrics) return nb::none();
    nb::dict result;
    result["loss_rate"] = metrics->loss_rate / 256.0;
    result["discard_rate"] = metrics->discard_rate / 256.0;
    result["burst_density"] = metrics->burst_density / 256.0;
    result["gap_density"] = metrics->gap_density / 256.0;
    result["burst_duration_ms"] = metrics->burst_duration_ms;
    result["gap_duration_ms"] = metrics->gap_duration_ms;
    result["round_trip_ms"] = metrics->round_trip_ms;
    result["end_system_delay_ms"] = metrics->end_system_delay_ms;
    result["gmin"] = metrics->gmin;
    result["r_factor"] = metrics->r_factor;
    result["mos_lq"] = metrics->mos_lq / 10.0;
    result["mos_cq"] = metrics->mos_cq / 10.0;
    return result;
}

double ms_since(TimeNs moment) {
    return moment == 0 ? -1.0 : static_cast<double>(monotonic_ns() - moment) / kMillisecond;
}

nb::dict leg_stats(const Engine& engine, LegId leg) {
    const LegFigures& figures = engine.figures(leg);
    nb::dict stats;
    stats["packets_received"] = figures.packets_received.get();
    stats["octets_received"] = figures.octets_received.get();
    stats["packets_sent"] = figures.packets_sent.get();
    stats["octets_sent"] = figures.octets_sent.get();
    stats["packets_lost"] = figures.packets_lost.get();
    stats["jitter_ms"] = figures.jitter_ms.get();
    stats["remote_packets_lost"] = figures.remote_packets_lost.get();
    stats["remote_jitter_ms"] = figures.remote_jitter_ms.get();
    stats["round_trip_ms"] = figures.round_trip_ms.get();
    stats["packet_ms"] = figures.packet_ms.get();
    stats["packets_unseen"] = figures.packets_unseen.get();
    stats["loss_runs"] = figures.loss_runs.get();
    stats["loss_runs_lost"] = figures.loss_runs_lost.get();
    stats["bursts"] = figures.bursts.get();
    stats["burst_packets"] = figures.burst_packets.get();
    stats["burst_packets_lost"] = figures.burst_packets_lost.get();
    stats["remote_fraction_lost"] = figures.remote_fraction_lost.get();
    stats["expected_loss"] = figures.expected_loss.get();
    stats["reports_received"] = figures.reports_received.get();
    stats["playout_delay_ms"] = figures.playout_delay_ms.get();
    stats["packets_late"] = figures.packets_late.get();
    stats["packets_recovered"] = figures.packets_recovered.get();
    stats["concealed_ms"] = figures.concealed_ms.get();
    stats["voip_metrics"] = voip_metrics(figures);
    stats["codec_received"] = codec_name(figures.codec_received.get());
    stats["codec_sent"] = codec_name(figures.codec_sent.get());
    stats["conversion"] = conversion_name(figures.conversion.get());
    stats["auth_failures"] = figures.auth_failures.get();
    stats["auth_failures_in_a_row"] = figures.auth_failures_in_a_row.get();
    stats["replayed"] = figures.replayed.get();
    stats["dropped_source"] = figures.dropped_source.get();
    stats["dropped_malformed"] = figures.dropped_malformed.get();
    stats["dropped_payload_type"] = figures.dropped_payload_type.get();
    stats["dropped_direction"] = figures.dropped_direction.get();
    stats["dropped_conversion"] = figures.dropped_conversion.get();
    stats["dropped_send"] = figures.dropped_send.get();
    stats["rtcp_received"] = figures.rtcp_received.get();
    stats["rtcp_sent"] = figures.rtcp_sent.get();
    stats["telephone_events_received"] = figures.telephone_events_received.get();
    stats["telephone_events_sent"] = figures.telephone_events_sent.get();
    stats["heard_ms_ago"] = ms_since(figures.last_heard.get());
    stats["sent_ms_ago"] = ms_since(figures.last_sent.get());
    const auto remote = figures.remote_address();
    stats["remote_address"] = remote ? remote->text() : std::string();
    return stats;
}

nb::dict counters(const Engine& engine, size_t worker) {
    const WorkerCounters& counted = engine.counters(worker);
    nb::dict result;
    result["polls"] = counted.polls.get();
    result["paced_polls"] = counted.paced_polls.get();
    result["receive_calls"] = counted.receive_calls.get();
    result["packets_received"] = counted.packets_received.get();
    result["send_calls"] = counted.send_calls.get();
    result["packets_sent"] = counted.packets_sent.get();
    result["send_failures"] = counted.send_failures.get();
    result["stun"] = counted.stun.get();
    result["stun_failures"] = counted.stun_failures.get();
    result["dtls"] = counted.dtls.get();
    result["dtls_dropped"] = counted.dtls_dropped.get();
    result["unknown_source"] = counted.unknown_source.get();
    result["malformed"] = counted.malformed.get();
    result["kernel_drops"] = counted.kernel_drops.get();
    result["legs"] = counted.legs.get();
    result["timers"] = counted.timers.get();
    return result;
}

nb::dict build(const Engine& engine) {
    nb::dict versions;
    versions["openssl"] = OpenSSL_version(OPENSSL_VERSION);
    versions["libsrtp"] = libsrtp_version();
    versions["opus"] = opus_get_version_string();
    versions["io"] = engine.io() == Io::io_uring ? "io_uring" : "epoll";
#if defined(__SANITIZE_ADDRESS__)
    versions["sanitizer"] = "address";
#elif defined(__SANITIZE_THREAD__)
    versions["sanitizer"] = "thread";
#else
    versions["sanitizer"] = "";
#endif
    return versions;
}

/// OSError with its errno, so that Python can tell a used-up range from a refused bind; KeyError for an unknown leg.
void register_errors() {
    nb::register_exception_translator([](const std::exception_ptr& raised, void*) {
        try {
            std::rethrow_exception(raised);
        } catch (const std::system_error& error) {
            errno = error.code().value();
            const nb::object arguments = nb::make_tuple(error.code().value(), error.what());
            PyErr_SetObject(PyExc_OSError, arguments.ptr());
        } catch (const UnknownLeg& error) {
            PyErr_SetString(PyExc_KeyError, error.what());
        } catch (const UnknownRecording& error) {
            PyErr_SetString(PyExc_KeyError, error.what());
        } catch (const UnknownRoom& error) {
            PyErr_SetString(PyExc_KeyError, error.what());
        }
    });
}

IceCredentials credentials(std::string ufrag, std::string pwd) { return {std::move(ufrag), std::move(pwd)}; }

}  // namespace
}  // namespace sdpserver

NB_MODULE(_media, module) {
    using namespace sdpserver;
    register_errors();

    const std::pair<const char*, EventKind> kinds[] = {
        {"ICE_CONNECTED", EventKind::ice_connected},
        {"ICE_SELECTED", EventKind::ice_selected},
        {"ICE_TIMEOUT", EventKind::ice_timeout},
        {"DTLS", EventKind::dtls},
        {"FIRST_RTP_RECEIVED", EventKind::first_rtp_received},
        {"FIRST_RTP_SENT", EventKind::first_rtp_sent},
        {"MEDIA_TIMEOUT", EventKind::media_timeout},
        {"FAILED", EventKind::failed},
        {"TALKING", EventKind::talking},
        {"PLAY_ENDED", EventKind::play_ended},
        {"RECORDING_STARTED", EventKind::recording_started},
        {"RECORDING_STOPPED", EventKind::recording_stopped},
        {"RECORDING_FAILED", EventKind::recording_failed},
        {"DTMF", EventKind::dtmf},
    };
    for (const auto& [name, kind] : kinds) module.attr(name) = static_cast<int>(kind);

    nb::class_<Sound>(module, "Sound")
        .def_prop_ro("duration_s", &Sound::duration_s)
        .def_prop_ro("octets", &Sound::octets);
    module.def(
        "decode_sound",
        [](int fd, size_t max_octets) { return std::const_pointer_cast<Sound>(Sound::decode(fd, max_octets)); },
        "fd"_a, "max_octets"_a, nb::call_guard<nb::gil_scoped_release>());
    module.def("recover_recording", &WavWriter::recover, "path"_a, nb::call_guard<nb::gil_scoped_release>());

    nb::class_<Engine>(module, "Engine")
        .def(
            "__init__",
            [](Engine* self, size_t workers, std::string webrtc_bind, uint16_t webrtc_port, std::string rtp_bind,
               std::pair<uint16_t, uint16_t> rtp_port_range, double report_interval_s, std::string io,
               double gather_ms, int opus_bitrate_bps, int opus_complexity, bool opus_dtx,
               std::pair<uint32_t, uint32_t> jitter_buffer_ms) {
                new (self) Engine({
                    .workers = workers,
                    .webrtc_bind = std::move(webrtc_bind),
                    .webrtc_port = webrtc_port,
                    .rtp_bind = std::move(rtp_bind),
                    .rtp_port_range = rtp_port_range,
                    .audio = {.playout = {.min_delay = jitter_buffer_ms.first * kMillisecond,
                                          .max_delay = jitter_buffer_ms.second * kMillisecond},
                              .encoder = {.opus_bitrate_bps = opus_bitrate_bps,
                                          .opus_complexity = opus_complexity,
                                          .opus_dtx = opus_dtx}},
                    .report_interval = static_cast<TimeNs>(report_interval_s * static_cast<double>(kSecond)),
                    .io = std::move(io),
                    .gather_ms = gather_ms,
                });
            },
            nb::kw_only(), "workers"_a = 1, "webrtc_bind"_a = "0.0.0.0", "webrtc_port"_a = 10000,
            "rtp_bind"_a = "0.0.0.0", "rtp_port_range"_a = std::pair<uint16_t, uint16_t>(20000, 29999),
            "report_interval_s"_a = 5.0, "io"_a = "auto", "gather_ms"_a = 1.0,
            "opus_bitrate_bps"_a = 16000, "opus_complexity"_a = 3, "opus_dtx"_a = false,
            "jitter_buffer_ms"_a = std::pair{20u, 200u})
        .def_prop_ro("event_fd", &Engine::event_fd)
        .def_prop_ro("workers", &Engine::workers)
        .def_prop_ro("build", &build)
        .def("webrtc_port", &Engine::webrtc_port, "worker"_a)
        .def("drain", &drain)
        .def("close", &Engine::close, nb::call_guard<nb::gil_scoped_release>())
        .def(
            "create_webrtc_leg",
            [](Engine& self, size_t worker, std::string local_ufrag, std::string local_pwd, std::string remote_ufrag,
               std::string remote_pwd) {
                return self.create_webrtc_leg(worker, credentials(std::move(local_ufrag), std::move(local_pwd)),
                                              credentials(std::move(remote_ufrag), std::move(remote_pwd)));
            },
            "worker"_a, "local_ufrag"_a, "local_pwd"_a, "remote_ufrag"_a, "remote_pwd"_a)
        .def("create_rtp_leg", &Engine::create_rtp_leg, "worker"_a)
        .def("remove_leg", &Engine::remove_leg, "leg"_a)
        .def(
            "restart_ice",
            [](Engine& self, LegId leg, std::string local_ufrag, std::string local_pwd, std::string remote_ufrag,
               std::string remote_pwd) {
                self.restart_ice(leg, credentials(std::move(local_ufrag), std::move(local_pwd)),
                                 credentials(std::move(remote_ufrag), std::move(remote_pwd)));
            },
            "leg"_a, "local_ufrag"_a, "local_pwd"_a, "remote_ufrag"_a, "remote_pwd"_a)
        .def(
            "set_remote_ice",
            [](Engine& self, LegId leg, std::string remote_ufrag, std::string remote_pwd) {
                self.set_remote_ice(leg, credentials(std::move(remote_ufrag), std::move(remote_pwd)));
            },
            "leg"_a, "remote_ufrag"_a, "remote_pwd"_a)
        .def(
            "send_dtls",
            [](Engine& self, LegId leg, const nb::bytes& datagram) { self.send_dtls(leg, text_of(datagram)); },
            "leg"_a, "datagram"_a)
        .def(
            "set_srtp",
            [](Engine& self, LegId leg, std::string_view profile, const nb::bytes& send_key,
               const nb::bytes& receive_key) {
                self.set_srtp(leg, profile, text_of(send_key), text_of(receive_key));
            },
            "leg"_a, "profile"_a, "send_key"_a, "receive_key"_a)
        .def("clear_srtp", &Engine::clear_srtp, "leg"_a)
        .def("set_rtp_remote", &Engine::set_rtp_remote, "leg"_a, "ip"_a, "rtp_port"_a, "rtcp_port"_a, "learn"_a)
        .def(
            "set_codecs",
            [](Engine& self, LegId leg, const std::vector<CodecEntry>& codecs, uint32_t ptime_ms) {
                self.set_codecs(leg, formats_of(codecs), ptime_ms);
            },
            "leg"_a, "codecs"_a, "ptime_ms"_a = 20)
        .def(
            "set_opus_receiver",
            [](Engine& self, LegId leg, uint32_t rate_hz, int bitrate_bps, bool fec, bool dtx) {
                self.set_opus_receiver(leg, {.max_playback_rate_hz = rate_hz,
                                             .max_average_bitrate_bps = bitrate_bps,
                                             .use_inband_fec = fec,
                                             .use_dtx = dtx});
            },
            "leg"_a, nb::kw_only(), "max_playback_rate_hz"_a = 48'000, "max_average_bitrate_bps"_a = 510'000,
            "use_inband_fec"_a = false, "use_dtx"_a = false)
        .def("set_direction", &Engine::set_direction, "leg"_a, "send"_a, "receive"_a)
        .def("set_source_leg", &Engine::set_source_leg, "leg"_a, "source"_a)
        .def(
            "set_source_tone",
            [](Engine& self, LegId leg, const std::vector<double>& frequencies_hz, std::vector<uint32_t> cadence_ms,
               double level_dbm0, double modulation_hz) {
                self.set_source_tone(leg, Tone(frequencies_hz, std::move(cadence_ms), level_dbm0, modulation_hz));
            },
            "leg"_a, "frequencies_hz"_a, "cadence_ms"_a = std::vector<uint32_t>(), "level_dbm0"_a = -13.0,
            "modulation_hz"_a = 0.0)
        .def("set_source_none", &Engine::set_source_none, "leg"_a)
        .def(
            "set_source_sound",
            [](Engine& self, LegId leg, const std::shared_ptr<Sound>& sound, bool loop, double gain_db) {
                self.set_source_sound(leg, SoundPlayer(sound, loop, gain_db));
            },
            "leg"_a, "sound"_a, "loop"_a = false, "gain_db"_a = 0.0)
        .def(
            "play_tone",
            [](Engine& self, LegId leg, const std::vector<double>& frequencies_hz, std::vector<uint32_t> cadence_ms,
               double level_dbm0, double modulation_hz, uint32_t rounds, std::string tag) {
                self.play(leg, Tone(frequencies_hz, std::move(cadence_ms), level_dbm0, modulation_hz, rounds),
                          std::move(tag));
            },
            "leg"_a, "frequencies_hz"_a, "cadence_ms"_a = std::vector<uint32_t>(), "level_dbm0"_a = -13.0,
            "modulation_hz"_a = 0.0, "rounds"_a = 0, "tag"_a = "")
        .def(
            "play_sound",
            [](Engine& self, LegId leg, const std::shared_ptr<Sound>& sound, bool loop, double gain_db,
               std::string tag) { self.play(leg, SoundPlayer(sound, loop, gain_db), std::move(tag)); },
            "leg"_a, "sound"_a, "loop"_a = false, "gain_db"_a = 0.0, "tag"_a = "")
        .def("stop_playing", &Engine::stop_playing, "leg"_a)
        .def("start_recording", &Engine::start_recording, "path"_a, "rate_hz"_a)
        .def(
            "set_recorded_leg",
            [](Engine& self, RecordingId recording, size_t channel, LegId leg) {
                if (channel >= StereoTrack::kChannels) throw std::invalid_argument("channel 0 or 1");
                self.set_recorded_leg(recording, static_cast<Recording::Channel>(channel), leg);
            },
            "recording"_a, "channel"_a, "leg"_a)
        .def("set_recorded_room", &Engine::set_recorded_room, "recording"_a, "room"_a)
        .def("pause_recording", &Engine::pause_recording, "recording"_a, "paused"_a)
        .def("stop_recording", &Engine::stop_recording, "recording"_a)
        .def(
            "send_presses",
            [](Engine& self, LegId leg, const std::vector<uint8_t>& events, uint32_t duration_ms, uint32_t gap_ms,
               uint8_t volume, bool in_band) {
                std::vector<PressOrder> orders;
                for (const uint8_t event : events) orders.push_back({event, volume, in_band, duration_ms, gap_ms});
                self.send_presses(leg, orders);
            },
            "leg"_a, "events"_a, "duration_ms"_a, "gap_ms"_a, "volume"_a = 10, "in_band"_a = false)
        .def("detect_inband_presses", &Engine::detect_inband_presses, "leg"_a, "enabled"_a)
        .def("move_rtp_leg", &Engine::move_rtp_leg, nb::call_guard<nb::gil_scoped_release>(), "leg"_a, "worker"_a)
        .def("create_room", &Engine::create_room, "worker"_a, "rate_hz"_a)
        .def("close_room", &Engine::close_room, "room"_a)
        .def(
            "join_room",
            [](Engine& self, RoomId room, LegId leg, uint32_t says, uint32_t hears, bool muted) {
                self.join_room(room, leg, {.says = says, .hears = hears, .muted = muted});
            },
            "room"_a, "leg"_a, "says"_a = 1, "hears"_a = 1, "muted"_a = false)
        .def("leave_room", &Engine::leave_room, "room"_a, "leg"_a)
        .def("room_levels", &Engine::room_levels, "room"_a)
        .def("set_timeouts", &Engine::set_timeouts, "leg"_a, "ice_timeout_s"_a = 0.0, "media_timeout_s"_a = 0.0)
        .def("leg_stats", &leg_stats, "leg"_a)
        .def("counters", &counters, "worker"_a);
}
