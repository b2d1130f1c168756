#pragma once
// Unpredictable numbers for SSRCs, sequence numbers, transaction ids and intervals.

#include <openssl/rand.h>

#include <cstdint>
#include <stdexcept>

#include "bytes.h"

namespace sdpserver {

inline void random_bytes(Bytes out) {
    if (RAND_bytes(out.data(), static_cast<int>(out.size())) != 1) throw std::runtime_error("no random numbers");
}

inline uint32_t random_u32() {
    uint8_t octets[4];
    random_bytes(octets);
    return load_be32(octets);
}

}  // namespace sdpserver
