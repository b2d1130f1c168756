#pragma once
// Memory that will be needed in a moment, asked for now. A leg is looked at every 20 ms, and between two looks others
// take its place in the cache: while packets of many legs wait, all of it can be on its way at once.

#include <cstddef>
#include <cstdint>

namespace sdpserver {

inline void prefetch(const void* start, size_t octets) {
    constexpr size_t kLine = 64;
    const auto* at = static_cast<const uint8_t*>(start);
    for (size_t i = 0; i < octets; i += kLine) __builtin_prefetch(at + i);
}

}  // namespace sdpserver
