// The playout: packets of any codec, in any order, and frames taken out as time passes.
// A record: what the packet is, steps of 10 ms before it, sequence number, timestamp, a payload.

#include "playout.h"

#include <array>

#include "input.h"
#include "support.h"

using namespace sdpserver;

namespace {

constexpr std::array kFormats{
    Format{Codec::pcmu, 8000, 0, 0},          Format{Codec::pcma, 8000, 8, 8},
    Format{Codec::g722, 8000, 9, 9},          Format{Codec::opus, 48000, 111, 111},
    Format{Codec::comfort_noise, 8000, 13, 13},
};

/// What a tick takes out.
void take(Playout& playout, uint32_t rate_hz, TimeNs now) {
    std::vector<int16_t> frame(rate_hz / 50);
    const Playout::Figures before = playout.figures();
    playout.get(frame, now);
    const Playout::Figures& after = playout.figures();
    fuzz::expect(after.samples_played == before.samples_played + frame.size(), "a frame is whole");
    fuzz::expect(after.samples_concealed >= before.samples_concealed, "counters count up");
    fuzz::expect(after.delay_ms >= 0.0 && after.target_delay_ms >= 0.0, "no delay is negative");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    fuzz::start_over();
    fuzz::Input input(data, size);
    uint32_t rate_hz = kNarrowbandHz;
    Playout playout(rate_hz, {});
    TimeNs now = 1000 * kSecond;
    while (!input.empty()) {
        const uint8_t what = input.octet();
        const uint8_t steps = input.octet();
        for (unsigned step = steps % 16; step > 0; --step) {
            now += 10 * kMillisecond;
            if (step % 2 == 0) take(playout, rate_hz, now);
        }
        if ((steps & 0x80) != 0) now += 1000 * kMillisecond * (steps >> 4);
        if ((what & 0x80) != 0) {
            rate_hz = rate_hz == kNarrowbandHz ? kWidebandHz : kNarrowbandHz;
            playout.set_rate(rate_hz);
        }
        if ((what & 0x40) != 0) playout.reset();
        const uint16_t sequence = input.be16();
        const uint32_t timestamp = input.be32();
        const std::vector<uint8_t> payload = input.datagram();
        const Format& format = kFormats[what % kFormats.size()];
        playout.put({.payload_type = format.receive_type, .sequence = sequence, .timestamp = timestamp, .ssrc = 1,
                     .payload = payload},
                    format, now);
    }
    for (int i = 0; i < 20; ++i) {
        now += 20 * kMillisecond;
        take(playout, rate_hz, now);
        static_cast<void>(playout.idle());
    }
    return 0;
}
