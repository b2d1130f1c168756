#pragma once
// The formats of a leg, and G.711 (ITU-T G.711) by table.

#include <array>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "bytes.h"
#include "counters.h"
#include "prefetch.h"

namespace sdpserver {

/// Encoding names compare without case (RFC 4855 section 3).
std::optional<Codec> codec_by_name(std::string_view name);
/// "" for `Codec::none`.
const char* codec_name(Codec codec);

inline bool is_audio(Codec codec) {
    return codec == Codec::pcmu || codec == Codec::pcma || codec == Codec::g722 || codec == Codec::opus;
}
inline bool is_g711(Codec codec) { return codec == Codec::pcmu || codec == Codec::pcma; }
/// We can make it from linear samples and turn it into them.
inline bool is_linear(Codec codec) { return is_g711(codec) || codec == Codec::opus || codec == Codec::g722; }
/// It holds more than 4 kHz.
inline bool is_wideband(Codec codec) { return codec == Codec::opus || codec == Codec::g722; }

struct Format {
    /// As `send_type`: the peer may send it and takes none.
    static constexpr uint8_t kNotSent = 0xff;

    Codec codec = Codec::none;
    uint32_t clock_rate_hz = 8000;
    uint8_t send_type = 0;
    uint8_t receive_type = 0;
};

/// What a leg has negotiated, the format it prefers to send first. Those that are not sent can only be `received`.
class FormatTable {
   public:
    FormatTable() { by_receive_type_.fill(kNone); }
    /// Throws std::invalid_argument: a payload type above 127 or received twice, a clock rate of 0, or too many.
    explicit FormatTable(std::vector<Format> formats);

    const Format* received(uint8_t payload_type) const;
    /// The same codec, to be sent.
    const Format* same(const Format& format) const;
    /// The first that can be made from linear samples.
    const Format* first_linear() const;
    /// The one of this clock rate, else any; comfort noise of another clock rate is of no use.
    const Format* telephone_event(uint32_t clock_rate_hz) const;
    const Format* comfort_noise(uint32_t clock_rate_hz) const;
    void prefetch() const { sdpserver::prefetch(formats_.data(), formats_.size() * sizeof(Format)); }

   private:
    static constexpr uint8_t kNone = 0xff;
    static constexpr size_t kMax = 32;

    std::span<const Format> sent() const { return std::span(formats_).first(sent_); }

    std::vector<Format> formats_;  // those that are sent come first
    size_t sent_ = 0;
    std::array<uint8_t, 128> by_receive_type_{};
};

int16_t decode_g711(Codec codec, uint8_t octet);
uint8_t encode_g711(Codec codec, int16_t sample);
/// PCMU to PCMA or back, in place or not.
void convert_g711(Codec from, ConstBytes in, uint8_t* out);

}  // namespace sdpserver
