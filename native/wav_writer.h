#pragma once
// Writes a stereo WAV file of 16 bit, under another name until it is whole.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "file_descriptor.h"

namespace sdpserver {

class WavWriter {
   public:
    /// What an unfinished file's name ends in.
    static constexpr const char* kUnfinished = ".part";

    /// Makes `path`.part, readable by its owner alone, and locks it. Throws std::system_error, also when it exists.
    WavWriter(std::string path, uint32_t rate_hz);
    /// Takes a descriptor of a file, a pipe, as if it were that file.
    WavWriter(FileDescriptor fd, std::string path, uint32_t rate_hz);

    /// Left and right in turn. Throws std::system_error (no space, over the limit of the format); what was written stays.
    void write(std::span<const int16_t> samples);
    /// Bring the sizes in the header up to date, so that what is there can be read. Throws std::system_error.
    void update_header();
    /// The same, and give the file its name. Throws std::system_error.
    void finish();

    const std::string& path() const { return path_; }

    /// Finishes a file that a process left behind. False: another process is still writing to it. Throws std::system_error
    /// and std::runtime_error: not a file of ours. One without a single sample is removed.
    static bool recover(const std::string& unfinished);

   private:
    std::string path_;
    FileDescriptor fd_;
    uint32_t rate_hz_;
    uint64_t octets_ = 0;  // of samples
};

}  // namespace sdpserver
