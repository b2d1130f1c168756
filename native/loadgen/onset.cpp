#include "onset.h"

#include <cstdlib>
#include <stdexcept>

namespace sdpserver::loadgen {
namespace {

constexpr int kRateHz = 8000;
constexpr size_t kMaxSamples = 120 * kRateHz / 1000;
constexpr int kLoud = 2500;           // the voice begins with more than twice that
constexpr size_t kPause = kRateHz / 10;  // shorter than the pause of the prepared audio

int16_t from_pcmu(uint8_t octet) {
    const int code = ~octet & 0xff;
    const int magnitude = (((code & 0x0f) << 3) + 0x84) << (code >> 4 & 7);
    return static_cast<int16_t>((code & 0x80) != 0 ? 0x84 - magnitude : magnitude - 0x84);
}

int16_t from_pcma(uint8_t octet) {
    const int code = octet ^ 0x55;
    const int exponent = code >> 4 & 7;
    int magnitude = ((code & 0x0f) << 4) + 8;
    if (exponent > 0) magnitude = (magnitude + 0x100) << (exponent - 1);
    return static_cast<int16_t>((code & 0x80) != 0 ? magnitude : -magnitude);
}

}  // namespace

OnsetListener::OnsetListener(Codec codec) : codec_(codec), samples_(kMaxSamples) {
    if (codec_ != Codec::kOpus) return;
    int error = 0;
    opus_.reset(opus_decoder_create(kRateHz, 1, &error));
    if (error != OPUS_OK) throw std::runtime_error("no Opus decoder");
}

bool OnsetListener::decode(ConstBytes payload) {
    samples_.resize(kMaxSamples);
    if (codec_ == Codec::kOpus) {
        const int count = opus_decode(opus_.get(), payload.data(), static_cast<opus_int32>(payload.size()),
                                      samples_.data(), static_cast<int>(kMaxSamples), 0);
        samples_.resize(static_cast<size_t>(std::max(count, 0)));
        return count > 0;
    }
    if (payload.size() > kMaxSamples) return false;
    samples_.resize(payload.size());
    for (size_t i = 0; i < payload.size(); ++i) {
        samples_[i] = codec_ == Codec::kPcmu ? from_pcmu(payload[i]) : from_pcma(payload[i]);
    }
    return true;
}

std::optional<int64_t> OnsetListener::hear(ConstBytes payload) {
    std::optional<int64_t> begins;
    if (!decode(payload)) return begins;
    for (size_t i = 0; i < samples_.size(); ++i) {
        if (std::abs(samples_[i]) < kLoud) {
            ++quiet_;
            continue;
        }
        if (quiet_ >= kPause) begins = static_cast<int64_t>(i);
        quiet_ = 0;
    }
    return begins;
}

}  // namespace sdpserver::loadgen
