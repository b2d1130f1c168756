#include "playout.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <utility>

#include "time_stretch.h"

namespace sdpserver {
namespace {

constexpr int64_t kMs = kMediaPerMs;
/// G.711 and G.722 packets that are longer are cut.
constexpr size_t kMaxOctets = kMaxPayloadMs * 8;
constexpr uint32_t kPerOctet = kMediaHz / 8000;
/// Packets that are further back than this are of a sender that has started anew.
constexpr int kReordered = 64;
/// A gap without a lost packet that is longer than this is a pause.
constexpr int64_t kPause = 60 * kMs;
/// A gap that is longer than this was not listened to.
constexpr int64_t kMaxGap = 300 * kMs;
/// Nothing to be heard any more, when the source stopped in the middle and when it said that it is silent.
constexpr int64_t kIdleAfter = 1000 * kMs;
constexpr int64_t kIdleAfterPause = 60'000 * kMs;
/// Ticks that are off by more than this have been stopped.
constexpr int64_t kMaxTickError = 60 * kMs;
/// For ticks that do not come to the instant.
constexpr int64_t kMargin = kMs;
/// The jitter has to be this much smaller than what a shorter delay could bear, lest the delay go to and fro.
constexpr int64_t kHysteresis = 3 * kMs;
/// Time is not stretched more often, unless the delay is off by this.
constexpr int64_t kCalm = 100 * kMs;
constexpr int64_t kFarOff = 30 * kMs;
/// What movable ticks make good by themselves, and how much of it at once: up fast, down slowly.
constexpr int64_t kMovableUp = 12 * kMs;
constexpr int64_t kMovableDown = 60 * kMs;
constexpr int64_t kMaxShiftUp = kMs;
constexpr int64_t kMaxShiftDown = kMs / 4;
constexpr int64_t kShortestStretch = 5 * kMs / 2;
/// With time, a worse place has to do.
constexpr float kGoodPlace = 0.9F;
constexpr float kFairPlace = 0.6F;
constexpr float kAnyPlace = 0.3F;
constexpr int64_t kPatience = 2000 * kMs;
/// 6 dB above the noise floor there is nothing but noise.
constexpr float kQuietOverFloor = 4;
constexpr float kQuietAnyway = 30 * 30;

constexpr size_t kMaxOverlap = 160;  // 10 ms of 16 kHz

int64_t media_time(TimeNs time) { return time * 6 / 125'000; }

/// To a multiple of `step`; at most 0 stays at most 0.
int64_t rounded_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

}  // namespace

Playout::Playout(uint32_t rate_hz, const Settings& settings)
    : settings_(settings), rate_hz_(rate_hz), decoder_(rate_hz), line_(rate_hz) {}

void Playout::put(const RtpPacket& packet, const Format& format, TimeNs now) {
    const Codec codec = format.codec;
    ConstBytes payload = packet.payload;
    const bool octet_codec = is_g711(codec) || codec == Codec::g722;
    const uint32_t duration =
        octet_codec ? static_cast<uint32_t>(payload.size()) * kPerOctet : payload_duration(codec, payload);
    if (payload.empty() || (duration == 0 && codec != Codec::comfort_noise)) {
        ++figures_.packets_discarded;
        return;
    }
    const auto at = timeline_.place({packet.sequence, packet.timestamp, format.clock_rate_hz, duration}, now);
    if (!at) {
        ++figures_.packets_discarded;
        return;
    }
    if (duration > 0) measure_delay(packet, codec, now, *at, duration);
    if (!started_) {
        started_ = beginning_ = true;
        position_ = *at;
    }
    JitterBuffer::Packet part{.at = *at, .duration = duration, .sequence = packet.sequence, .codec = codec};
    while (octet_codec && payload.size() > kMaxOctets) {
        part.duration = kMaxPayloadMs * kMediaPerMs;
        put_part(part, payload.first(kMaxOctets));
        part.at += part.duration;
        payload = payload.subspan(kMaxOctets);
        part.duration = static_cast<uint32_t>(payload.size()) * kPerOctet;
    }
    put_part(part, payload);
}

/// A copy that comes in place of a lost packet is that packet, come late. So, where there are copies and losses, the
/// delay becomes long enough for the copies to be of use.
void Playout::measure_delay(const RtpPacket& packet, Codec codec, TimeNs arrival, int64_t at, uint32_t duration) {
    const int64_t now = media_time(arrival);
    delays_.arrived(at, now);
    packet_ = duration;
    const int step = static_cast<int16_t>(packet.sequence - newest_);
    if (step <= 0 && step > -kReordered) return;
    newest_ = packet.sequence;
    if (started_ && codec == Codec::opus && step == 2 && has_opus_redundancy(packet.payload)) {
        delays_.arrived(at - duration, now);
    }
}

void Playout::put_part(JitterBuffer::Packet packet, ConstBytes payload) {
    if (packet.end() < position_ || (packet.end() == position_ && packet.duration > 0)) {
        ++figures_.packets_late;
        return;
    }
    JitterBuffer::Verdict verdict = packets_.insert(packet, payload);
    while (verdict == JitterBuffer::Verdict::full && !packets_.empty()) {  // what is oldest goes
        discard_next();
        verdict = packets_.insert(packet, payload);
    }
    if (verdict == JitterBuffer::Verdict::repeated) ++figures_.packets_repeated;
}

void Playout::discard_next() {
    packets_.pop();
    ++figures_.packets_discarded;
    if (packets_.empty()) return;
    position_ = std::max(position_, packets_.front().at);
    awaited_ = 0;
    seam_ = true;
}

AudioKind Playout::get(std::span<int16_t> out, TimeNs now) {
    figures_.samples_played += out.size();
    follow_clock(media_time(now), media_time_of(out.size()));
    if (!started_) {
        std::ranges::fill(out, int16_t{0});
        return AudioKind::silence;
    }
    kind_ = AudioKind::speech;
    shed();
    fill(out.size());
    adapt();
    const bool speech = speech_left_ > 0;
    speech_left_ -= std::min(speech_left_, out.size());
    line_.take(out);
    // Where talk ends or begins again there is some of both.
    return speech && kind_ == AudioKind::comfort_noise ? AudioKind::speech : kind_;
}

/// Ticks are late by what else the worker does; on average they are not.
void Playout::follow_clock(int64_t now, int64_t frame) {
    const int64_t expected = tick_ + frame_ + std::exchange(shift_, 0);
    const int64_t error = now - expected;
    tick_ = !ticking_ || std::abs(error) > kMaxTickError ? now : expected + error / 16;
    ticking_ = true;
    frame_ = frame;
}

/// More waits than ever should, as after a stall of the network: its oldest part has to go.
void Playout::shed() {
    const int64_t most = std::max(media_time(settings_.max_delay), 2 * packet_);
    if (packets_.empty() || packets_.back().end() - position_ <= most + kPause) return;
    while (packets_.size() > 1 && packets_.back().end() - packets_.front().at > most) discard_next();
}

void Playout::fill(size_t wanted) {
    while (line_.waiting() < wanted) {
        const size_t missing = wanted - line_.waiting();
        if (packets_.empty()) {
            await(missing);
            continue;
        }
        const JitterBuffer::Packet& next = packets_.front();
        if (const int64_t lead = beginning_ ? rounded_up(time_until(next), grid()) : 0; lead > 0) {
            make_noise(std::min(missing, samples_of(lead)));
            kind_ = AudioKind::speech;  // no pause of which a peer need be told
        } else if (next.at <= position_) {
            beginning_ = false;
            play_next();
        } else if (begins_talk(next)) {
            // The moment to change the delay for nothing.
            const int64_t left = time_until(next);
            was_lost(static_cast<uint16_t>(next.sequence - sequence_) != 1);
            if (left <= 0) {
                position_ = next.at;
                awaited_ = 0;
            } else {
                make_noise(std::min(missing, samples_of(left) + 1));
            }
        } else {
            fill_gap(next, missing);
        }
    }
}

/// What is still to be played before `next`, lest those that follow it, as slow as packets are, be missing.
int64_t Playout::time_until(const JitterBuffer::Packet& next) const {
    return next.at + target(delays_.slowest()) - tick_ - waiting_time();
}

/// No lost packet before it, or more of them than were missed.
bool Playout::begins_talk(const JitterBuffer::Packet& next) const {
    const int64_t gap = next.at - position_;
    return pausing_ || gap - awaited_ > kMaxGap ||
           (gap > kPause && static_cast<uint16_t>(next.sequence - sequence_) == 1);
}

void Playout::play_next() {
    const JitterBuffer::Packet packet = packets_.front();
    const ConstBytes payload = packets_.payload(packet);
    if (packet.codec == Codec::comfort_noise) {
        noise_given_ = noise_.set_payload(payload);
        pausing_ = true;
        since_pause_ = 0;
        nothing_for_ = 0;
        packets_.pop();
        sequence_ = packet.sequence;
        return;
    }
    const Codec before = decoder_.codec();
    const auto decoded = line_.reserve(samples_of(packet.duration));
    const size_t count = decoder_.decode(packet.codec, payload, decoded);
    const bool silent = is_opus_dtx(packet.codec, payload);
    packets_.pop();
    if (count == 0) {  // broken, and so as good as lost
        ++figures_.packets_discarded;
        return;
    }
    if (before != Codec::none && before != packet.codec) seam_ = true;
    close_seam(decoded.first(count));
    line_.commit(count);
    if (!silent) speech_left_ = line_.waiting();
    position_ = packet.end();
    sequence_ = packet.sequence;
    was_lost(true);
    awaited_ = nothing_for_ = 0;
    pausing_ = silent;
    noise_given_ = false;
    if (silent) {
        since_pause_ = 0;
        kind_ = AudioKind::comfort_noise;
    } else {
        ++since_pause_;
        floor_.heard(mean_square(decoded.first(count)), packet.duration / kMediaPerMs);
    }
    ++figures_.packets_played;
}

/// There is nothing to play: it is late, it is lost, or the source pauses.
void Playout::await(size_t missing) {
    // A pause is broken now and then by a packet that keeps the noise up to date (RFC 6716 section 2.1.9).
    if (since_pause_ == 1 && nothing_for_ == 0) pausing_ = true;
    nothing_for_ += media_time_of(missing);
    if (pausing_) return make_noise(missing);
    const size_t made = conceal(missing);
    unexplained_ += made;
    awaited_ += media_time_of(made);
    if (nothing_for_ > kIdleAfter) kind_ = AudioKind::silence;
}

void Playout::was_lost(bool lost) {
    const uint64_t samples = std::exchange(unexplained_, 0);
    if (lost) figures_.samples_concealed += samples;
}

/// What is before `next` has been lost, or comes too late.
void Playout::fill_gap(const JitterBuffer::Packet& next, size_t missing) {
    was_lost(true);
    position_ = std::min(position_ + std::exchange(awaited_, 0), next.at);
    const int64_t gap = next.at - position_;
    const ConstBytes payload = packets_.payload(next);
    if (next.codec == Codec::opus && decoder_.codec() == Codec::opus && has_opus_redundancy(payload)) {
        const int64_t copied = opus_packet_get_samples_per_frame(payload.data(), kMediaHz);
        if (gap > 0 && gap <= copied) {
            const auto decoded = line_.reserve(samples_of(copied));
            if (decoder_.decode_redundancy(payload, decoded)) {
                // A gap that is shorter than the copy is one of time stretched; its end is what is missing.
                const size_t count = samples_of(gap);
                std::copy(decoded.end() - static_cast<ptrdiff_t>(count), decoded.end(), decoded.begin());
                line_.commit(count);
                position_ = next.at;
                ++figures_.packets_recovered_fec;
                return;
            }
        }
        if (gap > copied) missing = std::min(missing, samples_of(gap - copied));
    }
    if (samples_of(gap) == 0) {
        position_ = next.at;
        return;
    }
    const size_t made = conceal(std::min(missing, samples_of(gap)));
    figures_.samples_concealed += made;
    position_ = std::min(position_ + media_time_of(made), next.at);
}

/// Samples made; Opus makes whole frames of 10 ms.
size_t Playout::conceal(size_t count) {
    kind_ = AudioKind::concealment;
    if (decoder_.codec() == Codec::opus) {
        const size_t frame = rate_hz_ / 100;
        const size_t whole = std::min((count + frame - 1) / frame, line_.room() / frame) * frame;
        if (whole > 0 && decoder_.conceal(line_.reserve(whole))) {
            line_.commit(whole);
            return whole;
        }
    }
    const auto made = line_.reserve(count);
    if (!concealment_) concealment_ = std::make_unique<Concealment>();
    if (!concealment_->active()) {
        concealment_->start(line_.end(), rate_hz_);
        noise_.set_power(floor_.power());
        noise_.pause();
    }
    if (concealment_->silent()) {  // not dead silence, in which a listener thinks that the call has gone
        noise_.generate(made);
    } else {
        concealment_->generate(made);
    }
    line_.commit(count);
    return count;
}

void Playout::make_noise(size_t count) {
    kind_ = AudioKind::comfort_noise;
    if (!noise_given_ && decoder_.codec() == Codec::opus) {
        const size_t frame = rate_hz_ / 100;
        const size_t whole = std::min((count + frame - 1) / frame, line_.room() / frame) * frame;
        if (whole > 0 && decoder_.conceal(line_.reserve(whole))) return line_.commit(whole);
    }
    if (!making_noise_) {
        if (!noise_given_) noise_.set_power(floor_.power());
        noise_.pause();
        seam_ = true;
    }
    // Its spectrum is given for 8 kHz.
    std::array<int16_t, kMaxOverlap * 2> narrowband;
    const size_t step = rate_hz_ / kNarrowbandHz;
    const size_t half = std::min((count + step - 1) / step, narrowband.size());
    noise_.generate(std::span(narrowband).first(half));
    const auto out = line_.reserve(half * step);
    const size_t made = decoder_.bring_to_rate(std::span(narrowband).first(half), out);
    if (!making_noise_) close_seam(out.first(made));
    making_noise_ = true;
    line_.commit(made);
}

/// Cross-fade from what would have gone on to be made up to what was decoded.
void Playout::close_seam(std::span<int16_t> decoded) {
    std::array<int16_t, kMaxOverlap> made_up;
    const bool seam = std::exchange(seam_, false);
    if (std::exchange(making_noise_, false)) {
        const auto overlap = std::span(made_up).first(std::min<size_t>(rate_hz_ / 200, decoded.size()));
        noise_.generate(overlap);
        return fade_in(decoded.first(overlap.size()), overlap);
    }
    const bool concealing = concealment_ && concealment_->active();
    if (!seam && !concealing) return;
    if (!concealment_) concealment_ = std::make_unique<Concealment>();
    if (!concealing) concealment_->start(line_.end(), rate_hz_);
    const size_t wanted = concealing ? concealment_->overlap() : rate_hz_ / 200;
    const auto overlap = std::span(made_up).first(std::min({wanted, decoded.size(), made_up.size()}));
    concealment_->generate(overlap);
    concealment_->stop();
    fade_in(decoded.first(overlap.size()), overlap);
}

/// What packets and frames are both made of.
int64_t Playout::grid() const { return std::gcd(packet_ > 0 ? packet_ : frame_, frame_); }

/// At which packets as slow as `slowest` are there when they are needed: at the tick in whose frame they begin. Of a frame
/// that is made of several packets, the last one is needed at its beginning too.
int64_t Playout::least_delay(int64_t slowest) const {
    const int64_t fastest = delays_.fastest();
    return std::clamp(slowest + kMargin + frame_ - grid(), fastest + media_time(settings_.min_delay) - frame_,
                      fastest + media_time(settings_.max_delay) - frame_);
}

/// The least one for even ticks at which packets begin with a frame.
int64_t Playout::target(int64_t slowest) const {
    const int64_t least = least_delay(slowest);
    if (movable_) return least;
    const int64_t off = (tick_ - position_ - least) % grid();
    return least + (off < 0 ? off + grid() : off);
}

void Playout::adapt() {
    const int64_t wanted = target(delays_.slowest());
    const int64_t now = delay();
    // What is played before the fastest packet could have come is made up, not early.
    figures_.delay_ms = static_cast<double>(std::max<int64_t>(now - delays_.fastest() + frame_, 0)) / kMs;
    figures_.target_delay_ms = static_cast<double>(wanted - delays_.fastest() + frame_) / kMs;
    calm_for_ += frame_;
    if (kind_ != AudioKind::speech || pausing_ || awaited_ > 0) return;
    if (!movable_) return stretch(wanted - now, now - target(delays_.slowest() + kHysteresis));

    // A packet that begins in the middle of a frame waits in vain for its part of it.
    const int64_t in_vain = waiting_time() % grid();
    const int64_t off = wanted + in_vain - now;
    if (off <= kMovableUp && off >= -kMovableDown) {
        shift_ = std::clamp(off > 0 ? off : std::min<int64_t>(off + kHysteresis, 0), -kMaxShiftDown, kMaxShiftUp);
        return stretch(0, in_vain);
    }
    stretch(off, -off);
}

void Playout::stretch(int64_t too_short, int64_t too_long) {
    const int64_t off = std::max(too_short, too_long);
    // However little is missing, something is added; too long is only what can be left out.
    if (off < (too_short > too_long ? kMs / 4 : kShortestStretch) || calm_for_ < (off > kFarOff ? frame_ : kCalm)) return;
    const float patience = std::min(1.0F, static_cast<float>(calm_for_ - kCalm) / static_cast<float>(kPatience));
    StretchLimits limits{
        .max_samples = samples_of(off),
        .min_correlation = off > kFarOff ? kFairPlace : kGoodPlace + (kAnyPlace - kGoodPlace) * std::max(patience, 0.0F),
        .quiet_power = std::max(floor_.power() * kQuietOverFloor, kQuietAnyway),
    };
    size_t done = 0;
    if (too_short > too_long) {
        limits.max_samples = std::max(limits.max_samples, samples_of(2 * kShortestStretch));
        done = lengthen(line_, rate_hz_, limits);
        figures_.samples_inserted += done;
    } else {
        // Never so much that there is nothing for the next frame.
        decode_ahead(samples_of(frame_) + rate_hz_ / 66 + rate_hz_ / 100);
        const int64_t spare = waiting_time() - frame_;
        limits.max_samples = std::min(limits.max_samples, samples_of(std::max<int64_t>(spare, 0)));
        done = shorten(line_, rate_hz_, limits);
        figures_.samples_removed += done;
    }
    if (done > 0) calm_for_ = 0;
}

void Playout::decode_ahead(size_t wanted) {
    while (line_.waiting() < wanted && !packets_.empty()) {
        const JitterBuffer::Packet& next = packets_.front();
        if (next.at > position_ || !is_audio(next.codec) || samples_of(next.duration) > line_.room()) return;
        play_next();
    }
}

bool Playout::idle() const {
    return packets_.empty() && (!started_ || nothing_for_ >= (pausing_ ? kIdleAfterPause : kIdleAfter));
}

void Playout::set_rate(uint32_t rate_hz) {
    if (rate_hz == rate_hz_) return;
    rate_hz_ = rate_hz;
    decoder_ = AudioDecoder(rate_hz);
    line_ = SampleLine(rate_hz);
    if (concealment_) concealment_->stop();
    making_noise_ = false;
}

void Playout::reset() {
    timeline_.reset();
    delays_.reset();
    packets_.clear();
    decoder_.reset();
    line_.truncate(0);
    seam_ = true;
    started_ = pausing_ = noise_given_ = false;
    awaited_ = nothing_for_ = packet_ = 0;
    since_pause_ = kTalk;
    unexplained_ = 0;
}

}  // namespace sdpserver
