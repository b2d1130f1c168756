// The SIP messages of our calls, kept as they went over the wire: each that comes in, before pjsip does anything about
// it, and each that leaves, also those sent again. Kept here and not in Python: pjsip's thread takes a microsecond for
// it, and needs no GIL. A call of ours is known by a name and may have several dialogs, hence several Call-IDs.

%{
#include <array>
#include <chrono>
#include <deque>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <pjsua-lib/pjsua_internal.h>
%}

%inline %{
struct TracedMessage {
  long long number = 0;    // in the order of all messages of the process
  long long time_us = 0;   // since 1970
  long long steady_us = 0; // of a clock that is never set
  bool sent = false;
  bool repeated = false; // the same octets went the same way before
  std::string transport, local, remote, text;
};
%}

%template(TracedMessages) std::vector<TracedMessage>;

%inline %{
struct Trace {
  long long dropped = 0; // messages that were let go to make room
  std::vector<TracedMessage> messages;
};
%}

%{
namespace {

constexpr size_t head_messages = 16;  // of a call, which stay when later ones go: how it was set up
constexpr size_t foreign_messages = 32; // of a call, from addresses that may not call, with the answers to them
constexpr size_t unclaimed_traces = 8;
constexpr size_t message_overhead = 256;

// Those of one Call-ID.
class DialogTrace {
 public:
  explicit DialogTrace(std::string call_id) : call_id_(std::move(call_id)) {}

  struct Kept {
    size_t hash;
    std::shared_ptr<const TracedMessage> message;
  };

  const std::string& call_id() const { return call_id_; }
  const std::deque<Kept>& messages() const { return messages_; }
  long long dropped() const { return dropped_; }
  size_t octets() const { return octets_; }

  bool has(size_t hash, const TracedMessage& message) const {
    for (const Kept& kept : messages_) {
      if (kept.hash == hash && kept.message->sent == message.sent && kept.message->text == message.text)
        return true;
    }
    return false;
  }

  void add(Kept kept, size_t max_messages, size_t max_octets) {
    const size_t octets = kept.message->text.size() + message_overhead;
    if (head_ == messages_.size() && head_ < head_messages && octets_ + octets <= max_octets / 2)
      ++head_;
    octets_ += octets;
    messages_.push_back(std::move(kept));
    while (messages_.size() > head_ + 1 && (messages_.size() > max_messages || octets_ > max_octets)) {
      const auto oldest = messages_.begin() + static_cast<std::ptrdiff_t>(head_);
      octets_ -= oldest->message->text.size() + message_overhead;
      messages_.erase(oldest);
      ++dropped_;
    }
  }

  bool takes_foreign() { return foreign_++ < foreign_messages; }
  void miss() { ++dropped_; }

  void clear() {
    dropped_ += static_cast<long long>(messages_.size());
    messages_.clear();
    octets_ = head_ = 0;
  }

  size_t holders = 0; // calls of ours that it is of
  size_t live_holders = 0;
  bool is_listed = false; // among those that can be let go
  std::list<DialogTrace*>::iterator place;
  bool is_listed_as_live = false;

 private:
  std::string call_id_;
  std::deque<Kept> messages_;
  size_t head_ = 0, octets_ = 0, foreign_ = 0;
  long long dropped_ = 0;
};

// Written on pjsip's thread; read, and told what has ended, on others. The lock is held for no longer than it takes to
// copy pointers.
class Traces {
 public:
  void start(size_t max_messages, size_t max_octets, size_t max_octets_in_all) {
    const std::lock_guard lock{mutex_};
    clear();
    max_messages_ = max_messages;
    max_octets_ = max_octets;
    max_octets_in_all_ = max_octets_in_all;
    is_on_ = true;
  }

  void stop() {
    const std::lock_guard lock{mutex_};
    clear();
    is_on_ = false;
  }

  void hold(const std::string& call, const std::string& call_id) {
    const std::lock_guard lock{mutex_};
    if (!is_on_)
      return;
    Call& of_call = calls_[call];
    DialogTrace* trace = find_or_claim(call_id);
    if (std::find(of_call.dialogs.begin(), of_call.dialogs.end(), trace) != of_call.dialogs.end())
      return;
    of_call.dialogs.push_back(trace);
    ++trace->holders;
    trace->live_holders += of_call.is_over ? 0 : 1;
    list(*trace);
  }

  void end(const std::string& call) {
    const std::lock_guard lock{mutex_};
    const auto found = calls_.find(call);
    if (found == calls_.end() || found->second.is_over)
      return;
    found->second.is_over = true;
    for (DialogTrace* trace : found->second.dialogs) {
      --trace->live_holders;
      list(*trace);
    }
  }

  void release(const std::string& call) {
    const std::lock_guard lock{mutex_};
    const auto found = calls_.find(call);
    if (found == calls_.end())
      return;
    for (DialogTrace* trace : found->second.dialogs) {
      if (!found->second.is_over)
        --trace->live_holders;
      if (--trace->holders == 0)
        erase(*trace);
    }
    calls_.erase(found);
  }

  Trace read(const std::vector<std::string>& calls) const {
    std::vector<std::shared_ptr<const TracedMessage>> found;
    Trace read;
    {
      const std::lock_guard lock{mutex_};
      std::vector<const DialogTrace*> dialogs;
      for (const std::string& call : calls) {
        const auto of_call = calls_.find(call);
        if (of_call == calls_.end())
          continue;
        for (const DialogTrace* dialog : of_call->second.dialogs) {
          if (std::find(dialogs.begin(), dialogs.end(), dialog) == dialogs.end())
            dialogs.push_back(dialog);
        }
      }
      for (const DialogTrace* dialog : dialogs) {
        read.dropped += dialog->dropped();
        for (const DialogTrace::Kept& kept : dialog->messages())
          found.push_back(kept.message);
      }
    }
    std::sort(found.begin(), found.end(), [](const auto& one, const auto& other) { return one->number < other->number; });
    read.messages.reserve(found.size());
    for (const auto& message : found)
      read.messages.push_back(*message);
    return read;
  }

  size_t octets() const {
    const std::lock_guard lock{mutex_};
    return octets_;
  }

  void received(const pjsip_rx_data* rdata) {
    const auto& info = rdata->msg_info;
    const pjsip_msg* message = info.msg;
    const bool is_foreign = !is_caller(rdata->pkt_info.src_name);
    const bool is_first = message->type == PJSIP_REQUEST_MSG && message->line.req.method.id == PJSIP_INVITE_METHOD &&
                          info.to->tag.slen == 0 && !is_foreign;
    const std::lock_guard lock{mutex_};
    if (!is_on_)
      return;
    DialogTrace* trace = find(view(info.cid->id), is_first);
    if (trace && may_add(*trace, is_foreign))
      add(*trace, false, rdata->tp_info.transport, rdata->pkt_info.src_name, rdata->pkt_info.src_port,
          {info.msg_buf, static_cast<size_t>(info.len)});
  }

  void sent(const pjsip_tx_data* tdata) {
    const auto* call_id =
        static_cast<const pjsip_cid_hdr*>(pjsip_msg_find_hdr(tdata->msg, PJSIP_H_CALL_ID, nullptr));
    if (!call_id)
      return;
    const bool is_to_foreigner = tdata->msg->type == PJSIP_RESPONSE_MSG && !is_caller(tdata->tp_info.dst_name);
    const std::lock_guard lock{mutex_};
    if (!is_on_)
      return;
    DialogTrace* trace = find(view(call_id->id), false);
    if (trace && may_add(*trace, is_to_foreigner))
      add(*trace, true, tdata->tp_info.transport, tdata->tp_info.dst_name, tdata->tp_info.dst_port,
          {tdata->buf.start, static_cast<size_t>(tdata->buf.cur - tdata->buf.start)});
  }

 private:
  struct Call {
    std::vector<DialogTrace*> dialogs;
    bool is_over = false;
  };

  // What a trunk's INVITE begins is nobody's until the call is taken, which is in the same breath; few are kept so long.
  DialogTrace* find(std::string_view call_id, bool is_first) {
    key_.assign(call_id);
    if (const auto found = dialogs_.find(key_); found != dialogs_.end())
      return found->second.get();
    for (const auto& trace : unclaimed_) {
      if (trace->call_id() == call_id)
        return trace.get();
    }
    if (!is_first)
      return nullptr;
    if (unclaimed_.size() == unclaimed_traces) {
      octets_ -= unclaimed_.front()->octets();
      unclaimed_.pop_front();
    }
    return unclaimed_.emplace_back(std::make_unique<DialogTrace>(key_)).get();
  }

  // Of what strangers say, and what they are answered, a live call's trace takes little, whatever Call-ID they name.
  static bool may_add(DialogTrace& trace, bool is_foreign) {
    if (!is_foreign || trace.takes_foreign())
      return true;
    trace.miss();
    return false;
  }

  DialogTrace* find_or_claim(const std::string& call_id) {
    std::unique_ptr<DialogTrace>& place = dialogs_[call_id];
    for (auto trace = unclaimed_.begin(); !place && trace != unclaimed_.end(); ++trace) {
      if ((*trace)->call_id() == call_id) {
        place = std::move(*trace);
        unclaimed_.erase(trace);
        break;
      }
    }
    if (!place)
      place = std::make_unique<DialogTrace>(call_id);
    return place.get();
  }

  void add(DialogTrace& trace, bool sent, const pjsip_transport* transport, std::string_view host, int port,
           std::string_view text) {
    using namespace std::chrono;
    auto message = std::make_shared<TracedMessage>();
    message->number = ++number_;
    message->time_us = duration_cast<microseconds>(system_clock::now().time_since_epoch()).count();
    message->steady_us = duration_cast<microseconds>(steady_clock::now().time_since_epoch()).count();
    message->sent = sent;
    message->transport = transport->type_name;
    message->local = local_address(transport);
    message->remote = address(plain_address(host), port);
    message->text.assign(text);
    const size_t hash = std::hash<std::string_view>{}(text);
    message->repeated = trace.has(hash, *message);
    octets_ -= trace.octets();
    trace.add({hash, std::move(message)}, max_messages_, max_octets_);
    octets_ += trace.octets();
    if (trace.holders > 0)
      list(trace);
    make_room(trace);
  }

  static std::string address(std::string_view host, int port) {
    std::string text;
    text.reserve(host.size() + 8);
    if (host.find(':') != host.npos)
      text.append("[").append(host).append("]");
    else
      text.append(host);
    return text.append(":").append(std::to_string(port));
  }

  // Where the socket is, or the name that pjsip goes by when that is every address of the machine.
  static std::string local_address(const pjsip_transport* transport) {
    std::array<char, PJ_INET6_ADDRSTRLEN + 1> host{};
    if (pj_sockaddr_has_addr(&transport->local_addr) &&
        pj_sockaddr_print(&transport->local_addr, host.data(), static_cast<int>(host.size()), 0))
      return address(plain_address(host.data()), pj_sockaddr_get_port(&transport->local_addr));
    return address(view(transport->local_name.host), transport->local_name.port);
  }

  // Among those that can be let go, ended ones apart from live ones, each in the order of their coming there.
  void list(DialogTrace& trace) {
    const bool is_live = trace.live_holders > 0;
    if (trace.is_listed && trace.is_listed_as_live == is_live)
      return;
    unlist(trace);
    if (trace.messages().empty())
      return;
    std::list<DialogTrace*>& list = is_live ? live_ : ended_;
    trace.place = list.insert(list.end(), &trace);
    trace.is_listed = true;
    trace.is_listed_as_live = is_live;
  }

  void unlist(DialogTrace& trace) {
    if (std::exchange(trace.is_listed, false))
      (trace.is_listed_as_live ? live_ : ended_).erase(trace.place);
  }

  void make_room(const DialogTrace& writing) {
    while (octets_ > max_octets_in_all_) {
      DialogTrace* oldest = nullptr;
      for (const std::list<DialogTrace*>* list : {&ended_, &live_}) {
        for (DialogTrace* trace : *list) {
          if (trace != &writing) {
            oldest = trace;
            break;
          }
        }
        if (oldest)
          break;
      }
      if (!oldest)
        return;
      octets_ -= oldest->octets();
      oldest->clear();
      unlist(*oldest);
    }
  }

  void erase(DialogTrace& trace) {
    octets_ -= trace.octets();
    unlist(trace);
    dialogs_.erase(std::string{trace.call_id()});
  }

  void clear() {
    live_.clear();
    ended_.clear();
    calls_.clear();
    unclaimed_.clear();
    dialogs_.clear();
    octets_ = 0;
  }

  mutable std::mutex mutex_;
  bool is_on_ = false;
  size_t max_messages_ = 0, max_octets_ = 0, max_octets_in_all_ = 0, octets_ = 0;
  long long number_ = 0;
  std::string key_; // reused, so that looking up a stranger's Call-ID allocates nothing
  std::unordered_map<std::string, std::unique_ptr<DialogTrace>> dialogs_;
  std::deque<std::unique_ptr<DialogTrace>> unclaimed_;
  std::unordered_map<std::string, Call> calls_;
  std::list<DialogTrace*> live_, ended_;
};

Traces traces;

pj_bool_t on_received(pjsip_rx_data* rdata) {
  traces.received(rdata);
  return PJ_FALSE; // for others to deal with
}

pj_status_t on_sent(pjsip_tx_data* tdata) {
  traces.sent(tdata);
  return PJ_SUCCESS;
}

// Next to the wire: the first to see what comes, the last to see what leaves, once pjsip has written it out.
pjsip_module every_message = {
    nullptr, nullptr, {const_cast<char*>("mod-trace"), 9}, -1, PJSIP_MOD_PRIORITY_TRANSPORT_LAYER - 1,
    nullptr, nullptr, nullptr, nullptr, &on_received, &on_received, &on_sent, &on_sent, nullptr,
};

} // namespace
%}

