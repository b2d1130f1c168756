#include "loss_runs.h"

namespace sdpserver {

void LossRuns::lost(uint32_t count) {
    if (count == 0) return;
    if (!in_run_) ++totals_.runs;
    in_run_ = true;
    totals_.lost += count;
    span_ += since_loss_ + count;
    span_lost_ += count;
    since_loss_ = 0;
}

void LossRuns::close() {
    if (span_lost_ > 1) {
        ++totals_.bursts;
        totals_.burst_packets += span_;
        totals_.burst_lost += span_lost_;
    }
    span_ = span_lost_ = since_loss_ = 0;
    in_run_ = false;
}

}  // namespace sdpserver
