#include "audio_encoder.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace sdpserver {
namespace {

constexpr uint32_t kMaxPtimeMs = 120;
/// One payload that is nearly complete, and the longest frame that may come then.
constexpr uint32_t kRoomMs = 2 * kMaxPtimeMs;

// In-band FEC goes on above the first, off below the second.
constexpr double kLossWithRedundancy = 0.01;
constexpr double kLossWithout = 0.005;
/// Below, libopus 1.3 leaves the copies out at losses of a few per cent; with the simplest search, below 5/4 of that.
constexpr int kMinRedundantBps = 20'000;
constexpr int kMinWidebandRedundantBps = 26'000;
constexpr int kLeastThoroughComplexity = 2;

constexpr uint32_t kJoinedFrameMs = 10;
constexpr size_t kMaxJoined = kMaxPtimeMs / kJoinedFrameMs;
constexpr size_t kMaxJoinedOctets = 160;  // 10 ms at 128 kbit/s

/// RFC 6716 section 2.1.4; longer packets are made of several frames.
bool is_opus_frame(uint32_t duration_ms) {
    return duration_ms == 10 || duration_ms == 20 || duration_ms == 40 || duration_ms == 60;
}

}  // namespace

void AudioEncoder::set_format(Codec codec, uint32_t ptime_ms) {
    ptime_ms_ = std::clamp(ptime_ms / 10 * 10, uint32_t{10}, kMaxPtimeMs);
    if (codec == codec_) return;
    codec_ = codec;
    if (is_g711(codec)) set_rate(kNarrowbandHz);
}

void AudioEncoder::set_rate(uint32_t rate_hz) {
    if (rate_hz == rate_hz_) return;
    std::vector<int16_t> room(size_t{kRoomMs} * rate_hz / 1000);
    if (count_ > 0) {
        RateConverter once;
        once.set_rates(rate_hz_, rate_hz);
        count_ = once.convert(std::span(waiting_).first(count_), room);
    }
    waiting_ = std::move(room);
    rate_hz_ = rate_hz;
    g722_.reset();
}

void AudioEncoder::put(const AudioFrame& frame) {
    // G.711 is always 8 kHz; the others are told what rate they get.
    const bool narrow = is_g711(codec_) || (codec_ == Codec::opus && settings_.opus_max_rate_hz < kWidebandHz);
    set_rate(narrow || frame.rate_hz < kWidebandHz ? kNarrowbandHz : kWidebandHz);
    converter_.set_rates(frame.rate_hz, rate_hz_);
    const size_t room = converter_.bound(frame.samples.size());
    if (room > waiting_.size()) return;
    if (count_ + room > waiting_.size()) drop(count_ + room - waiting_.size());  // nobody has asked for it
    count_ += converter_.convert(frame.samples, std::span(waiting_).subspan(count_, room));
}

std::optional<AudioEncoder::Payload> AudioEncoder::take(Bytes out) {
    const size_t wanted = samples_of(ptime_ms_);
    if (codec_ == Codec::none || count_ < wanted || wanted == 0) return std::nullopt;
    const auto samples = std::span<const int16_t>(waiting_).first(wanted);
    Payload payload{.octets = 0, .duration_ms = ptime_ms_, .dtx = false};
    if (is_g711(codec_)) {
        payload.octets = std::min(samples.size(), out.size());
        std::ranges::transform(samples.first(payload.octets), out.begin(),
                               [this](int16_t sample) { return encode_g711(codec_, sample); });
    } else if (codec_ == Codec::g722) {
        if (!g722_) g722_ = std::make_unique<G722Encoder>(rate_hz_ == kNarrowbandHz);
        payload.octets = g722_->encode(samples, out);
    } else if (codec_ == Codec::opus) {
        payload = is_opus_frame(ptime_ms_) ? encode_opus(samples, out) : join_opus_frames(samples, out);
    }
    drop(samples_of(payload.duration_ms));
    return payload;
}

AudioEncoder::Payload AudioEncoder::encode_opus(std::span<const int16_t> samples, Bytes out) {
    Payload payload{.octets = 0, .duration_ms = ptime_ms_, .dtx = false};
    if (OpusEncoder* encoder = opus(); encoder != nullptr) {
        const opus_int32 octets = opus_encode(encoder, samples.data(), static_cast<int>(samples.size()), out.data(),
                                              static_cast<opus_int32>(std::min(out.size(), kMaxPayload)));
        payload.octets = octets > 0 ? static_cast<size_t>(octets) : 0;
        payload.dtx = repeats_silence(payload.octets <= 2);
    }
    return payload;
}

