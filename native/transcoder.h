#pragma once
// Opus and G.711 through linear samples at 8 kHz, packet by packet: one in, one out, nothing kept back.

#include <opus/opus.h>

#include <memory>

#include "bytes.h"
#include "codec.h"

namespace sdpserver {

inline constexpr uint32_t kLinearRateHz = 8000;
inline constexpr size_t kSamplesPerMs = kLinearRateHz / 1000;
/// 120 ms, the longest Opus packet (RFC 6716 section 2.1.4).
inline constexpr size_t kMaxSamples = 120 * kSamplesPerMs;
/// Room that `encode` needs: G.711 of the longest packet, or what Opus is held to.
inline constexpr size_t kMaxEncoded = 1275;

class Transcoder {
   public:
    /// Samples written to `out` (which has `kMaxSamples`), 0 if the payload cannot be decoded.
    size_t decode(Codec codec, ConstBytes payload, std::span<int16_t> out);
    /// Octets written to `out` (which has `kMaxEncoded`), 0 if this many samples cannot be one packet. G.711 takes any number;
    /// Opus 2.5 ms, 5 ms and multiples of 10 ms up to 120, where what is not a frame size of Opus (30 ms, 50 ms, ...)
    /// becomes a packet of 10 ms frames (RFC 6716 section 3.2.5).
    size_t encode(Codec codec, std::span<const int16_t> samples, Bytes out);
    /// The next packet comes from another source.
    void reset();

   private:
    struct FreeEncoder {
        void operator()(OpusEncoder* encoder) const { opus_encoder_destroy(encoder); }
    };
    struct FreeDecoder {
        void operator()(OpusDecoder* decoder) const { opus_decoder_destroy(decoder); }
    };

    OpusEncoder* encoder();
    size_t encode_opus(std::span<const int16_t> samples, Bytes out);

    // Some 20 KB each, so made when first needed.
    std::unique_ptr<OpusEncoder, FreeEncoder> encoder_;
    std::unique_ptr<OpusDecoder, FreeDecoder> decoder_;
};

}  // namespace sdpserver
