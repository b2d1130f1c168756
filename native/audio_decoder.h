#pragma once
// Payloads of any codec into linear samples of one rate. What is lost or late is none of its business, except where the
// codec itself makes up for losses, as Opus does.

#include <opus/opus.h>

#include <memory>
#include <optional>

#include "bytes.h"
#include "codec.h"
#include "g722.h"
#include "rate_converter.h"

namespace sdpserver {

/// Media time is counted in units of 1/48000 s, into which the samples of every rate here fit a whole number of times.
inline constexpr uint32_t kMediaHz = 48'000;
inline constexpr uint32_t kMediaPerMs = kMediaHz / 1000;
/// 120 ms, the longest Opus packet (RFC 6716 section 2.1.4). Longer ones of other codecs are cut before they come here.
inline constexpr uint32_t kMaxPayloadMs = 120;

/// Media time that a payload stands for; 0 if it is none of its codec, or longer than Opus may be.
uint32_t payload_duration(Codec codec, ConstBytes payload);
/// Opus sends one or two octets for a frame that it leaves to the receiver's comfort noise (RFC 6716 section 2.1.9).
inline bool is_opus_dtx(Codec codec, ConstBytes payload) { return codec == Codec::opus && payload.size() <= 2; }
/// A SILK frame that carries a copy of the one before it (LBRR, RFC 6716 section 4.2.5).
bool has_opus_redundancy(ConstBytes payload);

class AudioDecoder {
   public:
    /// 8000 or 16000.
    explicit AudioDecoder(uint32_t rate_hz) : rate_hz_(rate_hz) {}

    /// Samples written to `out`, which has room for 120 ms; 0 if the payload is broken.
    size_t decode(Codec codec, ConstBytes payload, std::span<int16_t> out);
    /// Fills `out` (a multiple of 2.5 ms) with what was lost just before this Opus payload, from the copy in it.
    bool decode_redundancy(ConstBytes next, std::span<int16_t> out);
    /// Fills `out` (a multiple of 2.5 ms) by the codec's own concealment or comfort noise.
    /// False: the codec that was decoded last has none.
    bool conceal(std::span<int16_t> out);
    /// Linear samples of 8 kHz that were made elsewhere, at our rate. `out` has room for them.
    size_t bring_to_rate(std::span<const int16_t> narrowband, std::span<int16_t> out);

    Codec codec() const { return codec_; }
    /// The next payload is another source's.
    void reset();

   private:
    struct FreeOpus {
        void operator()(OpusDecoder* decoder) const { opus_decoder_destroy(decoder); }
    };

    void change_to(Codec codec);

    uint32_t rate_hz_;
    Codec codec_ = Codec::none;
    // Made when first needed: 18 KB for Opus.
    std::unique_ptr<OpusDecoder, FreeOpus> opus_;
    std::unique_ptr<G722Decoder> g722_;
    RateConverter converter_;
};

}  // namespace sdpserver
