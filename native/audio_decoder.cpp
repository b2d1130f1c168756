#include "audio_decoder.h"

#include <algorithm>
#include <array>

namespace sdpserver {
namespace {

constexpr uint32_t kNarrowband = 8000;
constexpr size_t kMaxNarrowband = kMaxPayloadMs * kNarrowband / 1000;

}  // namespace

uint32_t payload_duration(Codec codec, ConstBytes payload) {
    constexpr uint32_t kMax = kMaxPayloadMs * kMediaPerMs;
    if (payload.empty()) return 0;
    if (is_g711(codec) || codec == Codec::g722) {  // 64 kbit/s, all of them
        const size_t duration = payload.size() * (kMediaHz / kNarrowband);
        return duration <= kMax ? static_cast<uint32_t>(duration) : 0;
    }
    if (codec != Codec::opus) return 0;
    const int samples = opus_packet_get_nb_samples(payload.data(), static_cast<opus_int32>(payload.size()), kMediaHz);
    return samples > 0 && static_cast<uint32_t>(samples) <= kMax ? static_cast<uint32_t>(samples) : 0;
}

bool has_opus_redundancy(ConstBytes payload) {
    constexpr uint8_t kCeltOnly = 0x80;  // of the TOC's configuration (RFC 6716 section 3.1)
    if (payload.size() <= 2 || (payload[0] & kCeltOnly) != 0) return false;
    std::array<const uint8_t*, 48> frames;
    std::array<opus_int16, 48> sizes;
    const int count = opus_packet_parse(payload.data(), static_cast<opus_int32>(payload.size()), nullptr, frames.data(),
                                        sizes.data(), nullptr);
    if (count <= 0 || sizes[0] < 1) return false;
    // A SILK frame begins with a VAD flag for each 20 ms, then the LBRR flag; in stereo the same for the side channel
    // (section 4.2.3). Each flag is one bit of even odds, so they can be read without the range decoder.
    const int frame_ms = opus_packet_get_samples_per_frame(payload.data(), kMediaHz) / static_cast<int>(kMediaPerMs);
    const int flags = std::max(frame_ms / 20, 1) + 1;
    const int channels = opus_packet_get_nb_channels(payload.data());
    for (int channel = 1; channel <= channels; ++channel) {
        if ((frames[0][0] & (0x80 >> (channel * flags - 1))) != 0) return true;
    }
    return false;
}

void AudioDecoder::change_to(Codec codec) {
    if (codec == codec_) return;
    // Both laws are one codec here; what another has left behind is of no use.
    if (codec == Codec::opus && opus_) opus_decoder_ctl(opus_.get(), OPUS_RESET_STATE);
    if (codec == Codec::g722) g722_ = std::make_unique<G722Decoder>(rate_hz_ == kNarrowband);
    if (is_g711(codec) && !is_g711(codec_)) {
        converter_.set_rates(kNarrowband, rate_hz_);
        converter_.reset();
    }
    codec_ = codec;
}

size_t AudioDecoder::decode(Codec codec, ConstBytes payload, std::span<int16_t> out) {
    change_to(codec);
    if (is_g711(codec)) {
        if (payload.size() > kMaxNarrowband) return 0;
        if (rate_hz_ == kNarrowband) {
            const size_t count = std::min(payload.size(), out.size());
            std::transform(payload.begin(), payload.begin() + static_cast<ptrdiff_t>(count), out.begin(),
                           [codec](uint8_t octet) { return decode_g711(codec, octet); });
            return count;
        }
        std::array<int16_t, kMaxNarrowband> narrowband;
        std::ranges::transform(payload, narrowband.begin(), [codec](uint8_t octet) { return decode_g711(codec, octet); });
        return bring_to_rate(std::span(narrowband).first(payload.size()), out);
    }
    if (codec == Codec::g722) return g722_->decode(payload, out);
    if (codec != Codec::opus) return 0;
    if (!opus_) opus_.reset(opus_decoder_create(static_cast<opus_int32>(rate_hz_), 1, nullptr));
    if (!opus_) return 0;
    const int samples = opus_decode(opus_.get(), payload.data(), static_cast<opus_int32>(payload.size()), out.data(),
                                    static_cast<int>(out.size()), 0);
    return samples > 0 ? static_cast<size_t>(samples) : 0;
}

bool AudioDecoder::decode_redundancy(ConstBytes next, std::span<int16_t> out) {
    if (codec_ != Codec::opus || !opus_) return false;
    return opus_decode(opus_.get(), next.data(), static_cast<opus_int32>(next.size()), out.data(),
                       static_cast<int>(out.size()), 1) == static_cast<int>(out.size());
}

bool AudioDecoder::conceal(std::span<int16_t> out) {
    if (codec_ != Codec::opus || !opus_) return false;
    return opus_decode(opus_.get(), nullptr, 0, out.data(), static_cast<int>(out.size()), 0) ==
           static_cast<int>(out.size());
}

size_t AudioDecoder::bring_to_rate(std::span<const int16_t> narrowband, std::span<int16_t> out) {
    converter_.set_rates(kNarrowband, rate_hz_);
    return converter_.convert(narrowband, out);
}

void AudioDecoder::reset() { codec_ = Codec::none; }

}  // namespace sdpserver
