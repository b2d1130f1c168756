#pragma once
// Linear frames of any rate and length into one codec's payloads of the length that the receiver asked for.

#include <opus/opus.h>

#include <memory>
#include <optional>
#include <vector>

#include "audio.h"
#include "bytes.h"
#include "codec.h"
#include "g722.h"
#include "rate_converter.h"

namespace sdpserver {

class AudioEncoder {
   public:
    struct Settings {
        int opus_bitrate_bps = 16'000;
        int opus_complexity = 3;  // costs 70 us per 20 ms where 0 costs 41 and 5 costs 98
        bool opus_dtx = false;
        int opus_max_bitrate_bps = 510'000;  // also with copies of what went before
        bool opus_fec = true;  // where the receiver loses packets
        uint32_t opus_max_rate_hz = kWidebandHz;
    };
    struct Payload {
        size_t octets = 0;
        uint32_t duration_ms = 0;
        bool dtx = false;  // need not be sent: the receiver has been told to make noise by itself
    };
    /// Room that `take` needs: 1275 octets are the most that an Opus frame may have (RFC 6716 section 3.4).
    static constexpr size_t kMaxPayload = 1275;

    AudioEncoder() : AudioEncoder(Settings{}) {}
    explicit AudioEncoder(const Settings& settings) : settings_(settings) {}

    /// 10 to 120 ms in steps of 10; others become the next shorter. Cheap when unchanged.
    void set_format(Codec codec, uint32_t ptime_ms);
    void put(const AudioFrame& frame);
    /// Nothing waits to be encoded.
    bool empty() const { return count_ == 0; }
    /// The next payload, once there is enough for it.
    std::optional<Payload> take(Bytes out);
    /// Fraction of packets that the receiver says are lost. Above 1 % Opus adds copies of what went before.
    void set_expected_loss(double fraction);
    /// What follows is of another source.
    void reset();

   private:
    struct FreeOpus {
        void operator()(OpusEncoder* encoder) const { opus_encoder_destroy(encoder); }
    };

    void set_rate(uint32_t rate_hz);
    OpusEncoder* opus();
    void configure_opus();
    Payload encode_opus(std::span<const int16_t> samples, Bytes out);
    Payload join_opus_frames(std::span<const int16_t> samples, Bytes out);
    size_t samples_of(uint32_t duration_ms) const { return size_t{duration_ms} * rate_hz_ / 1000; }
    void drop(size_t samples);
    bool repeats_silence(bool silent);

    Settings settings_;
    Codec codec_ = Codec::none;
    uint32_t ptime_ms_ = 20;
    uint32_t rate_hz_ = 0;  // of what waits
    std::vector<int16_t> waiting_;
    size_t count_ = 0;
    RateConverter converter_;
    // Made when first needed: 24 KB for Opus.
    std::unique_ptr<OpusEncoder, FreeOpus> opus_;
    uint32_t opus_rate_hz_ = 0;
    std::unique_ptr<G722Encoder> g722_;
    int expected_loss_percent_ = 0;
    bool redundancy_ = false;
    bool silent_ = false;  // the newest payload was Opus's for silence
};

}  // namespace sdpserver
