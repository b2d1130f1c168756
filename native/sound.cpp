#include "sound.h"

#include <fcntl.h>
#include <sndfile.h>
#include <speex/speex_resampler.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <new>
#include <string>
#include <system_error>
#include <utility>

namespace sdpserver {
namespace {

constexpr int kQuality = 8;  // of speexdsp's 0 to 10: aliases are 80 dB down and more
constexpr int kMaxChannels = 16;
constexpr int kMinRateHz = 4'000;
constexpr int kMaxRateHz = 384'000;
constexpr sf_count_t kBlock = 4'096;

struct Close {
    void operator()(SNDFILE* file) const { sf_close(file); }
};
using File = std::unique_ptr<SNDFILE, Close>;

bool is_supported(int format) {
    switch (format & SF_FORMAT_TYPEMASK) {
        case SF_FORMAT_WAV:
        case SF_FORMAT_WAVEX:
        case SF_FORMAT_RF64:
        case SF_FORMAT_FLAC:
        case SF_FORMAT_OGG: return true;
        default: return false;
    }
}

File open(int fd, SF_INFO& info) {
    // libsndfile closes the descriptor of a file that it cannot open, whatever it was told. So it gets one of its own.
    const int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0) throw std::system_error(errno, std::generic_category(), "fcntl");
    File file(sf_open_fd(own, SFM_READ, &info, SF_TRUE));
    if (file == nullptr) throw BadSound(std::string("not a sound file that can be read: ") + sf_strerror(nullptr));
    if (!is_supported(info.format)) throw BadSound("neither WAV nor FLAC nor Ogg");
    if (info.channels < 1 || info.channels > kMaxChannels) throw BadSound("not 1 to 16 channels");
    if (info.samplerate < kMinRateHz || info.samplerate > kMaxRateHz) throw BadSound("a rate outside 4 to 384 kHz");
    return file;
}

struct Destroy {
    void operator()(SpeexResamplerState* state) const { speex_resampler_destroy(state); }
};

/// Makes samples at one of our rates of those of a file, without the delay of the filter between them.
class Track {
   public:
    Track(uint32_t rate_in_hz, uint32_t rate_hz) : rate_in_hz_(rate_in_hz), rate_hz_(rate_hz) {
        if (rate_in_hz == rate_hz) return;
        int error = RESAMPLER_ERR_SUCCESS;
        filter_.reset(speex_resampler_init(1, rate_in_hz, rate_hz, kQuality, &error));
        if (filter_ == nullptr) throw std::bad_alloc();  // nothing else can be wrong
        speex_resampler_skip_zeros(filter_.get());
    }
    void add(std::span<const float> mono) {
        if (filter_ == nullptr) return append(mono);
        while (!mono.empty()) {
            made_.resize(mono.size() * rate_hz_ / rate_in_hz_ + 2);
            auto taken = static_cast<spx_uint32_t>(mono.size());
            auto made = static_cast<spx_uint32_t>(made_.size());
            speex_resampler_process_float(filter_.get(), 0, mono.data(), &taken, made_.data(), &made);
            if (taken == 0) return;
            append(std::span(made_).first(made));
            mono = mono.subspan(taken);
        }
    }
    /// What is left in the filter.
    void finish() {
        if (filter_ == nullptr) return;
        add(std::vector<float>(static_cast<size_t>(speex_resampler_get_input_latency(filter_.get()))));
    }
    size_t size() const { return samples_.size(); }
    std::vector<int16_t> take(size_t length) {
        samples_.resize(length);
        samples_.shrink_to_fit();
        return std::move(samples_);
    }

   private:
    void append(std::span<const float> mono) {
        for (const float sample : mono) {
            samples_.push_back(static_cast<int16_t>(std::lrint(std::clamp(sample * 32768.0f, -32768.0f, 32767.0f))));
        }
    }

    uint32_t rate_in_hz_;
    uint32_t rate_hz_;
    std::unique_ptr<SpeexResamplerState, Destroy> filter_;
    std::vector<float> made_;
    std::vector<int16_t> samples_;
};

}  // namespace

std::shared_ptr<const Sound> Sound::decode(int fd, size_t max_octets) {
    SF_INFO info{};
    const File file = open(fd, info);
    const auto rate_hz = static_cast<uint32_t>(info.samplerate);
    const auto channels = static_cast<size_t>(info.channels);
    Track narrowband(rate_hz, kNarrowbandHz);
    Track wideband(rate_hz, kWidebandHz);

    std::vector<float> block(static_cast<size_t>(kBlock) * channels);
    std::array<float, kBlock> mono;
    // By what comes, not by what the header says: a header may lie.
    for (sf_count_t frames; (frames = sf_readf_float(file.get(), block.data(), kBlock)) > 0;) {
        const auto count = static_cast<size_t>(frames);
        for (size_t i = 0; i < count; ++i) {
            float sum = 0.0f;
            for (size_t channel = 0; channel < channels; ++channel) sum += block[i * channels + channel];
            // A float file may hold anything, also what is no number.
            mono[i] = std::isfinite(sum) ? sum / static_cast<float>(channels) : 0.0f;
        }
        narrowband.add(std::span(mono).first(count));
        wideband.add(std::span(mono).first(count));
        if ((narrowband.size() + wideband.size()) * sizeof(int16_t) > max_octets) {
            throw BadSound("longer than " + std::to_string(max_octets / kOctetsPerSecond) + " s");
        }
    }
    if (const int error = sf_error(file.get()); error != SF_ERR_NO_ERROR) {
        throw BadSound(std::string("a damaged file: ") + sf_error_number(error));
    }
    narrowband.finish();
    wideband.finish();

    const size_t length = std::min(narrowband.size(), wideband.size() / 2);
    if (length == 0) throw BadSound("no sound in it");
    const auto sound = std::make_shared<Sound>();
    sound->narrowband_ = narrowband.take(length);
    sound->wideband_ = wideband.take(2 * length);
    sound->natural_rate_hz_ = rate_hz > kNarrowbandHz ? kWidebandHz : kNarrowbandHz;
    return sound;
}

}  // namespace sdpserver
