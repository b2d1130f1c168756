#include "links.h"

#include <cstring>

#include "worker.h"

namespace sdpserver {

class Links::Feed final : public InletSink {
 public:
    Feed(Links& links, Leg& leg, Worker& to, uint64_t last_serial)
        : serial(last_serial), links_(links), leg_(leg.id()), inlet_(&leg.inlet()), to_(to) {
        inlet_->add(*this);
    }
    ~Feed() override {
        if (inlet_ != nullptr) inlet_->remove(*this);
    }
    Feed(const Feed&) = delete;
    Feed& operator=(const Feed&) = delete;

    bool is(LegId leg, const Worker& to) const { return leg_ == leg && &to_ == &to; }
    uint64_t serial;

    Verdict on_packet(WorkerContext&, LegId, const RtpPacket& packet, const Format& format) override {
        if (packet.payload.size() > LinkMessage::kMaxOctets) return Verdict::passed;
        write([&](LinkMessage& message) {
            message.what = LinkMessage::What::packet;
            message.packet = packet;
            message.packet.payload = {};
            message.format = format;
            message.octets = static_cast<uint16_t>(packet.payload.size());
            std::ranges::copy(packet.payload, message.data.begin());
        });
        return Verdict::passed;
    }
    void on_audio(WorkerContext&, LegId, const AudioFrame&) override {}
    void on_pause() override {
        write([](LinkMessage& message) { message.what = LinkMessage::What::pause; });
    }
    void on_inlet_gone() override {
        inlet_ = nullptr;
        to_.post(leg_, [leg = leg_](Worker& there) { there.links().drop(leg); });
        std::erase_if(links_.feeds_, [this](const auto& feed) { return feed.get() == this; });  // this ends here
    }
    uint32_t frame_ms() const override { return 20; }
    uint32_t wanted_rate_hz() const override { return kNarrowbandHz; }

 private:
    template <typename Fill>
    void write(Fill fill) {
        Outbound* way = links_.outbound(to_);
        LinkMessage* message = way != nullptr ? way->ring->slot() : nullptr;
        if (message == nullptr) return;
        message->leg = leg_;
        fill(*message);
        way->ring->push();
        way->written = true;
    }

    Links& links_;
    LegId leg_;
    Inlet* inlet_;
    Worker& to_;
};

Links::Links(Worker& worker) : worker_(worker) {}
Links::~Links() = default;

void Links::add_outbound(Worker& to, std::shared_ptr<LinkRing> ring) { outbound_[&to].ring = std::move(ring); }

Links::Outbound* Links::outbound(Worker& to) {
    const auto found = outbound_.find(&to);
    return found == outbound_.end() ? nullptr : &found->second;
}

Inlet& Links::stand_in(LegId source, Worker& home, uint64_t serial) {
    StandIn& entry = stand_ins_[source];  // entries stay where they are: the inlet refers to its timers
    entry.home = &home;
    entry.serial = serial;
    if (!entry.inlet) entry.inlet = std::make_unique<Inlet>(source, entry.timers, nullptr);
    return *entry.inlet;
}

Inlet* Links::find(LegId source) {
    const auto found = stand_ins_.find(source);
    return found == stand_ins_.end() ? nullptr : found->second.inlet.get();
}

LegTimers* Links::timers(LegId source) {
    const auto found = stand_ins_.find(source);
    return found == stand_ins_.end() ? nullptr : &found->second.timers;
}

void Links::feed(Leg& leg, Worker& to, uint64_t serial) {
    const auto same = [&](const auto& feed) { return feed->is(leg.id(), to); };
    if (const auto found = std::ranges::find_if(feeds_, same); found != feeds_.end()) {
        (*found)->serial = serial;
    } else {
        feeds_.push_back(std::make_unique<Feed>(*this, leg, to, serial));
    }
}

void Links::stop_feeding(LegId leg, const Worker& to, uint64_t serial) {
    std::erase_if(feeds_, [&](const auto& feed) { return feed->is(leg, to) && feed->serial <= serial; });
}

void Links::send_audio(Worker& to, LegId leg, LegId source, const AudioFrame& frame) {
    Outbound* way = outbound(to);
    LinkMessage* message = way != nullptr ? way->ring->slot() : nullptr;
    const size_t octets = frame.samples.size_bytes();
    if (message == nullptr || octets > LinkMessage::kMaxOctets) return;
    message->what = LinkMessage::What::audio;
    message->leg = leg;
    message->source = source;
    message->rate_hz = frame.rate_hz;
    message->kind = frame.kind;
    message->octets = static_cast<uint16_t>(octets);
    std::memcpy(message->data.data(), frame.samples.data(), octets);
    way->ring->push();
    way->written = true;
}

void Links::receive(WorkerContext& context, const std::function<Leg*(LegId)>& leg) {
    for (const auto& ring : inbound_) {
        while (const LinkMessage* message = ring->front()) {
            if (message->what == LinkMessage::What::audio) {
                std::array<int16_t, LinkMessage::kMaxOctets / 2> samples;
                std::memcpy(samples.data(), message->data.data(), message->octets);
                if (Leg* to = leg(message->leg)) {
                    to->send_audio(context, message->source,
                                   {.samples = std::span(samples).first(message->octets / sizeof(int16_t)),
                                    .rate_hz = message->rate_hz,
                                    .kind = message->kind});
                }
            } else if (Inlet* inlet = find(message->leg)) {
                if (message->what == LinkMessage::What::pause) {
                    inlet->pause();
                } else {
                    RtpPacket packet = message->packet;
                    packet.payload = ConstBytes(message->data).first(message->octets);
                    inlet->on_packet(context, packet, message->format);
                }
            }
            ring->pop();
        }
    }
}

void Links::tidy() {
    std::erase_if(stand_ins_, [this](const auto& entry) {
        const auto& [source, stand_in] = entry;
        if (stand_in.inlet->in_use()) return false;
        stand_in.home->post(source, [source = source, serial = stand_in.serial, &to = worker_](Worker& home) {
            home.links().stop_feeding(source, to, serial);
        });
        return true;
    });
}

void Links::wake() {
    for (auto& [to, way] : outbound_) {
        if (!std::exchange(way.written, false)) continue;
        to->wake();
    }
}

}  // namespace sdpserver
