#include "audio.h"

#include <opus.h>

#include <array>
#include <cmath>
#include <memory>
#include <numbers>
#include <random>
#include <stdexcept>

namespace sdpserver::loadgen {
namespace {

constexpr size_t kPackets = 50;
constexpr int kFrameSamples = 160;  // 20 ms at 8 kHz

/// Voiced speech, roughly: harmonics of a gliding pitch with syllables, over faint noise, so that no codec has it easy.
std::vector<int16_t> voice() {
    std::vector<int16_t> samples(kPackets * kFrameSamples);
    std::minstd_rand random(1);
    std::normal_distribution<double> noise(0.0, 60.0);
    double phase = 0;
    for (size_t i = 0; i < samples.size(); ++i) {
        const double t = static_cast<double>(i) / 8000.0;
        phase += 2 * std::numbers::pi * (140 + 30 * std::sin(2 * std::numbers::pi * 3 * t)) / 8000.0;
        double sum = 0;
        for (int harmonic = 1; harmonic <= 12; ++harmonic) sum += std::sin(phase * harmonic) / harmonic;
        const double syllable = 0.55 + 0.45 * std::sin(2 * std::numbers::pi * 4 * t);
        const bool speaks = i >= kOnsetPacket * kFrameSamples;
        if (i == kOnsetPacket * kFrameSamples) phase = std::numbers::pi / 12;  // near the peak of the sum
        samples[i] = static_cast<int16_t>((speaks ? 4000 * syllable * sum : 0.0) + noise(random));
    }
    return samples;
}

/// ITU-T G.711, mu-law, from 14 significant bits.
uint8_t to_pcmu(int16_t sample) {
    constexpr int kBias = 0x84, kClip = 32635;
    const int sign = sample < 0 ? 0x80 : 0;
    const int magnitude = std::min(sign ? -static_cast<int>(sample) : sample, kClip) + kBias;
    int exponent = 7;
    for (int mask = 0x4000; exponent > 0 && !(magnitude & mask); mask >>= 1) --exponent;
    return static_cast<uint8_t>(~(sign | exponent << 4 | (magnitude >> (exponent + 3) & 0x0F)));
}

/// ITU-T G.711, A-law, even bits inverted.
uint8_t to_pcma(int16_t sample) {
    const int sign = sample >= 0 ? 0x80 : 0;
    const int magnitude = (sign ? sample : ~sample) >> 3;
    int exponent = 7;
    for (int mask = 0x800; exponent > 0 && !(magnitude & mask); mask >>= 1) --exponent;
    const int mantissa = magnitude >> (exponent ? exponent : 1) & 0x0F;
    return static_cast<uint8_t>((sign | exponent << 4 | mantissa) ^ 0x55);
}

std::vector<std::vector<uint8_t>> encode_g711(uint8_t (*encode)(int16_t)) {
    const auto samples = voice();
    std::vector<std::vector<uint8_t>> packets(kPackets);
    for (size_t i = 0; i < samples.size(); ++i) packets[i / kFrameSamples].push_back(encode(samples[i]));
    return packets;
}

std::vector<std::vector<uint8_t>> encode_opus() {
    int error = 0;
    std::unique_ptr<OpusEncoder, decltype(&opus_encoder_destroy)> encoder(
        opus_encoder_create(8000, 1, OPUS_APPLICATION_VOIP, &error), opus_encoder_destroy);
    if (error != OPUS_OK) throw std::runtime_error("no Opus encoder");
    opus_encoder_ctl(encoder.get(), OPUS_SET_BITRATE(16000));
    const auto samples = voice();
    std::vector<std::vector<uint8_t>> packets(kPackets);
    for (size_t i = 0; i < kPackets; ++i) {
        std::array<uint8_t, 400> out;
        const int length = opus_encode(encoder.get(), &samples[i * kFrameSamples], kFrameSamples, out.data(),
                                       static_cast<opus_int32>(out.size()));
        if (length <= 0) throw std::runtime_error("Opus encoding failed");
        packets[i].assign(out.begin(), out.begin() + length);
    }
    return packets;
}

}  // namespace

const CodecInfo& info(Codec codec) {
    static constexpr std::array<CodecInfo, 3> kInfo{{{"PCMU", 0, 8000}, {"PCMA", 8, 8000}, {"opus", 111, 48000}}};
    return kInfo[static_cast<size_t>(codec)];
}

const std::vector<std::vector<uint8_t>>& prepared_audio(Codec codec) {
    static const auto pcmu = encode_g711(to_pcmu), pcma = encode_g711(to_pcma), opus = encode_opus();
    switch (codec) {
        case Codec::kPcma:
            return pcma;
        case Codec::kOpus:
            return opus;
        default:
            return pcmu;
    }
}

}  // namespace sdpserver::loadgen
