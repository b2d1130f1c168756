#pragma once
// A second of audio, encoded once: what calls that are transcoded carry. Relayed ones carry a time stamp instead.

#include <cstdint>
#include <string_view>
#include <vector>

namespace sdpserver::loadgen {

enum class Codec { kPcmu, kPcma, kOpus };

struct CodecInfo {
    std::string_view name;
    uint8_t payload_type;
    uint32_t clock_rate_hz;
};
const CodecInfo& info(Codec codec);

/// A pause, and with this packet the voice begins at once and loud, so that its arrival can be told.
inline constexpr size_t kOnsetPacket = 8;

/// 50 packets of 20 ms, to be repeated. G.711: 160 octets each; Opus: narrowband at 16 kb/s, what a browser sends
/// when asked for maxplaybackrate=8000.
const std::vector<std::vector<uint8_t>>& prepared_audio(Codec codec);

}  // namespace sdpserver::loadgen
