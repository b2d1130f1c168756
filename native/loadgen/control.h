#pragma once
// The lines on standard input and output. In: `verb key=value key=value`. Out: one JSON object a line.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace sdpserver::loadgen {

/// A command. The getters throw std::invalid_argument with the name of the key.
class Command {
   public:
    static Command parse(std::string_view line);

    const std::string& verb() const { return verb_; }
    std::string text(const std::string& key) const;
    std::string text(const std::string& key, std::string_view otherwise) const;
    uint32_t number(const std::string& key) const;
    uint32_t number(const std::string& key, uint32_t otherwise) const;
    std::vector<uint8_t> hex(const std::string& key) const;

   private:
    std::string verb_;
    std::map<std::string, std::string> arguments_;
};

/// A flat or nested JSON object in the making.
class Json {
   public:
    Json& add(std::string_view name, std::string_view value);
    Json& add(std::string_view name, const char* value) { return add(name, std::string_view(value)); }
    Json& add(std::string_view name, int64_t value) { return raw(name, std::to_string(value)); }
    Json& add(std::string_view name, uint64_t value) { return raw(name, std::to_string(value)); }
    Json& add(std::string_view name, uint32_t value) { return raw(name, std::to_string(value)); }
    Json& add(std::string_view name, double value) { return raw(name, std::to_string(value)); }
    Json& add(std::string_view name, const Json& value) { return raw(name, value.text()); }
    std::string text() const { return "{" + members_ + "}"; }

   private:
    Json& raw(std::string_view name, std::string_view value);
    std::string members_;
};

}  // namespace sdpserver::loadgen
