#include "control.h"

#include <array>
#include <charconv>
#include <cstdio>
#include <sstream>
#include <stdexcept>

namespace sdpserver::loadgen {
namespace {

std::string quoted(std::string_view text) {
    std::string out = "\"";
    for (char c : text) {
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (static_cast<unsigned char>(c) < 0x20) {
            std::array<char, 8> escape;
            std::snprintf(escape.data(), escape.size(), "\\u%04x", static_cast<unsigned>(c));
            out += escape.data();
        } else {
            out += c;
        }
    }
    return out + '"';
}

}  // namespace

Command Command::parse(std::string_view line) {
    Command command;
    std::istringstream words{std::string(line)};
    words >> command.verb_;
    for (std::string word; words >> word;) {
        const size_t equals = word.find('=');
        if (equals == std::string::npos) throw std::invalid_argument("not key=value: " + word);
        command.arguments_[word.substr(0, equals)] = word.substr(equals + 1);
    }
    return command;
}

std::string Command::text(const std::string& key) const {
    const auto found = arguments_.find(key);
    if (found == arguments_.end()) throw std::invalid_argument(verb_ + " lacks " + key);
    return found->second;
}

std::string Command::text(const std::string& key, std::string_view otherwise) const {
    const auto found = arguments_.find(key);
    return found == arguments_.end() ? std::string(otherwise) : found->second;
}

uint32_t Command::number(const std::string& key) const {
    const std::string value = text(key);
    uint32_t parsed = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), parsed);
    if (error != std::errc() || end != value.data() + value.size()) {
        throw std::invalid_argument(key + " is not a number: " + value);
    }
    return parsed;
}

uint32_t Command::number(const std::string& key, uint32_t otherwise) const {
    return arguments_.contains(key) ? number(key) : otherwise;
}

std::vector<uint8_t> Command::hex(const std::string& key) const {
    const std::string value = text(key);
    std::vector<uint8_t> octets(value.size() / 2);
    for (size_t i = 0; i < octets.size(); ++i) {
        const char* at = value.data() + 2 * i;
        if (std::from_chars(at, at + 2, octets[i], 16).ptr != at + 2) throw std::invalid_argument(key + " is not hex");
    }
    return octets;
}

Json& Json::add(std::string_view name, std::string_view value) { return raw(name, quoted(value)); }

Json& Json::raw(std::string_view name, std::string_view value) {
    if (!members_.empty()) members_ += ',';
    members_ += quoted(name);
    members_ += ':';
    members_ += value;
    return *this;
}

}  // namespace sdpserver::loadgen
