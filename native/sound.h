#pragma once
// A sound file, decoded once, for all who play it.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <vector>

#include "audio.h"

namespace sdpserver {

/// A file that cannot be played; what() says why, in words for the one who asked for it.
class BadSound : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

class Sound {
   public:
    /// Octets in memory for a second of sound, at both rates.
    static constexpr size_t kOctetsPerSecond = (kNarrowbandHz + kWidebandHz) * sizeof(int16_t);

    /// A WAV, FLAC or Ogg file of any rate, sample format and up to 16 channels, which are mixed to one. The descriptor
    /// stays the caller's. Takes as long as decoding takes. Throws BadSound, also for what would need more than `max_octets`.
    static std::shared_ptr<const Sound> decode(int fd, size_t max_octets);

    /// At 8 or 16 kHz.
    std::span<const int16_t> samples(uint32_t rate_hz) const {
        return rate_hz == kWidebandHz ? wideband_ : narrowband_;
    }
    /// More than this is not in the file.
    uint32_t natural_rate_hz() const { return natural_rate_hz_; }
    double duration_s() const { return static_cast<double>(narrowband_.size()) / kNarrowbandHz; }
    size_t octets() const { return (narrowband_.size() + wideband_.size()) * sizeof(int16_t); }

   private:
    // As many samples at one rate as make the same time at the other.
    std::vector<int16_t> narrowband_;
    std::vector<int16_t> wideband_;
    uint32_t natural_rate_hz_ = kNarrowbandHz;
};

}  // namespace sdpserver
