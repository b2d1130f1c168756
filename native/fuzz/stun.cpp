// STUN and the ICE agent: datagrams as they come, messages with a right MESSAGE-INTEGRITY around any attributes, answers
// to our own checks, restarts.
// A record: what to do, the source, whether keys are set and another leg has the address, a datagram or the attributes of one.

#include "stun.h"

#include <string>

#include "ice.h"
#include "input.h"
#include "support.h"

using namespace sdpserver;

namespace {

constexpr std::string_view kPwd = "the password of the leg.";
constexpr std::string_view kPeerPwd = "the password of the peer";
constexpr std::string_view kNewPwd = "of the next generation..";

std::string_view text(ConstBytes octets) { return {reinterpret_cast<const char*>(octets.data()), octets.size()}; }

class Agent {
   public:
    Agent() : ice_({"leg0", std::string(kPwd)}, {"peer", std::string(kPeerPwd)}) {}

    void receive(ConstBytes datagram, const SocketAddress& source, IceAgent::Circumstances circumstances) {
        const auto message = parse_stun(datagram);
        if (!message) return;
        check_views(datagram, *message);
        fuzz::expect(message->integrity_at != 0 || !stun_integrity_holds(datagram, *message, kPwd),
                     "without MESSAGE-INTEGRITY there is no integrity");
        if (message->type == kStunBindingRequest) {
            on_request(datagram, *message, source, circumstances);
        } else {
            const auto before = ice_.selected();
            const auto awaited = ice_.checked_address();
            const IceAgent::Outcome outcome = ice_.on_response(datagram, *message, source);
            fuzz::expect(!outcome.verified || awaited == source, "only the answer to our own check proves an address");
            fuzz::expect((outcome.change == IceAgent::Change::none) == (ice_.selected() == before),
                         "a move is told, and only a move");
            fuzz::expect(outcome.verified || ice_.selected() == before, "what proves nothing moves nothing");
        }
    }

    /// An answer to the check that is under way, if one is, from `source`.
    void answer(const SocketAddress& source) {
        std::vector<uint8_t> check(kMaxStunLength);
        const size_t length = ice_.write_check(check);
        if (length == 0) return;
        const auto request = parse_stun(ConstBytes(check).first(length));
        fuzz::expect(request && request->type == kStunBindingRequest, "our parser takes our checks");
        fuzz::expect(stun_integrity_holds(ConstBytes(check).first(length), *request, ice_.checked_address() ? peer_pwd_ : ""),
                     "our checks carry the peer's password");
        std::vector<uint8_t> reply(kMaxStunLength);
        reply.resize(write_binding_success(reply, request->transaction, source, peer_pwd_));
        receive(reply, source, {});
    }

    void restart() { ice_.restart({"leg1", std::string(kNewPwd)}, {"peer", std::string(kPeerPwd)}); }

   private:
    static void check_views(ConstBytes datagram, const StunMessage& message) {
        fuzz::expect(message.unknown_count <= message.unknown.size(), "unknown attributes fit");
        fuzz::expect(message.integrity_at == 0 || message.integrity_at + 24 <= datagram.size(),
                     "MESSAGE-INTEGRITY lies within the datagram");
        const std::string_view whole = text(datagram);
        fuzz::expect(message.username.empty() || (message.username.data() >= whole.data() &&
                                                  message.username.data() + message.username.size() <=
                                                      whole.data() + whole.size()),
                     "USERNAME lies within the datagram");
    }

    void on_request(ConstBytes datagram, const StunMessage& message, const SocketAddress& source,
                    IceAgent::Circumstances circumstances) {
        const std::string_view ufrag = message.username.substr(0, message.username.find(':'));
        bool ours = false;
        ice_.for_each_ufrag([&](const std::string& known) { ours = ours || known == ufrag; });
        if (!ours) return;  // as the port does
        const auto before = ice_.selected();
        std::vector<uint8_t> reply(kMaxStunLength);
        const IceAgent::Outcome outcome = ice_.on_request(datagram, message, ufrag, source, circumstances, reply);
        if (!outcome.answer) {
            fuzz::expect(!outcome.verified && ice_.selected() == before, "who gets no answer changes nothing");
            return;
        }
        const ConstBytes answer = ConstBytes(reply).first(outcome.answer_length);
        const auto parsed = parse_stun(answer);
        fuzz::expect(parsed && parsed->transaction == message.transaction, "an answer belongs to its request");
        fuzz::expect(stun_integrity_holds(answer, *parsed, kPwd) || stun_integrity_holds(answer, *parsed, kNewPwd),
                     "an answer carries our password");
        if (circumstances.contested) {
            fuzz::expect(!outcome.verified && ice_.selected() == before, "no request alone takes another leg's address");
        }
        if (circumstances.secured && before) fuzz::expect(ice_.selected() == before, "no request alone moves a secured address");
        size_t verified = 0;
        bool selected_is_verified = !ice_.selected();
        ice_.for_each_verified([&](const SocketAddress& address) {
            ++verified;
            selected_is_verified = selected_is_verified || address == ice_.selected();
        });
        fuzz::expect(verified <= 4 && selected_is_verified, "the selected address is one of the few verified");
    }

    IceAgent ice_;
    std::string_view peer_pwd_ = kPeerPwd;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    fuzz::start_over();
    fuzz::Input input(data, size);
    Agent agent;
    while (!input.empty()) {
        const size_t what = input.choice(6);
        const uint8_t from = input.octet();
        const auto source = SocketAddress::parse(from & 0x80 ? "2001:db8::1" : "192.0.2.1", 5000 + from % 8);
        const IceAgent::Circumstances circumstances{.secured = (from & 0x40) != 0, .contested = (from & 0x20) != 0};
        const std::vector<uint8_t> datagram = input.datagram();
        switch (what) {
            case 0: agent.receive(datagram, *source, circumstances); break;
            case 1: {
                auto attributes = fuzz::stun_attribute(0x0006, "leg0:peer");
                attributes.insert(attributes.end(), datagram.begin(), datagram.end());
                agent.receive(fuzz::sealed_stun(kStunBindingRequest, {}, attributes, kPwd), *source, circumstances);
                break;
            }
            case 2: {
                auto attributes = fuzz::stun_attribute(0x0006, "leg1:peer");
                attributes.insert(attributes.end(), datagram.begin(), datagram.end());
                agent.receive(fuzz::sealed_stun(kStunBindingRequest, {}, attributes, kNewPwd), *source, circumstances);
                break;
            }
            case 3: agent.receive(fuzz::sealed_stun(kStunBindingSuccess, {}, datagram, kPeerPwd), *source, circumstances); break;
            case 4: agent.answer(*source); break;
            default: agent.restart(); break;
        }
    }
    return 0;
}
