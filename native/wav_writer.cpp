#include "wav_writer.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <utility>

namespace sdpserver {
namespace {

static_assert(std::endian::native == std::endian::little, "samples are written as they are in memory");

constexpr uint16_t kChannels = 2;
constexpr uint16_t kFrameOctets = kChannels * sizeof(int16_t);
constexpr size_t kHeaderLength = 44;
/// Sizes have 32 bits, and the RIFF chunk's counts all of the header but 8 octets.
constexpr uint64_t kMaxOctets = (uint64_t{UINT32_MAX} - (kHeaderLength - 8)) / kFrameOctets * kFrameOctets;

using Header = std::array<uint8_t, kHeaderLength>;

/// RIFF WAVE with one `fmt ` chunk, PCM, and one `data` chunk of so many octets.
Header header_of(uint32_t rate_hz, uint64_t octets) {
    Header header{};
    size_t at = 0;
    const auto text = [&](std::string_view id) {
        for (const char letter : id) header[at++] = static_cast<uint8_t>(letter);
    };
    const auto number = [&](uint64_t value, size_t length) {
        for (size_t i = 0; i < length; ++i) header[at++] = static_cast<uint8_t>(value >> 8 * i);
    };
    text("RIFF");
    number(kHeaderLength - 8 + octets, 4);
    text("WAVEfmt ");
    number(16, 4);
    number(1, 2);  // PCM
    number(kChannels, 2);
    number(rate_hz, 4);
    number(uint64_t{rate_hz} * kFrameOctets, 4);
    number(kFrameOctets, 2);
    number(8 * sizeof(int16_t), 2);
    text("data");
    number(octets, 4);
    return header;
}

uint32_t rate_in(const Header& header) {
    return static_cast<uint32_t>(header[24] | header[25] << 8 | header[26] << 16 | header[27] << 24);
}

[[noreturn]] void fail(const std::string& what) { throw std::system_error(errno, std::generic_category(), what); }

void write_all(int fd, std::span<const uint8_t> octets, const std::string& path) {
    while (!octets.empty()) {
        const ssize_t written = ::write(fd, octets.data(), octets.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) fail(path);
        octets = octets.subspan(static_cast<size_t>(written));
    }
}

void put_header(int fd, const Header& header, const std::string& path) {
    // Over octets that are there already, so that a full disk does not refuse it.
    if (pwrite(fd, header.data(), header.size(), 0) != static_cast<ssize_t>(header.size())) fail(path);
}

void rename_finished(const std::string& unfinished, const std::string& path) {
    if (std::rename(unfinished.c_str(), path.c_str()) != 0) fail(path);
}

}  // namespace

WavWriter::WavWriter(std::string path, uint32_t rate_hz) : path_(std::move(path)), rate_hz_(rate_hz) {
    const std::string unfinished = path_ + kUnfinished;
    fd_ = FileDescriptor(open(unfinished.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd_) fail(unfinished);
    // As long as this process lives, nobody takes the file for a left-over.
    if (flock(fd_.get(), LOCK_EX | LOCK_NB) != 0) fail(unfinished);
    write_all(fd_.get(), header_of(rate_hz_, 0), unfinished);
}

WavWriter::WavWriter(FileDescriptor fd, std::string path, uint32_t rate_hz)
    : path_(std::move(path)), fd_(std::move(fd)), rate_hz_(rate_hz) {
    write_all(fd_.get(), header_of(rate_hz_, 0), path_);
}

void WavWriter::write(std::span<const int16_t> samples) {
    const std::span octets(reinterpret_cast<const uint8_t*>(samples.data()), samples.size_bytes());
    if (octets_ + octets.size() > kMaxOctets) {
        errno = EFBIG;
        fail(path_);
    }
    write_all(fd_.get(), octets, path_);
    octets_ += octets.size();
}

void WavWriter::update_header() { put_header(fd_.get(), header_of(rate_hz_, octets_), path_); }

void WavWriter::finish() {
    update_header();
    // A write that broke off may have left part of a sample, or more than the header tells of.
    if (ftruncate(fd_.get(), static_cast<off_t>(kHeaderLength + octets_)) != 0) fail(path_);
    rename_finished(path_ + kUnfinished, path_);
}

bool WavWriter::recover(const std::string& unfinished) {
    if (!unfinished.ends_with(kUnfinished)) throw std::runtime_error("not an unfinished recording: " + unfinished);
    const FileDescriptor fd(open(unfinished.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!fd) fail(unfinished);
    if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK) return false;
        fail(unfinished);
    }
    struct stat status {};
    if (fstat(fd.get(), &status) != 0) fail(unfinished);
    if (!S_ISREG(status.st_mode)) throw std::runtime_error("not a file: " + unfinished);
    if (static_cast<size_t>(status.st_size) < kHeaderLength + kFrameOctets) {
        if (unlink(unfinished.c_str()) != 0) fail(unfinished);
        return true;
    }
    Header header{};
    if (pread(fd.get(), header.data(), header.size(), 0) != static_cast<ssize_t>(header.size())) fail(unfinished);
    const uint32_t rate_hz = rate_in(header);
    Header ours = header_of(rate_hz, 0);
    const auto same = [&](size_t from, size_t to) { return std::equal(&header[from], &header[to], &ours[from]); };
    if (!same(0, 4) || !same(8, 40)) throw std::runtime_error("not a recording: " + unfinished);

    const uint64_t octets =
        std::min((static_cast<uint64_t>(status.st_size) - kHeaderLength) / kFrameOctets * kFrameOctets, kMaxOctets);
    if (ftruncate(fd.get(), static_cast<off_t>(kHeaderLength + octets)) != 0) fail(unfinished);
    put_header(fd.get(), header_of(rate_hz, octets), unfinished);
    rename_finished(unfinished, unfinished.substr(0, unfinished.size() - std::string_view(kUnfinished).size()));
    return true;
}

}  // namespace sdpserver
