// Telephone events: payloads, telling presses apart, durations at another clock rate.
// A record: the two clock rates, the RTP timestamp, a payload.

#include "telephone_event.h"

#include "input.h"
#include "support.h"

using namespace sdpserver;

namespace {

constexpr uint32_t kClockRates[] = {8000, 48000, 16000, 1};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    fuzz::start_over();
    fuzz::Input input(data, size);
    PressTracker presses;
    bool any = false;
    while (!input.empty()) {
        const uint8_t rates = input.octet();
        const uint32_t timestamp = input.be32();
        const std::vector<uint8_t> payload = input.datagram();
        const auto event = TelephoneEvent::parse(payload);
        fuzz::expect(event.has_value() == (payload.size() >= TelephoneEvent::kLength), "four octets are an event");
        if (!event) continue;

        std::vector<uint8_t> again(TelephoneEvent::kLength);
        event->write(again.data());
        fuzz::expect(std::equal(again.begin(), again.end(), payload.begin()), "what is written reads as it was");

        const PressTracker::Place place = presses.place(*event, timestamp);
        fuzz::expect(any || place == PressTracker::Place::first, "the first packet begins a press");
        any = true;
        if (place == PressTracker::Place::first) fuzz::expect(presses.start() == timestamp, "a press begins at its start");

        const uint32_t duration = event->duration + (timestamp - presses.start());
        const uint32_t in = kClockRates[rates & 3];
        const uint32_t out = kClockRates[rates >> 2 & 3];
        const ScaledDuration scaled = ScaledDuration::of(duration, in, out);
        const uint64_t whole = uint64_t{duration} * out / in;
        fuzz::expect(static_cast<uint32_t>(scaled.timestamp_advance + scaled.duration) == static_cast<uint32_t>(whole),
                     "segments add up to the whole");
        fuzz::expect(scaled.timestamp_advance % 0xffff == 0 || whole > UINT32_MAX, "earlier segments are full");
    }
    return 0;
}
