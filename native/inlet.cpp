#include "inlet.h"

#include <algorithm>

namespace sdpserver {
namespace {

constexpr uint32_t kFrameMs = 20;
constexpr uint32_t kShortFrameMs = 10;
/// From a packet to the first frame: those that come a little later than the first still make it in time.
constexpr TimeNs kFirstFrame = 2 * kMillisecond;

}  // namespace

Inlet::~Inlet() { disconnect(); }

void Inlet::remove(const InletSink& sink) {
    std::erase_if(sinks_, [&sink](const Entry& entry) { return entry.sink == &sink; });
}

void Inlet::remove(const AudioSink& listener) {
    std::erase_if(listeners_, [&listener](const auto& entry) { return entry.get() == &listener; });
}

void Inlet::leave_sinks() {
    for (const Entry& entry : std::exchange(sinks_, {})) entry.sink->on_inlet_gone();
}

void Inlet::disconnect() {
    leave_sinks();
    listeners_.clear();
}

bool Inlet::needs_audio() const {
    return !listeners_.empty() || driver_ != nullptr || std::ranges::any_of(sinks_, &Entry::audio);
}

uint32_t Inlet::frame_ms() const {
    const bool short_frames = std::ranges::any_of(
        sinks_, [](const Entry& entry) { return entry.audio && entry.sink->frame_ms() % kFrameMs != 0; });
    return short_frames ? kShortFrameMs : kFrameMs;
}

/// Wideband is worth its cost only if the packets hold it and somebody asks for it.
uint32_t Inlet::rate_hz(uint32_t at_least) const {
    if (!is_wideband(codec_)) return kNarrowbandHz;
    uint32_t rate = at_least;
    for (const Entry& entry : sinks_) {
        if (entry.audio) rate = std::max(rate, entry.sink->wanted_rate_hz());
    }
    for (const auto& listener : listeners_) rate = std::max(rate, listener->wanted_rate_hz());
    return rate;
}

void Inlet::on_packet(WorkerContext& context, const RtpPacket& packet, const Format& format) {
    const bool audio = format.codec != Codec::telephone_event;
    if (packet.ssrc != ssrc_) {
        ssrc_ = packet.ssrc;
        restart();
    }
    for (Entry& entry : sinks_) {
        const auto verdict = entry.sink->on_packet(context, source_, packet, format);
        if (audio) entry.audio = verdict == InletSink::Verdict::needs_audio;
    }
    if (!audio || !needs_audio()) return;
    if (is_audio(format.codec)) codec_ = format.codec;
    if (!playout_) playout_ = std::make_unique<Playout>(rate_hz(kNarrowbandHz), context.audio.playout);
    const Playout::Figures before = playout_->figures();
    playout_->put(packet, format, context.now);
    count(before);
    if (driver_ == nullptr && due() == 0) {
        context.timers.set(timers_, source_, Timer::playout, context.now + kFirstFrame);
    }
}

void Inlet::pause() {
    for (const Entry& entry : sinks_) entry.sink->on_pause();
}

void Inlet::restart() {
    if (playout_) playout_->reset();
}

void Inlet::hand_out(WorkerContext& context, const AudioFrame& frame) {
    for (const Entry& entry : sinks_) {
        if (entry.audio) entry.sink->on_audio(context, source_, frame);
    }
    for (const auto& listener : listeners_) listener->take(frame, context.now);
}

/// What the playout has done since.
void Inlet::count(const Playout::Figures& before) {
    if (figures_ == nullptr) return;
    const Playout::Figures& now = playout_->figures();
    figures_->playout_delay_ms.set(now.delay_ms);
    figures_->packets_late.add(now.packets_late - before.packets_late);
    figures_->packets_recovered.add(now.packets_recovered_fec - before.packets_recovered_fec);
    const uint64_t concealed = now.samples_concealed - before.samples_concealed;
    figures_->concealed_ms.add(static_cast<double>(concealed) * 1000 / playout_->rate_hz());
}

void Inlet::stop_playout() {
    playout_.reset();
    if (figures_ != nullptr) figures_->playout_delay_ms.set(0);
}

AudioFrame Inlet::draw(WorkerContext& context, uint32_t duration_ms, uint32_t wanted_rate_hz) {
    const uint32_t rate = rate_hz(wanted_rate_hz);
    frame_.resize(size_t{rate} * duration_ms / 1000);
    AudioFrame frame{.samples = frame_, .rate_hz = rate, .kind = AudioKind::silence};
    if (playout_ && !playout_->idle()) {
        playout_->set_rate(rate);
        playout_->set_movable_ticks(driver_ == nullptr);
        const Playout::Figures before = playout_->figures();
        frame.kind = playout_->get(frame_, context.now);
        count(before);
        hand_out(context, frame);
    } else {
        std::ranges::fill(frame_, int16_t{0});
    }
    return frame;
}

void Inlet::on_timer(WorkerContext& context) {
    const TimeNs was_due = std::exchange(due(), 0);
    if (driver_ != nullptr || !playout_) return;
    if (!needs_audio()) {
        stop_playout();
        return;
    }
    const uint32_t duration_ms = frame_ms();
    draw(context, duration_ms, kNarrowbandHz);
    if (playout_->idle()) {  // until the next packet
        for (const Entry& entry : sinks_) {
            if (entry.audio) entry.sink->on_pause();
        }
        return;
    }
    const TimeNs duration = static_cast<TimeNs>(duration_ms) * kMillisecond;
    const TimeNs next = next_tick(was_due, context.now, duration) + playout_->tick_shift();
    context.timers.set(timers_, source_, Timer::playout, next);
}

void Inlet::set_driver(WorkerContext& context, const void* driver) {
    driver_ = driver;
    if (driver_ != nullptr) {
        due() = 0;
    } else if (playout_ && due() == 0) {
        context.timers.set(timers_, source_, Timer::playout, context.now);
    }
}

}  // namespace sdpserver
