#include "mixer.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace sdpserver {
namespace {

constexpr double kFullScale = 32768.0;
/// How fast the level by which the loudest are chosen follows: up within two frames, so that the first syllable counts,
/// and down by 4.3 dB in 300 ms, so that a pause between words does not cost the floor.
constexpr double kRise = 0.6;
constexpr double kFall = 0.0645;  // 1 - exp(-20 / 300)
/// Who has the floor keeps it unless another is louder by 6 dB.
constexpr double kHolders = 4.0;
/// Speech is some 20 dB above these.
constexpr double kTalksAbove = 3.2e-5;    // -45 dBov
constexpr double kSilentBelow = 1.0e-5;   // -50 dBov
constexpr uint8_t kTalkTicks = 3;         // 60 ms: a click is not speech
constexpr uint8_t kQuietTicks = 25;       // 500 ms
constexpr size_t kNobody = Mixer::kMaxMembers;

double power_of(std::span<const int16_t> samples) {
    int64_t sum = 0;
    for (const int16_t sample : samples) sum += static_cast<int32_t>(sample) * sample;
    return static_cast<double>(sum) / static_cast<double>(samples.size()) / (kFullScale * kFullScale);
}

}  // namespace

Mixer::Mixer(uint32_t rate_hz)
    : rate_hz_(rate_hz),
      frame_samples_(rate_hz * kFrameMs / 1000),
      fade_samples_(rate_hz * kFadeMs / 1000),
      all_(rate_hz) {
    if (rate_hz != kNarrowbandHz && rate_hz != kWidebandHz) throw std::invalid_argument("rooms are of 8 or 16 kHz");
    made_.resize(kMaxMade);
}

std::optional<size_t> Mixer::add(const Rules& rules) {
    auto found = std::ranges::find(members_, Member::Use::free, &Member::use);
    if (found == members_.end()) {
        if (members_.size() == kMaxMembers) return std::nullopt;
        members_.emplace_back(rate_hz_);
        found = std::prev(members_.end());
    } else {
        *found = Member(rate_hz_);
    }
    found->use = Member::Use::used;
    found->rules = rules;
    ++members_count_;
    return static_cast<size_t>(found - members_.begin());
}

void Mixer::remove(size_t slot) {
    Member& member = members_[slot];
    if (member.use != Member::Use::used) return;
    member.use = Member::Use::leaving;
    member.said = member.talking = false;
    --members_count_;
}

void Mixer::set_rules(size_t slot, const Rules& rules) { members_[slot].rules = rules; }

void Mixer::put(size_t slot, std::span<const int16_t> frame) {
    Member& member = members_[slot];
    if (member.use != Member::Use::used || frame.size() != frame_samples_) return;
    std::ranges::copy(frame, member.frame.begin());
    member.said = true;
}

void Mixer::measure(Member& member) {
    const bool counts = member.said && !member.rules.muted;
    member.power = counts ? power_of(frame_of(member)) : 0.0;
    member.smoothed += (member.power - member.smoothed) * (member.power > member.smoothed ? kRise : kFall);
    const auto count = [](uint8_t ticks, bool more) -> uint8_t {
        return more ? static_cast<uint8_t>(std::min(ticks + 1, 255)) : uint8_t{0};
    };
    member.loud_ticks = count(member.loud_ticks, member.power > kTalksAbove);
    member.quiet_ticks = count(member.quiet_ticks, member.power < kSilentBelow);
    if (member.loud_ticks >= kTalkTicks) member.talking = true;
    if (member.quiet_ticks >= kQuietTicks || member.rules.muted) member.talking = false;
}

/// The loudest of all who may speak. As long as there are no more than that, everybody is heard, however quiet.
void Mixer::choose() {
    std::array<std::pair<double, size_t>, kMaxMembers> speakers;
    size_t count = 0;
    for (size_t slot = 0; slot < members_.size(); ++slot) {
        const Member& member = members_[slot];
        if (member.use != Member::Use::used || member.rules.muted || member.rules.says == 0) continue;
        speakers[count++] = {member.smoothed * (chosen_[slot] ? kHolders : 1.0), slot};
    }
    const auto loudest = std::span(speakers).first(count);
    // Equal levels (everybody silent) leave it as it is, and else go by the slot, so that nobody flickers.
    const auto before = [this](const auto& a, const auto& b) -> bool {
        if (a.first != b.first) return a.first > b.first;
        if (chosen_[a.second] != chosen_[b.second]) return chosen_[a.second];
        return a.second < b.second;
    };
    if (count > kLoudest) {
        std::ranges::partial_sort(loudest, loudest.begin() + kLoudest, before);
        count = kLoudest;
    }
    Slots chosen;
    for (const auto& [level, slot] : loudest.first(count)) chosen.set(slot);
    chosen_ = chosen;
}

