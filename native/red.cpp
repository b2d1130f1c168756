#include "red.h"

namespace sdpserver {
namespace {

constexpr uint8_t kMoreFollow = 0x80;
constexpr size_t kBlockHeaderLength = 4;

}  // namespace

std::optional<RedPayload> parse_red(ConstBytes payload) {
    // RFC 2198 section 3: F (1), payload type (7), timestamp offset (14), length (10); the primary's ends after the type.
    RedPayload parsed;
    std::array<size_t, RedPayload::kMaxBlocks> lengths{};
    size_t at = 0;
    for (;; ++parsed.count_) {
        if (at >= payload.size() || parsed.count_ == RedPayload::kMaxBlocks) return std::nullopt;
        RedBlock& block = parsed.blocks_[parsed.count_];
        block.payload_type = payload[at] & 0x7f;
        if ((payload[at] & kMoreFollow) == 0) break;
        if (payload.size() - at < kBlockHeaderLength) return std::nullopt;
        block.timestamp_offset = static_cast<uint16_t>(load_be16(&payload[at + 1]) >> 2);
        lengths[parsed.count_] = load_be16(&payload[at + 2]) & 0x3ffu;
        at += kBlockHeaderLength;
    }
    ConstBytes rest = payload.subspan(at + 1);
    for (size_t i = 0; i < parsed.count_; ++i) {
        if (lengths[i] > rest.size()) return std::nullopt;
        parsed.blocks_[i].data = rest.first(lengths[i]);
        rest = rest.subspan(lengths[i]);
    }
    parsed.blocks_[parsed.count_++].data = rest;
    return parsed;
}

}  // namespace sdpserver
