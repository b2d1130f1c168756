#pragma once
// Who hears what in a room. Pure: frames in, frames out, 20 ms at a time.
//
// Of all who speak the loudest three are mixed; each member hears them but never himself. A change of whom a member
// hears (somebody joins, leaves, is muted, becomes one of the three) is one cross-fade of his mix, so nothing clicks.

#include <array>
#include <bitset>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "audio.h"
#include "limiter.h"

namespace sdpserver {

class Mixer {
   public:
    static constexpr size_t kMaxMembers = 64;
    static constexpr size_t kLoudest = 3;
    static constexpr uint32_t kFrameMs = 20;
    static constexpr uint32_t kFadeMs = 10;
    static constexpr double kSilenceDbov = -127.0;  // as RFC 6464 has it

    /// Bits of circles. A hears B if a circle that B speaks into is one that A listens to.
    struct Rules {
        uint32_t says = 1;
        uint32_t hears = 1;
        bool muted = false;
    };

    /// At 8 or 16 kHz. Throws std::invalid_argument.
    explicit Mixer(uint32_t rate_hz);

    uint32_t rate_hz() const { return rate_hz_; }
    size_t frame_samples() const { return frame_samples_; }
    size_t members() const { return members_count_; }
    /// One more than the highest slot that was ever taken.
    size_t slots() const { return members_.size(); }

    /// The member's slot; nothing: all are taken.
    std::optional<size_t> add(const Rules& rules);
    /// The end of what he said fades out; his slot is free after the next `mix`.
    void remove(size_t slot);
    void set_rules(size_t slot, const Rules& rules);
    const Rules& rules(size_t slot) const { return members_[slot].rules; }

    /// What a member says in this tick, `frame_samples`; nobody who is silent has to call it.
    void put(size_t slot, std::span<const int16_t> frame);
    /// Make this tick's mixes of what was put since the last.
    void mix();
    /// What a member hears in this tick. Valid until the next call of anything here.
    std::span<const int16_t> heard_by(size_t slot);
    /// All of the circles in `says` together, as for a recording.
    std::span<const int16_t> heard_by_all();

    /// Of the last tick: -127 to 0, full scale square wave at 0 (RFC 6464 section 3).
    double level_dbov(size_t slot) const;
    bool talking(size_t slot) const { return members_[slot].talking; }
    /// One of the loudest three.
    bool chosen(size_t slot) const { return chosen_[slot]; }

   private:
    using Slots = std::bitset<kMaxMembers>;
    static constexpr size_t kMaxFrame = kWidebandHz * kFrameMs / 1000;
    using Frame = std::array<int16_t, kMaxFrame>;
    using Sum = std::array<int32_t, kMaxFrame>;

    /// The mix of one ear.
    struct Ear {
        explicit Ear(uint32_t rate_hz) : limiter(rate_hz) {}
        Slots before;  // heard in the last tick
        Slots now;
        Limiter limiter;
        Frame out{};
    };
    struct Member {
        explicit Member(uint32_t rate_hz) : ear(rate_hz) {}
        enum class Use : uint8_t { free, used, leaving } use = Use::free;
        bool said = false;  // in this tick
        bool talking = false;
        uint8_t loud_ticks = 0;
        uint8_t quiet_ticks = 0;
        Rules rules;
        double power = 0.0;     // of this tick, full scale 1
        double smoothed = 0.0;  // by which the loudest are chosen
        Frame frame{};          // of this tick, or how the last one fades out
        Ear ear;
    };
    /// Most members hear the same: each sum is made once a tick.
    struct Made {
        Slots before;
        Slots now;
        Sum sum;
        Frame out;
        bool rounded = false;  // `out` is set
    };
    static constexpr size_t kMaxMade = 8;

    void measure(Member& member);
    void choose();
    void listen(Ear& ear, uint32_t hears, size_t self);
    Made& made(const Ear& ear);
    void add_up(const Slots& voices, std::span<int32_t> sum) const;
    std::span<const int16_t> mixed_for(Ear& ear);
    std::span<int16_t> frame_of(Member& member) const { return std::span(member.frame).first(frame_samples_); }

    uint32_t rate_hz_;
    size_t frame_samples_;
    size_t fade_samples_;
    size_t members_count_ = 0;
    std::vector<Member> members_;
    Slots chosen_;
    Slots heard_;   // have something to say in this tick
    Slots fading_;  // had, in the last one
    Ear all_;
    std::vector<Made> made_;  // the first `made_count_` are of this tick
    size_t made_count_ = 0;
};

}  // namespace sdpserver
