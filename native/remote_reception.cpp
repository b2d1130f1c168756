#include "remote_reception.h"

namespace sdpserver {
namespace {

constexpr double kMaxRoundTripMs = 60'000.0;
// One bad interval is answered with half of it at once, and forgotten over the next four.
constexpr double kRise = 0.5;
constexpr double kFall = 0.25;

/// 1/65536 s, as reports count delays.
double ntp_units_to_ms(uint32_t units) { return units * 1000.0 / 65536.0; }

}  // namespace

void RemoteReception::reported(const ReportBlock& block, uint32_t clock_rate_hz, TimeNs now) {
    figures_.reports_received.add(1);
    figures_.remote_packets_lost.set(lost_before_ + block.lost);
    if (clock_rate_hz > 0) figures_.remote_jitter_ms.set(block.jitter * 1000.0 / clock_rate_hz);
    smooth(block.fraction_lost / 256.0);
    if (block.last_report == 0) return;
    const uint32_t units = ntp_middle(now) - block.last_report - block.delay;
    // Rounding can make a short trip negative; a long one is a lie or a report of another stream.
    const double trip_ms = static_cast<int32_t>(units) < 0 ? 0.0 : ntp_units_to_ms(units);
    if (trip_ms <= kMaxRoundTripMs) figures_.round_trip_ms.set(trip_ms);
}

void RemoteReception::smooth(double fraction) {
    const double before = figures_.expected_loss.get();
    figures_.remote_fraction_lost.set(fraction);
    figures_.expected_loss.set(before + (fraction - before) * (fraction > before ? kRise : kFall));
}

}  // namespace sdpserver