/// 30, 50 ms and so on as one packet of 10 ms frames (RFC 6716 section 3.2.5). Only frames of one configuration can be
/// joined: when the encoder changes it in the middle, the packet ends there.
AudioEncoder::Payload AudioEncoder::join_opus_frames(std::span<const int16_t> samples, Bytes out) {
    Payload payload{.octets = 0, .duration_ms = ptime_ms_, .dtx = false};
    OpusEncoder* encoder = opus();
    alignas(std::max_align_t) std::array<uint8_t, 2048> memory;
    if (encoder == nullptr || static_cast<size_t>(opus_repacketizer_get_size()) > memory.size()) return payload;
    OpusRepacketizer* joined = opus_repacketizer_init(reinterpret_cast<OpusRepacketizer*>(memory.data()));
    std::array<std::array<uint8_t, kMaxJoinedOctets>, kMaxJoined> frames;  // the repacketizer points into them
    const size_t step = samples_of(kJoinedFrameMs);
    bool all_dtx = true;
    for (size_t i = 0; i * step < samples.size(); ++i) {
        const opus_int32 octets = opus_encode(encoder, samples.data() + i * step, static_cast<int>(step),
                                              frames[i].data(), static_cast<opus_int32>(kMaxJoinedOctets));
        if (octets <= 0 || opus_repacketizer_cat(joined, frames[i].data(), octets) != OPUS_OK) break;
        all_dtx = all_dtx && octets <= 2;
    }
    const int count = opus_repacketizer_get_nb_frames(joined);
    if (count == 0) return payload;
    const opus_int32 octets =
        opus_repacketizer_out(joined, out.data(), static_cast<opus_int32>(std::min(out.size(), kMaxPayload)));
    payload.octets = octets > 0 ? static_cast<size_t>(octets) : 0;
    payload.duration_ms = static_cast<uint32_t>(count) * kJoinedFrameMs;
    payload.dtx = repeats_silence(all_dtx);
    return payload;
}

/// The first payload for silence is sent, so that what is missing behind it is known not to be lost.
bool AudioEncoder::repeats_silence(bool silent) {
    const bool was_silent = std::exchange(silent_, silent);
    return settings_.opus_dtx && silent && was_silent;
}

OpusEncoder* AudioEncoder::opus() {
    if (!opus_ || opus_rate_hz_ != rate_hz_) {
        opus_.reset(opus_encoder_create(static_cast<opus_int32>(rate_hz_), 1, OPUS_APPLICATION_VOIP, nullptr));
        opus_rate_hz_ = rate_hz_;
        if (opus_) configure_opus();
    }
    return opus_.get();
}

void AudioEncoder::configure_opus() {
    int least = opus_rate_hz_ >= kWidebandHz ? kMinWidebandRedundantBps : kMinRedundantBps;
    if (settings_.opus_complexity < kLeastThoroughComplexity) least += least / 4;
    const int bitrate = redundancy_ ? std::max(settings_.opus_bitrate_bps, least) : settings_.opus_bitrate_bps;
    opus_encoder_ctl(opus_.get(), OPUS_SET_BITRATE(std::min(bitrate, settings_.opus_max_bitrate_bps)));
    opus_encoder_ctl(opus_.get(), OPUS_SET_COMPLEXITY(settings_.opus_complexity));
    opus_encoder_ctl(opus_.get(), OPUS_SET_DTX(settings_.opus_dtx ? 1 : 0));
    opus_encoder_ctl(opus_.get(), OPUS_SET_INBAND_FEC(redundancy_ ? 1 : 0));
    opus_encoder_ctl(opus_.get(), OPUS_SET_PACKET_LOSS_PERC(expected_loss_percent_));
}

void AudioEncoder::set_expected_loss(double fraction) {
    if (!settings_.opus_fec) fraction = 0.0;
    redundancy_ = fraction > kLossWithRedundancy || (redundancy_ && fraction > kLossWithout);
    const int percent = redundancy_ ? std::clamp(static_cast<int>(std::lround(fraction * 100)), 1, 100) : 0;
    if (percent == expected_loss_percent_) return;
    expected_loss_percent_ = percent;
    if (opus_) configure_opus();
}

void AudioEncoder::reset() {
    count_ = 0;
    silent_ = false;
    converter_.reset();
    g722_.reset();
    if (opus_) opus_encoder_ctl(opus_.get(), OPUS_RESET_STATE);
}

void AudioEncoder::drop(size_t samples) {
    const size_t dropped = std::min(samples, count_);
    std::move(waiting_.begin() + static_cast<ptrdiff_t>(dropped), waiting_.begin() + static_cast<ptrdiff_t>(count_),
              waiting_.begin());
    count_ -= dropped;
}

}  // namespace sdpserver
