#pragma once
// Redundant audio data (RFC 2198): one payload that carries the present frame and copies of earlier ones.

#include <array>
#include <optional>

#include "bytes.h"
#include "rtp.h"

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

/// The packets that were put into redundant payloads, as if they had come by themselves. A lost one comes as soon as there
/// is a copy of it, which is later than it should, and the packet itself is then the second of its kind.
class RedStream {
   public:
    class Packets {
       public:
        const RtpPacket* begin() const { return packets_.data(); }
        const RtpPacket* end() const { return packets_.data() + count_; }

       private:
        friend class RedStream;
        std::array<RtpPacket, RedPayload::kMaxBlocks> packets_{};
        size_t count_ = 0;
    };

    /// Oldest first, each once. Copies are taken to be of the packets that were right before, as all senders make them.
    /// Nothing if the payload is malformed.
    std::optional<Packets> unwrap(const RtpPacket& packet);
    /// Packets of which only a copy came, so far.
    uint64_t recovered() const { return recovered_; }

   private:
    static constexpr int kRemembered = 64;

    bool is_new(uint16_t sequence);

    bool started_ = false;
    uint32_t ssrc_ = 0;
    uint16_t newest_ = 0;
    uint64_t received_ = 0;  // one bit for each packet up to the newest, which is bit 0
    uint64_t recovered_ = 0;
};

}  // namespace sdpserver
