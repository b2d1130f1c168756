#pragma once
// Two streams of frames laid side by side on one time line. Where a stream has nothing there is silence, so the channels
// stay in step with the clock, and with each other, for as long as it takes. Pure: time comes in as an argument.

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "audio.h"
#include "rate_converter.h"

namespace sdpserver {

class StereoTrack {
   public:
    static constexpr size_t kChannels = 2;

    StereoTrack(uint32_t rate_hz, TimeNs start) : rate_hz_(rate_hz), start_(start) {}

    /// What is heard on a channel from `now` on, at 8 or 16 kHz. A frame whose time has been written is left out.
    void put(size_t channel, std::span<const int16_t> samples, uint32_t rate_hz, TimeNs now);
    /// Nothing older than `now` will come any more.
    void advance(TimeNs now);
    /// What is complete, left and right in turn; it is handed out once. Valid until the next call.
    std::span<const int16_t> take();

   private:
    struct Channel {
        std::vector<int16_t> samples;  // from `taken_` on
        RateConverter converter;
        bool flowing = false;  // the last thing in it is a frame
        // How far frames are behind (or, less than 0, ahead of) the place that their time gives them: a frame may be late
        // by chance but not early, so the least of many is what a gap or a step of the clock has left.
        int64_t least_offset = 0;
        uint32_t offsets = 0;
    };

    std::span<const int16_t> converted(Channel& channel, std::span<const int16_t> samples, uint32_t rate_hz);
    int64_t place_of(TimeNs now) const;
    int64_t samples_of_ms(int64_t ms) const { return ms * rate_hz_ / 1000; }
    int64_t end_of(const Channel& channel) const { return taken_ + static_cast<int64_t>(channel.samples.size()); }
    void fill_to(Channel& channel, int64_t place);

    uint32_t rate_hz_;
    TimeNs start_;
    int64_t taken_ = 0;
    std::array<Channel, kChannels> channels_;
    std::vector<int16_t> interleaved_;
    std::vector<int16_t> converted_;
};

}  // namespace sdpserver
