#include "room.h"

#include <algorithm>
#include <stdexcept>

#include "worker.h"

namespace sdpserver {
namespace {

constexpr TimeNs kTick = TimeNs{Mixer::kFrameMs} * kMillisecond;
/// So long a newcomer is sent what he was sent before while nobody is heard: jitter buffers need a moment to fill.
constexpr uint32_t kPatientTicks = 5;

}  // namespace

Room::~Room() {
    for (const Seat& one : seats_) release(one);
}

Room::Seat* Room::seat(LegId leg) {
    const auto found = std::ranges::find(seats_, leg, &Seat::leg);
    return found == seats_.end() ? nullptr : &*found;
}

void Room::join(LegId leg, Worker& home, const Mixer::Rules& rules, std::shared_ptr<SeatFigures> figures) {
    if (seat(leg) != nullptr) return set_rules(leg, rules);
    const auto slot = mixer_.add(rules);
    if (!slot) throw std::length_error("the room is full");
    seats_.push_back({.leg = leg, .home = &home, .slot = *slot, .figures = std::move(figures)});
    WorkerContext& context = worker_.context();
    if (Inlet* inlet = worker_.inlet(leg)) inlet->set_driver(context, this);
    if (seats_.size() == 1) {
        // Spread over the tick, so that a hundred rooms are not served in one burst.
        const TimeNs phase = static_cast<TimeNs>(id_ * 7 % Mixer::kFrameMs) * kMillisecond;
        context.timers.set(timers_, id_, Timer::frame, context.now + phase);
    }
}

void Room::release(const Seat& leaving) {
    if (Inlet* inlet = worker_.inlet(leaving.leg)) inlet->set_driver(worker_.context(), nullptr);
}

void Room::leave(LegId leg) {
    const Seat* leaving = seat(leg);
    if (leaving == nullptr) return;
    mixer_.remove(leaving->slot);
    release(*leaving);
    std::erase_if(seats_, [leg](const Seat& one) { return one.leg == leg; });
}

void Room::set_rules(LegId leg, const Mixer::Rules& rules) {
    if (const Seat* found = seat(leg)) mixer_.set_rules(found->slot, rules);
}

void Room::remove(const AudioSink& listener) {
    std::erase_if(listeners_, [&listener](const auto& entry) { return entry.get() == &listener; });
}

bool Room::draw(const Seat& speaker) {
    Inlet* inlet = worker_.inlet(speaker.leg);
    if (inlet == nullptr) return false;  // it is gone, and will leave
    const AudioFrame frame = inlet->draw(worker_.context(), Mixer::kFrameMs, mixer_.rate_hz());
    if (frame.kind == AudioKind::silence) return false;
    if (frame.rate_hz == mixer_.rate_hz()) {
        mixer_.put(speaker.slot, frame.samples);
        return true;
    }
    speaker.converter->set_rates(frame.rate_hz, mixer_.rate_hz());
    const size_t samples = speaker.converter->convert(frame.samples, converted_);
    mixer_.put(speaker.slot, std::span(converted_).first(std::min(samples, mixer_.frame_samples())));
    return true;
}

void Room::send(Seat& listener, bool somebody_else_spoke) {
    Leg* leg = worker_.leg(listener.leg);
    if (!listener.hears_room) {
        if (!somebody_else_spoke && ++listener.waited_ticks < kPatientTicks) return;
        listener.hears_room = true;
        if (leg != nullptr) {
            leg->send_from(nullptr);
        } else {
            listener.home->post(listener.leg, [id = listener.leg](Worker& home) {
                if (Leg* there = home.leg(id)) there->send_from(nullptr);
            });
        }
    }
    const AudioFrame frame{.samples = mixer_.heard_by(listener.slot),
                           .rate_hz = mixer_.rate_hz(),
                           .kind = somebody_else_spoke ? AudioKind::speech : AudioKind::silence};
    if (leg != nullptr) {
        leg->send_audio(worker_.context(), id_, frame);
    } else {
        worker_.links().send_audio(*listener.home, listener.leg, id_, frame);
    }
}

void Room::tell(const Seat& member) {
    member.figures->level_dbov.set(mixer_.level_dbov(member.slot));
    const bool talking = mixer_.talking(member.slot);
    if (talking == member.figures->talking.get()) return;
    member.figures->talking.set(talking);
    worker_.context().events.push({EventKind::talking, id_, worker_.context().now,
                                   std::to_string(member.leg) + (talking ? " 1" : " 0")});
}

void Room::on_timer() {
    WorkerContext& context = worker_.context();
    const TimeNs was_due = std::exchange(timers_[static_cast<size_t>(Timer::frame)], 0);
    if (seats_.empty() && listeners_.empty()) return;
    size_t speakers = 0;
    for (Seat& one : seats_) {
        one.spoke = draw(one);
        speakers += one.spoke;
    }
    mixer_.mix();
    for (Seat& one : seats_) {
        send(one, speakers > size_t{one.spoke});
        tell(one);
    }
    for (const auto& listener : listeners_) {
        listener->take({.samples = mixer_.heard_by_all(), .rate_hz = mixer_.rate_hz()}, context.now);
    }
    context.timers.set(timers_, id_, Timer::frame, next_tick(was_due, context.now, kTick));
}

}  // namespace sdpserver
