#pragma once
// Redundant audio data (RFC 2198): one payload that carries the present frame and copies of earlier ones.

#include <array>
#include <optional>

#include "bytes.h"

namespace sdpserver {

struct RedBlock {
    uint8_t payload_type = 0;
    uint16_t timestamp_offset = 0;  // how much earlier than the packet's timestamp; 0 for the primary
    ConstBytes data{};
};

/// The blocks of one payload, oldest first as they came; the last one is the primary.
class RedPayload {
   public:
    static constexpr size_t kMaxBlocks = 8;

    std::span<const RedBlock> redundant() const { return std::span(blocks_).first(count_ - 1); }
    const RedBlock& primary() const { return blocks_[count_ - 1]; }

   private:
    friend std::optional<RedPayload> parse_red(ConstBytes payload);

    std::array<RedBlock, kMaxBlocks> blocks_{};
    size_t count_ = 0;
};

/// Nothing if a header or a block is cut short, or there are more blocks than any sender has a use for.
std::optional<RedPayload> parse_red(ConstBytes payload);

}  // namespace sdpserver
