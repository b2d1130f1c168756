#pragma once
// What the harnesses share.

#include <string_view>
#include <vector>

#include "bytes.h"
#include "srtp.h"
#include "stun.h"

namespace sdpserver::fuzz {

/// Ends the run with a reproducer when what must always hold does not.
void expect(bool holds, const char* what);

/// SSRCs, first sequence numbers and transactions are the same in each run of an input, so that a reproducer reproduces.
/// Call it first.
void start_over();

/// The same octets each time.
std::vector<uint8_t> master_key(SrtpProfile profile, uint8_t first);

/// A STUN message with these attributes, MESSAGE-INTEGRITY made with `key`, and FINGERPRINT. It gets past the checks
/// that a fuzzer would never guess.
std::vector<uint8_t> sealed_stun(uint16_t type, const StunTransaction& transaction, ConstBytes attributes,
                                 std::string_view key);
/// One attribute, padded.
std::vector<uint8_t> stun_attribute(uint16_t type, std::string_view value);

}  // namespace sdpserver::fuzz
