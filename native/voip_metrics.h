#pragma once
// The VoIP metrics block of an extended report (RFC 3611 section 4.7).

#include <cstdint>

namespace sdpserver {

struct VoipMetrics {
    static constexpr uint8_t kUnknown = 127;  // of R factors and MOS

    uint8_t loss_rate = 0;  // rates and densities in 1/256
    uint8_t discard_rate = 0;
    uint8_t burst_density = 0;
    uint8_t gap_density = 0;
    uint16_t burst_duration_ms = 0;
    uint16_t gap_duration_ms = 0;
    uint16_t round_trip_ms = 0;
    uint16_t end_system_delay_ms = 0;
    uint8_t gmin = 0;
    uint8_t r_factor = kUnknown;
    uint8_t mos_lq = kUnknown;  // in 1/10
    uint8_t mos_cq = kUnknown;
};

}  // namespace sdpserver
