// Redundant audio: one payload.

#include "red.h"

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
    return 0;
}
