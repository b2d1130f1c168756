// `sdpserver/_media_testing`: parts of the media plane that a test cannot reach, or not closely enough, through sockets.
// Built for an editable install only; the server never imports it.

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/tuple.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "leg.h"
#include "poll_floor.h"
#include "srtp.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace sdpserver {

// Of the other files in this folder.
void register_dtmf(nb::module_& module);
void register_playout(nb::module_& module);
void register_reception(nb::module_& module);
void register_packet_loop(nb::module_& module);
void register_room(nb::module_& module);
void register_sound(nb::module_& module);

namespace {

ConstBytes octets_of(const nb::bytes& bytes) { return {reinterpret_cast<const uint8_t*>(bytes.c_str()), bytes.size()}; }
nb::bytes bytes_of(const uint8_t* from, size_t length) { return nb::bytes(reinterpret_cast<const char*>(from), length); }

SrtpProfile profile_of(std::string_view name) {
    const auto profile = srtp_profile(name);
    if (!profile) throw std::invalid_argument("no such SRTP profile");
    return *profile;
}

std::tuple<nb::bytes, nb::bytes, nb::bytes> derive(std::string_view profile, const nb::bytes& master) {
    const auto keys = SrtpSessionKeys::derive(profile_of(profile), octets_of(master));
    return {bytes_of(keys.encryption.data(), keys.encryption.size()),
            bytes_of(keys.authentication.data(), keys.authentication.size()),
            bytes_of(keys.salt.data(), keys.salt.size())};
}

SrtpSessionKeys session_keys(const nb::bytes& encryption, const nb::bytes& authentication, const nb::bytes& salt) {
    SrtpSessionKeys keys;
    const auto fill = [](Bytes to, ConstBytes from) {
        if (from.size() > to.size()) throw std::invalid_argument("a session key that is too long");
        std::ranges::copy(from, to.begin());
    };
    fill(keys.encryption, octets_of(encryption));
    fill(keys.authentication, octets_of(authentication));
    fill(keys.salt, octets_of(salt));
    return keys;
}

/// One transform with given session keys.
class Cipher {
   public:
    Cipher(std::string_view profile, const nb::bytes& encryption, const nb::bytes& authentication,
           const nb::bytes& salt, bool own_gcm)
        : seal_(profile_of(profile), session_keys(encryption, authentication, salt), SrtpCipher::Use::encrypt,
                own_gcm && AesGcm::available()),
          open_(profile_of(profile), session_keys(encryption, authentication, salt), SrtpCipher::Use::decrypt,
                own_gcm && AesGcm::available()) {}

    nb::bytes seal(const nb::bytes& plain, uint64_t index) {
        std::vector<uint8_t> packet(plain.size() + kMaxSrtpOverhead);
        std::ranges::copy(octets_of(plain), packet.begin());
        if (!seal_.seal(packet.data(), header(packet, plain.size()), plain.size(), index)) {
            throw std::runtime_error("not sealed");
        }
        return bytes_of(packet.data(), plain.size() + seal_.tag_length());
    }
    /// None: a wrong tag.
    std::optional<nb::bytes> open(const nb::bytes& sealed, uint64_t index) {
        std::vector<uint8_t> packet(octets_of(sealed).begin(), octets_of(sealed).end());
        const size_t length = packet.size() - std::min(packet.size(), open_.tag_length());
        if (!open_.open(packet.data(), header(packet, length), length, index)) return std::nullopt;
        return bytes_of(packet.data(), length);
    }

   private:
    static size_t header(const std::vector<uint8_t>& packet, size_t length) {
        const size_t header_length = rtp_header_length(ConstBytes(packet).first(length));
        if (header_length == 0) throw std::invalid_argument("not an RTP packet");
        return header_length;
    }

    SrtpCipher seal_;
    SrtpCipher open_;
};

/// b"": refused.
nb::bytes protect(SrtpSender& sender, const nb::bytes& plain) {
    std::vector<uint8_t> packet(plain.size() + kMaxSrtpOverhead);
    std::ranges::copy(octets_of(plain), packet.begin());
    return bytes_of(packet.data(), sender.protect(packet.data(), plain.size()));
}

std::pair<std::string_view, nb::bytes> unprotect(SrtpReceiver& receiver, const nb::bytes& sealed) {
    std::vector<uint8_t> packet(octets_of(sealed).begin(), octets_of(sealed).end());
    size_t length = packet.size();
    switch (receiver.unprotect(packet.data(), length)) {
        case SrtpReceiver::Result::ok: return {"ok", bytes_of(packet.data(), length)};
        case SrtpReceiver::Result::malformed: return {"malformed", nb::bytes("", 0)};
        case SrtpReceiver::Result::wrong_tag: return {"wrong_tag", nb::bytes("", 0)};
        case SrtpReceiver::Result::repeated: return {"repeated", nb::bytes("", 0)};
    }
    throw std::logic_error("an unknown result");
}

nb::dict sizes() {
    nb::dict result;
    result["Leg"] = sizeof(Leg);
    result["LegFigures"] = sizeof(LegFigures);
    result["Transport"] = sizeof(Transport);
    result["OutboundStream"] = sizeof(OutboundStream);
    result["IceAgent"] = sizeof(IceAgent);
    result["SrtpSender"] = sizeof(SrtpSender);
    result["SrtpReceiver"] = sizeof(SrtpReceiver);
    return result;
}

}  // namespace
}  // namespace sdpserver

NB_MODULE(_media_testing, module) {
    using namespace sdpserver;
    register_dtmf(module);
    register_packet_loop(module);
    register_playout(module);
    register_reception(module);
    register_room(module);
    register_sound(module);
    module.def("derive", &derive, "profile"_a, "master"_a);
    module.def("sizes", &sizes);
    nb::class_<Cipher>(module, "Cipher")
        .def(nb::init<std::string_view, const nb::bytes&, const nb::bytes&, const nb::bytes&, bool>(), "profile"_a,
             "encryption"_a, "authentication"_a, "salt"_a, "own_gcm"_a = true)
        .def("seal", &Cipher::seal, "plain"_a, "index"_a)
        .def("open", &Cipher::open, "sealed"_a, "index"_a);
    nb::class_<SrtpSender>(module, "Sender")
        .def(
            "__init__",
            [](SrtpSender* self, std::string_view profile, const nb::bytes& master) {
                new (self) SrtpSender(profile_of(profile), octets_of(master));
            },
            "profile"_a, "master"_a)
        .def("protect", &protect, "plain"_a);
    nb::class_<SrtpReceiver>(module, "Receiver")
        .def(
            "__init__",
            [](SrtpReceiver* self, std::string_view profile, const nb::bytes& master) {
                new (self) SrtpReceiver(profile_of(profile), octets_of(master));
            },
            "profile"_a, "master"_a)
        .def("unprotect", &unprotect, "sealed"_a);
    nb::class_<PollFloor>(module, "PollFloor")
        .def(nb::init<>())
        .def_prop_ro("engaged", &PollFloor::engaged)
        .def("polled", &PollFloor::polled, "now"_a, "packets_in_all"_a);
}
