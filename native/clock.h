#pragma once
// Time as the media plane counts it: nanoseconds of the monotonic clock, and NTP timestamps made from it.

#include <cstdint>
#include <ctime>

namespace sdpserver {

using TimeNs = int64_t;

inline constexpr TimeNs kMicrosecond = 1'000;
inline constexpr TimeNs kMillisecond = 1'000'000;
inline constexpr TimeNs kSecond = 1'000'000'000;

inline TimeNs clock_ns(clockid_t clock) {
    timespec time{};
    clock_gettime(clock, &time);
    return static_cast<TimeNs>(time.tv_sec) * kSecond + time.tv_nsec;
}

inline TimeNs monotonic_ns() { return clock_ns(CLOCK_MONOTONIC); }

/// The 64-bit NTP timestamp (RFC 3550 section 4) of a monotonic time. The offset between the clocks is read once,
/// so a step of the wall clock does not spoil round-trip times.
inline uint64_t ntp_time(TimeNs monotonic) {
    static const TimeNs offset = clock_ns(CLOCK_REALTIME) - monotonic_ns();
    constexpr uint64_t kSecondsFrom1900To1970 = 2'208'988'800;
    const auto since_1970 = static_cast<uint64_t>(monotonic + offset);
    const uint64_t seconds = since_1970 / kSecond + kSecondsFrom1900To1970;
    const uint64_t fraction = ((since_1970 % kSecond) << 32) / kSecond;
    return seconds << 32 | fraction;
}

/// The middle 32 bits of the NTP timestamp, in units of 1/65536 s, as LSR and DLSR use them (RFC 3550 section 6.4.1).
inline uint32_t ntp_middle(TimeNs monotonic) { return static_cast<uint32_t>(ntp_time(monotonic) >> 16); }

}  // namespace sdpserver
