#include "transcoder.h"

#include <algorithm>
#include <array>

namespace sdpserver {
namespace {

// Complexity 3 costs 70 us where 0 costs 41 and 5 costs 98, and is where narrowband speech stops gaining much.
constexpr opus_int32 kComplexity = 3;
constexpr opus_int32 kBitrate = 16'000;

constexpr size_t kFrame = 10 * kSamplesPerMs;
constexpr size_t kMaxFrames = kMaxSamples / kFrame;
constexpr size_t kMaxFrameOctets = 100;  // 10 ms at 80 kb/s, far above what the encoder is set to

bool is_opus_frame(size_t samples) {
    switch (samples * 1000 / kLinearRateHz) {
        case 2: return samples == 20;
        case 5: return samples == 40;
        case 10: return samples == 80;
        case 20: return samples == 160;
        case 40: return samples == 320;
        case 60: return samples == 480;
        default: return false;
    }
}

}  // namespace

size_t Transcoder::decode(Codec codec, ConstBytes payload, std::span<int16_t> out) {
    if (is_g711(codec)) {
        if (payload.size() > out.size()) return 0;
        std::ranges::transform(payload, out.begin(), [codec](uint8_t octet) { return decode_g711(codec, octet); });
        return payload.size();
    }
    if (codec != Codec::opus) return 0;
    if (!decoder_) decoder_.reset(opus_decoder_create(kLinearRateHz, 1, nullptr));
    if (!decoder_) return 0;
    const int samples = opus_decode(decoder_.get(), payload.data(), static_cast<opus_int32>(payload.size()), out.data(),
                                    static_cast<int>(out.size()), 0);
    return samples > 0 ? static_cast<size_t>(samples) : 0;
}

size_t Transcoder::encode(Codec codec, std::span<const int16_t> samples, Bytes out) {
    if (is_g711(codec)) {
        std::ranges::transform(samples, out.begin(), [codec](int16_t sample) { return encode_g711(codec, sample); });
        return samples.size();
    }
    return codec == Codec::opus ? encode_opus(samples, out) : 0;
}

OpusEncoder* Transcoder::encoder() {
    if (!encoder_) {
        encoder_.reset(opus_encoder_create(kLinearRateHz, 1, OPUS_APPLICATION_VOIP, nullptr));
        if (!encoder_) return nullptr;
        opus_encoder_ctl(encoder_.get(), OPUS_SET_COMPLEXITY(kComplexity));
        opus_encoder_ctl(encoder_.get(), OPUS_SET_BITRATE(kBitrate));
    }
    return encoder_.get();
}

size_t Transcoder::encode_opus(std::span<const int16_t> samples, Bytes out) {
    OpusEncoder* opus = encoder();
    if (opus == nullptr) return 0;
    const auto room = static_cast<opus_int32>(std::min(out.size(), kMaxEncoded));
    if (is_opus_frame(samples.size())) {
        const opus_int32 octets = opus_encode(opus, samples.data(), static_cast<int>(samples.size()), out.data(), room);
        return octets > 0 ? static_cast<size_t>(octets) : 0;
    }
    if (samples.empty() || samples.size() % kFrame != 0 || samples.size() > kMaxSamples) return 0;

    // The repacketizer keeps pointers into the frames and joins only frames of one configuration, so the mode must
    // not change between them.
    alignas(std::max_align_t) std::array<uint8_t, 2048> memory;
    if (static_cast<size_t>(opus_repacketizer_get_size()) > memory.size()) return 0;
    OpusRepacketizer* joined = opus_repacketizer_init(reinterpret_cast<OpusRepacketizer*>(memory.data()));
    std::array<std::array<uint8_t, kMaxFrameOctets>, kMaxFrames> frames;
    for (size_t i = 0; i * kFrame < samples.size(); ++i) {
        const opus_int32 octets = opus_encode(opus, samples.data() + i * kFrame, static_cast<int>(kFrame),
                                              frames[i].data(), static_cast<opus_int32>(frames[i].size()));
        if (octets <= 0 || opus_repacketizer_cat(joined, frames[i].data(), octets) != OPUS_OK) return 0;
    }
    const opus_int32 octets = opus_repacketizer_out(joined, out.data(), room);
    return octets > 0 ? static_cast<size_t>(octets) : 0;
}

void Transcoder::reset() {
    if (decoder_) opus_decoder_ctl(decoder_.get(), OPUS_RESET_STATE);
    if (encoder_) opus_encoder_ctl(encoder_.get(), OPUS_RESET_STATE);
}

}  // namespace sdpserver
