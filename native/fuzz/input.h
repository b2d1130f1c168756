#pragma once
// What libFuzzer hands over, read as a list of records. Whatever is missing at the end reads as zero or empty.

#include <algorithm>
#include <vector>

#include "bytes.h"

namespace sdpserver::fuzz {

class Input {
   public:
    Input(const uint8_t* data, size_t size) : left_(data, size) {}

    bool empty() const { return left_.empty(); }

    uint8_t octet() {
        if (left_.empty()) return 0;
        const uint8_t first = left_.front();
        left_ = left_.subspan(1);
        return first;
    }
    uint16_t be16() {
        const uint8_t high = octet();
        return static_cast<uint16_t>(high << 8 | octet());
    }
    uint32_t be32() {
        const uint16_t high = be16();
        return static_cast<uint32_t>(high) << 16 | be16();
    }
    /// One of `count`.
    size_t choice(size_t count) { return octet() % count; }
    /// A length of two octets and that many octets, in memory of its own and no longer than they are, so that
    /// AddressSanitizer sees the first octet read past the end.
    std::vector<uint8_t> datagram() {
        const size_t length = std::min<size_t>(be16(), left_.size());
        std::vector<uint8_t> octets(left_.begin(), left_.begin() + static_cast<std::ptrdiff_t>(length));
        octets.shrink_to_fit();
        left_ = left_.subspan(length);
        return octets;
    }

   private:
    ConstBytes left_;
};

}  // namespace sdpserver::fuzz
