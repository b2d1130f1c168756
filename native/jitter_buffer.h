#pragma once
// Packets that wait for their time to be played, in order, in memory that is set aside once.

#include <array>

#include "bytes.h"
#include "codec.h"

namespace sdpserver {

class JitterBuffer {
   public:
    struct Packet {
        int64_t at = 0;  // media time, 1/48000 s
        uint32_t duration = 0;
        uint16_t sequence = 0;
        Codec codec = Codec::none;
        uint16_t offset = 0;
        uint16_t length = 0;

        int64_t end() const { return at + duration; }
    };
    enum class Verdict { stored, repeated, full };

    /// `packet` without its offset and length. A copy gives way to the packet itself, and never the other way round.
    Verdict insert(Packet packet, ConstBytes payload);

    bool empty() const { return count_ == 0; }
    size_t size() const { return count_; }
    /// In the order of time.
    std::span<const Packet> packets() const { return std::span(packets_).first(count_); }
    const Packet& front() const { return packets_.front(); }
    const Packet& back() const { return packets_[count_ - 1]; }
    /// Until the next `insert`.
    ConstBytes payload(const Packet& packet) const { return ConstBytes(octets_).subspan(packet.offset, packet.length); }
    void pop();
    void clear() { count_ = used_ = 0; }

   private:
    static constexpr size_t kMaxPackets = 64;
    /// 0.48 s of 64 kbit/s.
    static constexpr size_t kMaxOctets = 3840;

    void gather();

    std::array<Packet, kMaxPackets> packets_;
    std::array<uint8_t, kMaxOctets> octets_;
    size_t count_ = 0;
    size_t used_ = 0;  // octets, with holes that packets left that are gone
};

}  // namespace sdpserver
