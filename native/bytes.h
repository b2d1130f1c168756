#pragma once
// Views of octets, and the big-endian fields that every format here is made of.

#include <cstddef>
#include <cstdint>
#include <span>

namespace sdpserver {

using Bytes = std::span<uint8_t>;
using ConstBytes = std::span<const uint8_t>;

inline uint16_t load_be16(const uint8_t* from) { return static_cast<uint16_t>(from[0] << 8 | from[1]); }

inline uint32_t load_be32(const uint8_t* from) {
    return static_cast<uint32_t>(from[0]) << 24 | static_cast<uint32_t>(from[1]) << 16 |
           static_cast<uint32_t>(from[2]) << 8 | static_cast<uint32_t>(from[3]);
}

inline void store_be16(uint8_t* to, uint16_t value) {
    to[0] = static_cast<uint8_t>(value >> 8);
    to[1] = static_cast<uint8_t>(value);
}

inline void store_be32(uint8_t* to, uint32_t value) {
    store_be16(to, static_cast<uint16_t>(value >> 16));
    store_be16(to + 2, static_cast<uint16_t>(value));
}

}  // namespace sdpserver