void Mixer::listen(Ear& ear, uint32_t hears, size_t self) {
    // Of the last tick only what still sounds in this one, be it as its own end.
    ear.before = ear.now & (heard_ | fading_);
    ear.now.reset();
    for (size_t slot = 0; slot < members_.size(); ++slot) {
        if (heard_[slot] && slot != self && (members_[slot].rules.says & hears) != 0) ear.now.set(slot);
    }
}

void Mixer::mix() {
    made_count_ = 0;
    for (Member& member : members_) {
        if (member.use != Member::Use::free) measure(member);
    }
    choose();
    const Slots sounded = heard_;
    heard_.reset();
    fading_.reset();
    for (size_t slot = 0; slot < members_.size(); ++slot) {
        Member& member = members_[slot];
        if (member.said) {
            if (chosen_[slot]) heard_.set(slot);
            else if (sounded[slot]) fading_.set(slot);  // with what is said now
        } else if (sounded[slot]) {
            // Nothing came: what was said last runs backwards while it fades, which goes on where it stopped.
            std::ranges::reverse(frame_of(member));
            fading_.set(slot);
        }
    }
    for (size_t slot = 0; slot < members_.size(); ++slot) {
        Member& member = members_[slot];
        if (member.use == Member::Use::used) listen(member.ear, member.rules.hears, slot);
        if (member.use == Member::Use::leaving) member.use = Member::Use::free;
        member.said = false;
    }
    listen(all_, ~uint32_t{0}, kNobody);
}

void Mixer::add_up(const Slots& voices, std::span<int32_t> sum) const {
    std::ranges::fill(sum, 0);
    if (voices.none()) return;
    for (size_t slot = 0; slot < members_.size(); ++slot) {
        if (!voices[slot]) continue;
        const Frame& frame = members_[slot].frame;
        for (size_t i = 0; i < sum.size(); ++i) sum[i] += frame[i];
    }
}

Mixer::Made& Mixer::made(const Ear& ear) {
    for (Made& one : std::span(made_).first(made_count_)) {
        if (one.before == ear.before && one.now == ear.now) return one;
    }
    if (made_count_ < kMaxMade) ++made_count_;  // beyond, the last place serves all that are left
    Made& one = made_[made_count_ - 1];
    one.before = ear.before;
    one.now = ear.now;
    one.rounded = false;
    const auto sum = std::span(one.sum).first(frame_samples_);
    add_up(ear.now, sum);
    if (ear.before != ear.now) {
        Sum old;
        const auto was = std::span(old).first(frame_samples_);
        add_up(ear.before, was);
        const auto fade = static_cast<float>(fade_samples_);
        for (size_t i = 0; i < fade_samples_; ++i) {
            const float part = (static_cast<float>(i) + 0.5F) / fade;
            const auto mixed = static_cast<float>(was[i]) + part * static_cast<float>(sum[i] - was[i]);
            sum[i] = static_cast<int32_t>(std::lrint(mixed));
        }
    }
    return one;
}

std::span<const int16_t> Mixer::mixed_for(Ear& ear) {
    Made& one = made(ear);
    const auto sum = std::span(one.sum).first(frame_samples_);
    if (!ear.limiter.passes(sum)) {
        const auto out = std::span(ear.out).first(frame_samples_);
        ear.limiter.process(sum, out);
        return out;
    }
    const auto out = std::span(one.out).first(frame_samples_);
    if (!one.rounded) {
        std::ranges::transform(sum, out.begin(), [](int32_t sample) { return static_cast<int16_t>(sample); });
        one.rounded = true;
    }
    return out;
}

std::span<const int16_t> Mixer::heard_by(size_t slot) { return mixed_for(members_[slot].ear); }

std::span<const int16_t> Mixer::heard_by_all() { return mixed_for(all_); }

double Mixer::level_dbov(size_t slot) const {
    const double power = members_[slot].power;
    return power > 0.0 ? std::max(10.0 * std::log10(power), kSilenceDbov) : kSilenceDbov;
}

}  // namespace sdpserver
