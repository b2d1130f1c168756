#include "inband_dtmf.h"

#include <algorithm>
#include <array>
#include <new>
#include <string_view>

namespace sdpserver {
namespace {

constexpr std::string_view kDigits = "0123456789*#ABCD";  // by event
constexpr uint32_t kSamplesPerMs = kNarrowbandHz / 1000;
constexpr size_t kLag = 25 * kSamplesPerMs;  // two blocks of the receiver
constexpr size_t kMostLost = 60 * kSamplesPerMs;
constexpr size_t kFrame = 20 * kSamplesPerMs;
constexpr int kNoDialToneFilter = 0;
// How much louder one tone may be than the other. Networks ask for 8 and 4 dB; the receiver needs a little more to keep
// to that, since its filters do not sit exactly on the tones.
constexpr int kTwistDb = 9;
constexpr int kReverseTwistDb = 5;
constexpr int kLeastDbm0 = -36;  // of a tone; Q.24 wants -25 for both, and gateways and microphones attenuate

/// A half-band low pass by a window of Hamming's: what is above 5 kHz is 40 dB down when half of the samples are left out.
/// Every other tap is 0, except that in the middle.
constexpr std::array<int32_t, 11> kHalfBand{104, 0, -1130, 0, 9064, 16692, 9064, 0, -1130, 0, 104};
constexpr int kHalfBandShift = 15;

}  // namespace

InbandDtmfDetector::InbandDtmfDetector(Report report)
    : report_(std::move(report)), receiver_(dtmf_rx_init(nullptr, nullptr, nullptr)) {
    if (!receiver_) throw std::bad_alloc();
    dtmf_rx_set_realtime_callback(receiver_.get(), &InbandDtmfDetector::on_change, this);
    dtmf_rx_parms(receiver_.get(), kNoDialToneFilter, kTwistDb, kReverseTwistDb, kLeastDbm0);
}

void InbandDtmfDetector::take(const AudioFrame& frame, TimeNs now) {
    now_ = now;
    if (frame.kind != AudioKind::concealment) made_up_ = 0;
    if (frame.rate_hz == kWidebandHz) {
        feed_wideband(frame.samples);
    } else if (frame.kind == AudioKind::concealment) {
        take_made_up(frame.samples.size());
    } else {
        feed(frame.samples);
    }
}

/// What was made up in place of a lost packet neither ends a press nor begins one. After a while it is no loss any more: the
/// sender has stopped with the tone, and with that the press was over when its last packet was.
void InbandDtmfDetector::take_made_up(size_t count) {
    if (made_up_ < kMostLost) {
        dtmf_rx_fillin(receiver_.get(), static_cast<int>(count));
        samples_ += count;
    } else {
        constexpr std::array<int16_t, kFrame> kSilence{};
        for (size_t left = count; left > 0; left -= std::min(left, kFrame)) {
            feed(std::span(kSilence).first(std::min(left, kFrame)));
        }
    }
    made_up_ += count;
}

/// In pieces, so that the moment of a change is known to 5 ms.
void InbandDtmfDetector::feed(std::span<const int16_t> samples) {
    constexpr size_t kPiece = 40;
    while (!samples.empty()) {
        const auto piece = samples.first(std::min(kPiece, samples.size()));
        samples = samples.subspan(piece.size());
        samples_ += piece.size();
        dtmf_rx(receiver_.get(), piece.data(), static_cast<int>(piece.size()));
    }
}

void InbandDtmfDetector::feed_wideband(std::span<const int16_t> samples) {
    std::array<int16_t, 80> narrow;
    size_t count = 0;
    const auto at = [&](size_t i) -> int32_t { return i < tail_.size() ? tail_[i] : samples[i - tail_.size()]; };
    for (size_t i = 0; i + 1 < samples.size(); i += 2) {
        int32_t sum = 0;
        for (size_t tap = 0; tap < kHalfBand.size(); ++tap) sum += kHalfBand[tap] * at(i + tap);
        narrow[count++] = static_cast<int16_t>(std::clamp(sum >> kHalfBandShift, -32768, 32767));
        if (count == narrow.size()) {
            feed(narrow);
            count = 0;
        }
    }
    feed(std::span<const int16_t>(narrow).first(count));
    if (samples.size() >= tail_.size()) std::ranges::copy(samples.last(tail_.size()), tail_.begin());
}

void InbandDtmfDetector::on_change(void* self, int code, int, int) {
    static_cast<InbandDtmfDetector*>(self)->changed(static_cast<char>(code));
}

void InbandDtmfDetector::changed(char digit) {
    if (digit_ != 0) {
        const size_t event = kDigits.find(digit_);
        // The receiver tells a beginning as late as an end; where the audio broke off, only the beginning was late.
        const uint64_t end = made_up_ == 0 ? samples_ : std::max(samples_ - made_up_ + kLag, begun_);
        const auto duration_ms = static_cast<uint32_t>((end - begun_) / kSamplesPerMs);
        if (event != std::string_view::npos) report_({static_cast<uint8_t>(event), duration_ms}, now_);
    }
    digit_ = digit;
    begun_ = samples_;
}

}  // namespace sdpserver
