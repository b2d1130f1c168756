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

std::optional<RedStream::Packets> RedStream::unwrap(const RtpPacket& packet) {
    const auto red = parse_red(packet.payload);
    if (!red || red->primary().data.empty()) return std::nullopt;
    if (!started_ || packet.ssrc != ssrc_) {
        started_ = true;
        ssrc_ = packet.ssrc;
        newest_ = static_cast<uint16_t>(packet.sequence - 1);
        received_ = ~uint64_t{0};  // nobody waits for what was before
    }
    Packets found;
    RtpPacket one = packet;
    one.marker = false;
    one.sequence = static_cast<uint16_t>(packet.sequence - red->redundant().size());
    for (const RedBlock& block : red->redundant()) {
        if (!block.data.empty() && block.timestamp_offset > 0 && is_new(one.sequence)) {
            one.payload_type = block.payload_type;
            one.timestamp = packet.timestamp - block.timestamp_offset;
            one.payload = block.data;
            found.packets_[found.count_++] = one;
            ++recovered_;
        }
        ++one.sequence;
    }
    if (!is_new(packet.sequence)) return found;
    one = packet;
    one.payload_type = red->primary().payload_type;
    one.payload = red->primary().data;
    found.packets_[found.count_++] = one;
    return found;
}

/// And it is remembered. What is far from all others is a stream that began anew.
bool RedStream::is_new(uint16_t sequence) {
    const int step = static_cast<int16_t>(sequence - newest_);
    if (step >= kRemembered || step <= -kRemembered) {
        newest_ = sequence;
        received_ = ~uint64_t{0};
        return true;
    }
    if (step > 0) {
        newest_ = sequence;
        received_ = received_ << step | 1;
        return true;
    }
    const uint64_t bit = uint64_t{1} << -step;
    const bool found = (received_ & bit) == 0;
    received_ |= bit;
    return found;
}

}  // namespace sdpserver
