// Rooms of the engine: which legs are in which, and how those of other workers get there.

#include "engine.h"

namespace sdpserver {

Engine::RoomEntry& Engine::room_entry(RoomId room) {
    const auto found = rooms_.find(room);
    if (found == rooms_.end()) throw UnknownRoom("no room " + std::to_string(room));
    return found->second;
}

RoomId Engine::create_room(size_t worker, uint32_t rate_hz) {
    if (rate_hz != kNarrowbandHz && rate_hz != kWidebandHz) throw std::invalid_argument("a room is of 8000 or 16000 Hz");
    Worker& owner = at(worker);
    const RoomId id = ++last_leg_;
    rooms_[id].worker = &owner;
    owner.post(id, [id, rate_hz](Worker& on) { on.add_room(id, rate_hz); });
    return id;
}

void Engine::close_room(RoomId room) {
    const auto found = rooms_.find(room);
    if (found == rooms_.end()) return;
    for (const auto& [leg, seat] : found->second.seats) legs_.at(leg).room = 0;
    found->second.worker->post(room, [room](Worker& worker) { worker.remove_room(room); });
    rooms_.erase(found);
}

void Engine::join_room(RoomId room, LegId leg, const Mixer::Rules& rules) {
    RoomEntry& entered = room_entry(room);
    Entry& member = entry(leg);
    Worker& home = *member.worker;
    Worker& here = *entered.worker;
    if (member.room == room) {
        entered.seats.at(leg).rules = rules;
        return here.post(room, [room, leg, rules](Worker& worker) {
            if (Room* found = worker.room(room)) found->set_rules(leg, rules);
        });
    }
    if (entered.seats.size() >= Room::kMaxMembers) throw std::invalid_argument("the room is full");
    if (member.room != 0) leave_room(member.room, leg);
    const auto figures = std::make_shared<SeatFigures>();
    entered.seats[leg] = {.rules = rules, .figures = figures};
    member.room = room;
    member.source = 0;
    const bool elsewhere = &here != &home;
    const uint64_t serial = ++last_link_;
    if (elsewhere) {
        link(home, here);
        link(here, home);
    }
    here.post(room, [=, &home](Worker& worker) {
        Room* found = worker.room(room);
        if (found == nullptr) return;
        if (elsewhere) worker.links().stand_in(leg, home, serial);
        found->join(leg, home, rules, figures);
    });
    if (elsewhere) {
        post(leg, [&here, serial](Worker& worker, Leg& found) { worker.links().feed(found, here, serial); });
    }
}

void Engine::leave_room(RoomId room, LegId leg) {
    const auto left = rooms_.find(room);
    if (left == rooms_.end() || left->second.seats.erase(leg) == 0) return;
    legs_.at(leg).room = 0;
    left->second.worker->post(room, [room, leg](Worker& worker) {
        if (Room* found = worker.room(room)) found->leave(leg);
    });
}

void Engine::set_recorded_room(RecordingId recording, RoomId room) {
    RecordingEntry& recorded = recording_entry(recording);
    if (recorded.room == room) return;
    if (const auto left = rooms_.find(std::exchange(recorded.room, 0)); left != rooms_.end()) {
        left->second.worker->post(left->first, [left = left->first, listeners = recorded.room_listeners](Worker& worker) {
            Room* found = worker.room(left);
            if (found == nullptr) return;
            for (const auto& listener : listeners) found->remove(*listener);
        });
    }
    recorded.room_listeners = {};
    if (room == 0) return;
    Worker& here = *room_entry(room).worker;
    recorded.room_listeners = {recorded.recording->listener(Recording::Channel::left),
                               recorded.recording->listener(Recording::Channel::right)};
    recorded.room = room;
    here.post(room, [room, listeners = recorded.room_listeners](Worker& worker) {
        Room* found = worker.room(room);
        if (found == nullptr) return;
        for (const auto& listener : listeners) found->add(listener);
    });
}

std::vector<std::pair<LegId, double>> Engine::room_levels(RoomId room) const {
    std::vector<std::pair<LegId, double>> levels;
    const auto found = rooms_.find(room);
    if (found == rooms_.end()) throw UnknownRoom("no room " + std::to_string(room));
    for (const auto& [leg, seat] : found->second.seats) levels.emplace_back(leg, seat.figures->level_dbov.get());
    return levels;
}

}  // namespace sdpserver
