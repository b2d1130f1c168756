#include "jitter_buffer.h"

#include <algorithm>

namespace sdpserver {

JitterBuffer::Verdict JitterBuffer::insert(Packet packet, ConstBytes payload) {
    const auto end = packets_.begin() + static_cast<ptrdiff_t>(count_);
    const auto place = std::upper_bound(packets_.begin(), end, packet.at,
                                        [](int64_t at, const Packet& other) { return at < other.at; });
    if (place != packets_.begin()) {
        if (std::prev(place)->at == packet.at) return Verdict::repeated;
    }
    if (payload.size() > kMaxOctets - used_) gather();
    if (count_ == kMaxPackets || payload.size() > kMaxOctets - used_) return Verdict::full;
    packet.offset = static_cast<uint16_t>(used_);
    packet.length = static_cast<uint16_t>(payload.size());
    std::ranges::copy(payload, octets_.begin() + static_cast<ptrdiff_t>(used_));
    used_ += payload.size();
    std::move_backward(place, end, end + 1);
    *place = packet;
    ++count_;
    return Verdict::stored;
}

void JitterBuffer::pop() {
    std::move(packets_.begin() + 1, packets_.begin() + static_cast<ptrdiff_t>(count_), packets_.begin());
    if (--count_ == 0) used_ = 0;
}

/// Close the holes.
void JitterBuffer::gather() {
    std::array<uint8_t, kMaxOctets> gathered;
    used_ = 0;
    for (Packet& packet : std::span(packets_).first(count_)) {
        const ConstBytes from = payload(packet);
        std::ranges::copy(from, gathered.begin() + static_cast<ptrdiff_t>(used_));
        packet.offset = static_cast<uint16_t>(used_);
        used_ += packet.length;
    }
    std::copy_n(gathered.begin(), used_, octets_.begin());
}

}  // namespace sdpserver