%inline %{
// Once for an endpoint, after libInit: keep at most so many messages and octets of a call, and octets of all calls. The
// status of pjlib, 0 for success.
int startTracing(int max_messages, int max_octets, long long max_octets_in_all) {
  pjsip_endpoint* endpoint = pjsua_get_pjsip_endpt();
  if (!endpoint)
    return PJ_EINVALIDOP;
  traces.start(static_cast<size_t>(max_messages), static_cast<size_t>(max_octets),
               static_cast<size_t>(max_octets_in_all));
  return pjsip_endpt_register_module(endpoint, &every_message);
}

// With the endpoint's end. What follows may be called from any thread.
void stopTracing() { traces.stop(); }

// Keep the messages with this Call-ID for a call of ours.
void traceDialog(const std::string& call, const std::string& call_id) { traces.hold(call, call_id); }

// The same by pjsua's number, of an INVITE that has come in. On pjsip's thread, in the callback that tells of it.
void traceIncoming(const std::string& call, int number) {
  if (const pjsip_dialog* dialog = dialog_of(number))
    traces.hold(call, std::string{view(dialog->call_id->id)});
}

// The call is over: its messages are the first to go when room is needed; what is still to come is kept too.
void endTrace(const std::string& call) { traces.end(call); }

// Forget its messages, unless another call has the same dialog.
void releaseTrace(const std::string& call) { traces.release(call); }

// What is kept of these calls, in the order of time; each message once.
Trace readTrace(const std::vector<std::string>& calls) { return traces.read(calls); }

// Of all messages that are kept.
long long tracedOctets() { return static_cast<long long>(traces.octets()); }
%}
