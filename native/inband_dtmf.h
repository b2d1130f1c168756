#pragma once
// Presses that come as tones in the audio (ITU-T Q.23, Q.24), found by spandsp's receiver.

#include <spandsp.h>

#include <cstdint>
#include <functional>
#include <memory>

#include "audio.h"

namespace sdpserver {

class InbandDtmfDetector final : public AudioSink {
   public:
    struct Press {
        uint8_t event = 0;  // RFC 4733 section 3.2
        uint32_t duration_ms = 0;
    };
    /// Once for each press, when it is over.
    using Report = std::function<void(const Press& press, TimeNs now)>;

    /// Throws std::bad_alloc.
    explicit InbandDtmfDetector(Report report);

    void take(const AudioFrame& frame, TimeNs now) override;

   private:
    struct Release {
        void operator()(dtmf_rx_state_t* state) const { dtmf_rx_free(state); }
    };

    static void on_change(void* self, int code, int level, int delay);
    void changed(char digit);
    void take_made_up(size_t count);
    void feed(std::span<const int16_t> samples);
    void feed_wideband(std::span<const int16_t> samples);

    Report report_;
    std::unique_ptr<dtmf_rx_state_t, Release> receiver_;
    TimeNs now_ = 0;
    uint64_t samples_ = 0;  // so far, at 8 kHz
    uint64_t made_up_ = 0;  // of them, the last ones in a row
    uint64_t begun_ = 0;
    char digit_ = 0;        // that is being pressed
    std::array<int16_t, 10> tail_{};  // of the audio at 16 kHz
};

}  // namespace sdpserver
