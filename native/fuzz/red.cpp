// Redundant audio: one payload, and a stream of it with losses.

#include "red.h"

#include <algorithm>
#include <set>

#include "input.h"
#include "support.h"

using namespace sdpserver;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    // A copy in memory of its own, for AddressSanitizer to guard.
    const std::vector<uint8_t> payload(data, data + size);
    const auto red = parse_red(payload);
    if (!red) return 0;
    const auto lies_within = [&](ConstBytes block) {
        return block.empty() ||
               (block.data() >= payload.data() && block.data() + block.size() <= payload.data() + payload.size());
    };
    size_t octets = 1;
    for (const RedBlock& block : red->redundant()) {
        fuzz::expect(lies_within(block.data), "a copy lies within the payload");
        fuzz::expect(block.payload_type < 128 && block.timestamp_offset < 1 << 14, "fields have their widths");
        octets += 4 + block.data.size();
    }
    fuzz::expect(lies_within(red->primary().data), "the primary lies within the payload");
    fuzz::expect(red->primary().timestamp_offset == 0, "the primary is not earlier");
    fuzz::expect(octets + red->primary().data.size() == size, "the blocks are all of the payload");
    if (red->primary().data.empty()) return 0;

    // The same payload again and again, where the primary's octets say how far on.
    RedStream stream;
    std::set<uint16_t> seen;
    uint16_t sequence = 0xfff0;
    for (const uint8_t step : red->primary().data.first(std::min<size_t>(red->primary().data.size(), 64))) {
        sequence = static_cast<uint16_t>(sequence + step % 16);
        const auto packets = stream.unwrap({.sequence = sequence, .timestamp = 960u * sequence, .payload = payload});
        fuzz::expect(packets.has_value(), "what was parsed is unwrapped");
        for (const RtpPacket& one : *packets) {
            fuzz::expect(seen.insert(one.sequence).second, "each packet comes once");
            fuzz::expect(lies_within(one.payload), "a packet lies within the payload");
        }
    }
    return 0;
}
