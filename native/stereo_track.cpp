#include "stereo_track.h"

#include <algorithm>
#include <cstdlib>

namespace sdpserver {
namespace {

/// A frame this far from its place is put where its time says; a worker may be late by less without a gap being heard.
constexpr int64_t kJumpMs = 40;
/// What may remain between a channel and the clock, so that two channels are never further apart than twice this.
constexpr int64_t kToleranceMs = 10;
constexpr uint32_t kOffsets = 50;  // a second of frames

}  // namespace

int64_t StereoTrack::place_of(TimeNs now) const {
    // In two steps: nanoseconds times a rate would be over 64 bits after ten days.
    const TimeNs since = now - start_;
    return since / kSecond * rate_hz_ + since % kSecond * rate_hz_ / kSecond;
}

void StereoTrack::fill_to(Channel& channel, int64_t place) {
    const int64_t missing = place - end_of(channel);
    if (missing <= 0) return;
    channel.samples.insert(channel.samples.end(), static_cast<size_t>(missing), int16_t{0});
}

std::span<const int16_t> StereoTrack::converted(Channel& channel, std::span<const int16_t> samples, uint32_t rate_hz) {
    channel.converter.set_rates(rate_hz, rate_hz_);
    if (rate_hz == rate_hz_) return samples;
    converted_.resize(channel.converter.bound(samples.size()));
    return std::span(converted_).first(channel.converter.convert(samples, converted_));
}

void StereoTrack::put(size_t index, std::span<const int16_t> frame, uint32_t rate_hz, TimeNs now) {
    Channel& channel = channels_.at(index);
    std::span<const int16_t> samples = converted(channel, frame, rate_hz);
    const int64_t offset = place_of(now) - end_of(channel);
    int64_t move = 0;
    if (!channel.flowing || std::abs(offset) > samples_of_ms(kJumpMs)) {
        move = offset;
        channel.offsets = 0;
    } else {
        channel.least_offset = channel.offsets == 0 ? offset : std::min(channel.least_offset, offset);
        if (++channel.offsets == kOffsets) {
            channel.offsets = 0;
            if (std::abs(channel.least_offset) > samples_of_ms(kToleranceMs)) move = channel.least_offset;
        }
    }
    if (move > 0) fill_to(channel, end_of(channel) + move);
    if (move < 0) samples = samples.subspan(std::min(samples.size(), static_cast<size_t>(-move)));
    channel.samples.insert(channel.samples.end(), samples.begin(), samples.end());
    channel.flowing = !samples.empty();
}

void StereoTrack::advance(TimeNs now) {
    for (Channel& channel : channels_) {
        if (end_of(channel) >= place_of(now)) continue;
        fill_to(channel, place_of(now));
        channel.flowing = false;
    }
}

std::span<const int16_t> StereoTrack::take() {
    const size_t count = std::min(channels_[0].samples.size(), channels_[1].samples.size());
    interleaved_.resize(count * kChannels);
    for (size_t i = 0; i < kChannels; ++i) {
        std::vector<int16_t>& samples = channels_[i].samples;
        for (size_t at = 0; at < count; ++at) interleaved_[at * kChannels + i] = samples[at];
        samples.erase(samples.begin(), samples.begin() + static_cast<std::ptrdiff_t>(count));
    }
    taken_ += static_cast<int64_t>(count);
    return interleaved_;
}

}  // namespace sdpserver
