// SRTP and SRTCP: datagrams as they come, and packets of any shape with a right tag, as an authenticated peer could send
// them, at any rollover.
// An input: the profile, then records of what to do, a rollover count, a datagram.

#include "srtp.h"

#include "input.h"
#include "rtp.h"
#include "srtcp.h"
#include "support.h"

using namespace sdpserver;

namespace {

constexpr SrtpProfile kProfiles[] = {SrtpProfile::aead_aes_128_gcm, SrtpProfile::aead_aes_256_gcm,
                                     SrtpProfile::aes_cm_128_hmac_sha1_80, SrtpProfile::aes_cm_128_hmac_sha1_32};

class Association {
   public:
    explicit Association(SrtpProfile profile)
        : theirs_(fuzz::master_key(profile, 1)),
          ours_(fuzz::master_key(profile, 101)),
          sealing_(profile, SrtpSessionKeys::derive(profile, theirs_), SrtpCipher::Use::encrypt),
          receiver_(profile, theirs_),
          sender_(profile, ours_),
          their_rtcp_(profile, theirs_, ours_),
          our_rtcp_(profile, ours_, theirs_) {}

    void receive(std::vector<uint8_t> datagram) {
        size_t length = datagram.size();
        receiver_.unprotect(datagram.data(), length);
        fuzz::expect(length <= datagram.size(), "opening makes no packet longer");
    }

    void receive_sealed(const std::vector<uint8_t>& plain, uint8_t rollovers) {
        const size_t header = rtp_header_length(plain);
        if (header == 0) return;
        std::vector<uint8_t> packet = plain;
        packet.resize(plain.size() + sealing_.tag_length());
        const uint64_t index = uint64_t{rollovers} << 16 | load_be16(&plain[2]);
        fuzz::expect(sealing_.seal(packet.data(), header, plain.size(), index), "a packet can be sealed");
        std::vector<uint8_t> copy = packet;
        size_t length = packet.size();
        if (receiver_.unprotect(packet.data(), length) == SrtpReceiver::Result::ok) {
            packet.resize(length);
            fuzz::expect(packet == plain, "what is opened is what was sealed");
            length = copy.size();
            fuzz::expect(receiver_.unprotect(copy.data(), length) == SrtpReceiver::Result::repeated,
                         "no packet is taken twice");
        }
    }

    void receive_rtcp(std::vector<uint8_t> datagram) {
        if (datagram.size() < 8) return;  // the port drops them
        size_t length = datagram.size();
        our_rtcp_.unprotect(datagram.data(), length);
        fuzz::expect(length <= datagram.size(), "opening makes no packet longer");
    }

    void receive_sealed_rtcp(const std::vector<uint8_t>& plain) {
        if (plain.size() < 8) return;
        std::vector<uint8_t> packet = plain;
        packet.resize(plain.size() + Srtcp::kMaxOverhead);
        size_t length = their_rtcp_.protect(packet.data(), plain.size());
        if (length == 0) return;
        fuzz::expect(length <= packet.size(), "protecting stays within its room");
        packet.resize(length);
        packet.shrink_to_fit();
        if (our_rtcp_.unprotect(packet.data(), length) == Srtcp::Result::ok) {
            packet.resize(length);
            fuzz::expect(packet == plain, "what is opened is what was sealed");
        }
    }

    void send(const std::vector<uint8_t>& plain) {
        std::vector<uint8_t> packet = plain;
        packet.resize(plain.size() + kMaxSrtpOverhead);
        const size_t length = sender_.protect(packet.data(), plain.size());
        fuzz::expect(length == 0 || (length > plain.size() && length <= packet.size()), "a tag is added, within its room");
        if (length == 0) return;
        std::vector<uint8_t> again = plain;
        again.resize(plain.size() + kMaxSrtpOverhead);
        fuzz::expect(sender_.protect(again.data(), plain.size()) == 0, "no key stream is used twice");
    }

   private:
    std::vector<uint8_t> theirs_;
    std::vector<uint8_t> ours_;
    SrtpCipher sealing_;
    SrtpReceiver receiver_;
    SrtpSender sender_;
    Srtcp their_rtcp_;
    Srtcp our_rtcp_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    fuzz::start_over();
    fuzz::Input input(data, size);
    Association association(kProfiles[input.choice(std::size(kProfiles))]);
    while (!input.empty()) {
        const size_t what = input.choice(5);
        const uint8_t rollovers = input.octet();
        const std::vector<uint8_t> datagram = input.datagram();
        switch (what) {
            case 0: association.receive(datagram); break;
            case 1: association.receive_sealed(datagram, rollovers); break;
            case 2: association.receive_rtcp(datagram); break;
            case 3: association.receive_sealed_rtcp(datagram); break;
            default: association.send(datagram); break;
        }
    }
    return 0;
}
