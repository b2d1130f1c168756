#include "codec.h"

#include <algorithm>
#include <cctype>
#include <stdexcept>

namespace sdpserver {
namespace {

struct NameRow {
    Codec codec;
    const char* name;
};

constexpr std::array<NameRow, 7> kNames{{
    {Codec::pcmu, "PCMU"},
    {Codec::pcma, "PCMA"},
    {Codec::g722, "G722"},
    {Codec::opus, "opus"},
    {Codec::comfort_noise, "CN"},
    {Codec::telephone_event, "telephone-event"},
    {Codec::red, "red"},
}};

bool same_name(std::string_view a, std::string_view b) {
    return std::ranges::equal(a, b, [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

// Both laws: sign, three bits of segment, four of step, sent inverted (mu) or with even bits inverted (A).

constexpr int kMuBias = 33 << 2;   // on a 16-bit scale
constexpr int kMuClip = 8158 << 2;

constexpr int16_t mu_to_linear(uint8_t octet) {
    const auto code = static_cast<uint8_t>(~octet);
    const int segment = code >> 4 & 7;
    const int magnitude = (((code & 0x0f) << 3) + kMuBias) << segment;
    return static_cast<int16_t>((code & 0x80) != 0 ? kMuBias - magnitude : magnitude - kMuBias);
}

constexpr uint8_t linear_to_mu(int sample) {
    const bool negative = sample < 0;
    const int magnitude = std::min(negative ? -sample : sample, kMuClip) + kMuBias;
    int segment = 7;
    while (segment > 0 && magnitude < 1 << (segment + 7)) --segment;
    const int code = (negative ? 0x80 : 0) | segment << 4 | (magnitude >> (segment + 3) & 0x0f);
    return static_cast<uint8_t>(~code);
}

constexpr int16_t a_to_linear(uint8_t octet) {
    const auto code = static_cast<uint8_t>(octet ^ 0x55);
    const int segment = code >> 4 & 7;
    int magnitude = ((code & 0x0f) << 4) + 8;
    if (segment > 0) magnitude = (magnitude + 0x100) << (segment - 1);
    return static_cast<int16_t>((code & 0x80) != 0 ? magnitude : -magnitude);
}

constexpr uint8_t linear_to_a(int sample) {
    const bool positive = sample >= 0;
    const int magnitude = std::min(positive ? sample : -1 - sample, 0x7fff);
    int segment = 7;
    while (segment > 0 && magnitude < 1 << (segment + 7)) --segment;
    const int code = (positive ? 0x80 : 0) | segment << 4 | (magnitude >> (segment == 0 ? 4 : segment + 3) & 0x0f);
    return static_cast<uint8_t>(code ^ 0x55);
}

struct Tables {
    // Two low bits of a sample make no difference to the mu law, three to the A law.
    static constexpr int kShift = 2;
    std::array<int16_t, 256> mu_linear{}, a_linear{};
    std::array<uint8_t, (65536 >> kShift)> linear_mu{}, linear_a{};
    std::array<uint8_t, 256> mu_a{}, a_mu{};

    Tables() {
        for (size_t i = 0; i < 256; ++i) {
            mu_linear[i] = mu_to_linear(static_cast<uint8_t>(i));
            a_linear[i] = a_to_linear(static_cast<uint8_t>(i));
            mu_a[i] = linear_to_a(mu_linear[i]);
            a_mu[i] = linear_to_mu(a_linear[i]);
        }
        for (size_t i = 0; i < linear_mu.size(); ++i) {
            const auto sample = static_cast<int16_t>(static_cast<uint16_t>(i << kShift));
            linear_mu[i] = linear_to_mu(sample);
            linear_a[i] = linear_to_a(sample);
        }
    }
};

const Tables kTables;

}  // namespace

std::optional<Codec> codec_by_name(std::string_view name) {
    const auto found = std::ranges::find_if(kNames, [name](const NameRow& row) { return same_name(row.name, name); });
    return found == kNames.end() ? std::nullopt : std::optional(found->codec);
}

const char* codec_name(Codec codec) {
    const auto found = std::ranges::find(kNames, codec, &NameRow::codec);
    return found == kNames.end() ? "" : found->name;
}

FormatTable::FormatTable(std::vector<Format> formats) : formats_(std::move(formats)) {
    by_receive_type_.fill(kNone);
    if (formats_.size() > kMax) throw std::invalid_argument("more than 32 codecs");
    const auto is_sent = [](const Format& format) { return format.send_type != Format::kNotSent; };
    // Not of std::ranges: clang, which builds the harnesses, does not take libstdc++'s subranges.
    const auto not_sent = std::stable_partition(formats_.begin(), formats_.end(), is_sent);
    sent_ = static_cast<size_t>(not_sent - formats_.begin());
    for (size_t i = 0; i < formats_.size(); ++i) {
        const Format& format = formats_[i];
        if (format.receive_type > 127 || (i < sent_ && format.send_type > 127)) {
            throw std::invalid_argument("a payload type above 127");
        }
        if (format.clock_rate_hz == 0) throw std::invalid_argument("a clock rate of 0");
        uint8_t& place = by_receive_type_[format.receive_type];
        if (place != kNone) throw std::invalid_argument("two codecs with one payload type");
        place = static_cast<uint8_t>(i);
    }
}

const Format* FormatTable::received(uint8_t payload_type) const {
    const uint8_t index = by_receive_type_[payload_type & 0x7f];
    return index == kNone ? nullptr : &formats_[index];
}

const Format* FormatTable::same(const Format& format) const {
    for (const Format& own : sent()) {
        if (own.codec == format.codec && own.clock_rate_hz == format.clock_rate_hz) return &own;
    }
    return nullptr;
}

const Format* FormatTable::first_linear() const {
    const auto formats = sent();
    const auto found = std::ranges::find_if(formats, is_linear, &Format::codec);
    return found == formats.end() ? nullptr : &*found;
}

const Format* FormatTable::comfort_noise(uint32_t clock_rate_hz) const {
    return same({.codec = Codec::comfort_noise, .clock_rate_hz = clock_rate_hz});
}

const Format* FormatTable::telephone_event(uint32_t clock_rate_hz) const {
    const Format* any = nullptr;
    for (const Format& format : sent()) {
        if (format.codec != Codec::telephone_event) continue;
        if (format.clock_rate_hz == clock_rate_hz) return &format;
        if (any == nullptr) any = &format;
    }
    return any;
}

int16_t decode_g711(Codec codec, uint8_t octet) {
    return codec == Codec::pcmu ? kTables.mu_linear[octet] : kTables.a_linear[octet];
}

uint8_t encode_g711(Codec codec, int16_t sample) {
    const size_t index = static_cast<uint16_t>(sample) >> Tables::kShift;
    return codec == Codec::pcmu ? kTables.linear_mu[index] : kTables.linear_a[index];
}

void convert_g711(Codec from, ConstBytes in, uint8_t* out) {
    const auto& table = from == Codec::pcmu ? kTables.mu_a : kTables.a_mu;
    std::ranges::transform(in, out, [&table](uint8_t octet) { return table[octet]; });
}

}  // namespace sdpserver
