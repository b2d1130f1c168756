#include "g722.h"

#include <spandsp/telephony.h>
#include <spandsp/g722.h>

#include <algorithm>

namespace sdpserver {
namespace {

constexpr int kBitRate = 64'000;

int options(bool narrowband) { return narrowband ? G722_SAMPLE_RATE_8000 : 0; }

}  // namespace

void G722Encoder::Free::operator()(g722_encode_state_s* state) const { g722_encode_free(state); }
void G722Decoder::Free::operator()(g722_decode_state_s* state) const { g722_decode_free(state); }

G722Encoder::G722Encoder(bool narrowband)
    : state_(g722_encode_init(nullptr, kBitRate, options(narrowband))), samples_per_octet_(narrowband ? 1 : 2) {}

size_t G722Encoder::encode(std::span<const int16_t> samples, Bytes out) {
    if (!state_) return 0;
    const size_t octets = std::min(samples.size() / samples_per_octet_, out.size());
    const int made = g722_encode(state_.get(), out.data(), samples.data(), static_cast<int>(octets * samples_per_octet_));
    return made > 0 ? static_cast<size_t>(made) : 0;
}

G722Decoder::G722Decoder(bool narrowband)
    : state_(g722_decode_init(nullptr, kBitRate, options(narrowband))), samples_per_octet_(narrowband ? 1 : 2) {}

size_t G722Decoder::decode(ConstBytes octets, std::span<int16_t> out) {
    if (!state_) return 0;
    const size_t count = std::min(octets.size(), out.size() / samples_per_octet_);
    const int made = g722_decode(state_.get(), out.data(), octets.data(), static_cast<int>(count));
    return made > 0 ? static_cast<size_t>(made) : 0;
}

}  // namespace sdpserver
