// Answers to the requests that pjsua leaves without one (out of dialogs), refuses with a 500 (in a dialog), or takes
// although nobody reads them or their own headers speak against it. Part of pjsua2's Python binding, since its API has
// no way to register a pjsip module.

%{
#include <algorithm>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <pjsua-lib/pjsua_internal.h> // no public function gives a call's dialog

namespace {

std::string_view view(const pj_str_t& text) {
  return {text.ptr, text.slen > 0 ? static_cast<size_t>(text.slen) : 0};
}

bool is(const pjsip_rx_data* rdata, std::string_view method) {
  return view(rdata->msg_info.msg->line.req.method.name) == method; // case matters (RFC 3261 section 7.1)
}

template <typename... Methods>
bool is_any_of(const pjsip_rx_data* rdata, Methods... methods) {
  return (is(rdata, methods) || ...);
}

pj_str_t text(const char* literal) {
  return pj_str(const_cast<char*>(literal)); // pjsip copies it
}

// Of a call by pjsua's number; null: there is none any more.
pjsip_dialog* dialog_of(int number) {
  if (number < 0 || number >= static_cast<int>(pjsua_call_get_max_count()))
    return nullptr;
  const pjsip_inv_session* session = pjsua_var.calls[number].inv;
  return session ? session->dlg : nullptr;
}

void add_header(pj_pool_t* pool, pjsip_hdr* headers, const char* name, const char* value) {
  const pj_str_t header_name = text(name), header_value = text(value);
  pj_list_push_back(headers, pjsip_generic_string_hdr_create(pool, &header_name, &header_value));
}

void add_capability(pj_pool_t* pool, pjsip_hdr* headers, int type) {
  if (const pjsip_hdr* header = pjsip_endpt_get_capability(pjsua_get_pjsip_endpt(), type, nullptr))
    pj_list_push_back(headers, pjsip_hdr_clone(pool, header));
}

bool is_press(const pjsip_media_type& media) {
  const pj_str_t application = text("application"), relay = text("dtmf-relay"), dtmf = text("dtmf");
  return pj_stricmp(&media.type, &application) == 0 &&
         (pj_stricmp(&media.subtype, &relay) == 0 || pj_stricmp(&media.subtype, &dtmf) == 0);
}

// A dialog outlives its call until the BYE's transaction is over.
bool is_over(pjsip_dialog* dialog) {
  const pjsip_inv_session* call = pjsip_dlg_get_inv_session(dialog);
  return !call || call->state == PJSIP_INV_STATE_DISCONNECTED;
}

// The status that a request has earned, and the headers that go with it.
int judge_in_dialog(pjsip_dialog* dialog, const pjsip_rx_data* rdata, pj_pool_t* pool, pjsip_hdr* headers) {
  if (is_over(dialog))
    return PJSIP_SC_CALL_TSX_DOES_NOT_EXIST;
  if (is(rdata, "OPTIONS")) { // RFC 3261 section 11.2
    for (const int type : {PJSIP_H_ALLOW, PJSIP_H_ACCEPT, PJSIP_H_SUPPORTED})
      add_capability(pool, headers, type);
    return 200;
  }
  if (is(rdata, "INFO")) {
    const pj_str_t info_package = text("Info-Package");
    if (pjsip_msg_find_hdr_by_name(rdata->msg_info.msg, &info_package, nullptr)) { // RFC 6086 section 4.2.2
      add_header(pool, headers, "Recv-Info", "");
      return PJSIP_SC_BAD_INFO_PACKAGE;
    }
    const pjsip_msg_body* body = rdata->msg_info.msg->body;
    if (!body || body->len == 0 || is_press(body->content_type))
      return 200;
    add_header(pool, headers, "Accept", "application/dtmf-relay, application/dtmf");
    return PJSIP_SC_UNSUPPORTED_MEDIA_TYPE;
  }
  if (is(rdata, "NOTIFY")) // of no subscription of ours (RFC 6665 section 4.1.3)
    return PJSIP_SC_CALL_TSX_DOES_NOT_EXIST;
  add_capability(pool, headers, PJSIP_H_ALLOW);
  return PJSIP_SC_METHOD_NOT_ALLOWED;
}

void answer_in_dialog(pjsip_transaction* transaction, pjsip_event* event) {
  pjsip_dialog* dialog = pjsip_tsx_get_dlg(transaction);
  if (!dialog || transaction->role != PJSIP_ROLE_UAS || transaction->state != PJSIP_TSX_STATE_TRYING ||
      transaction->status_code >= 200 || event->type != PJSIP_EVENT_TSX_STATE ||
      event->body.tsx_state.type != PJSIP_EVENT_RX_MSG)
    return;
  pjsip_rx_data* rdata = event->body.tsx_state.src.rdata;
  if (is_any_of(rdata, "INVITE", "BYE", "CANCEL", "PRACK", "UPDATE"))
    return; // the call's own, which pjsip answers in its time
  pjsip_hdr headers;
  pj_list_init(&headers);
  const int status = judge_in_dialog(dialog, rdata, rdata->tp_info.pool, &headers);
  pjsip_dlg_respond(dialog, rdata, status, nullptr, &headers, nullptr);
}

// After the usages of pjsip and pjsua, hence only where they have not answered.
pjsip_module in_dialog = {
    nullptr, nullptr, {const_cast<char*>("mod-rest-in-dialog"), 18}, -1, PJSIP_MOD_PRIORITY_APPLICATION + 1,
    nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, &answer_in_dialog,
};

// A dialog asks its usages only, so each one gets ours with the first request in it.
void join_dialog(pjsip_rx_data* rdata) {
  const auto& info = rdata->msg_info;
  pjsip_dialog* dialog = pjsip_ua_find_dialog(&info.cid->id, &info.to->tag, &info.from->tag, PJ_TRUE);
  if (!dialog)
    return;
  if (!pjsip_dlg_has_usage(dialog, &in_dialog))
    pjsip_dlg_add_usage(dialog, &in_dialog, nullptr);
  pjsip_dlg_dec_lock(dialog);
}

// pjsip takes the last one of a header that may be there once, the start line's method before that of CSeq, and less
// of a body than Content-Length promises (RFC 3261 sections 7.3.1, 8.1.1.5, 18.3).
bool is_contradictory(const pjsip_rx_data* rdata) {
  const auto& info = rdata->msg_info;
  if (pjsip_method_cmp(&info.cseq->method, &info.msg->line.req.method) != 0)
    return true;
  const std::string_view whole{info.msg_buf, static_cast<size_t>(info.len)};
  const size_t end = whole.find("\r\n\r\n"); // a multipart body has no length in pjsip
  const bool is_datagram = !(rdata->tp_info.transport->flag & PJSIP_TRANSPORT_RELIABLE);
  if (is_datagram && info.clen && end != whole.npos && static_cast<unsigned>(info.clen->len) > whole.size() - end - 4)
    return true;
  for (const pjsip_hdr_e once :
       {PJSIP_H_CALL_ID, PJSIP_H_CONTENT_LENGTH, PJSIP_H_CSEQ, PJSIP_H_FROM, PJSIP_H_MAX_FORWARDS, PJSIP_H_TO}) {
    const auto* first = static_cast<pjsip_hdr*>(pjsip_msg_find_hdr(info.msg, once, nullptr));
    if (first && first->next != &info.msg->hdr && pjsip_msg_find_hdr(info.msg, once, first->next))
      return true;
  }
  return false;
}

// What Require asks for and we cannot do (RFC 3261 section 8.2.2.3), as an Unsupported header; false: nothing.
bool add_unsupported(const pjsip_rx_data* rdata, pjsip_hdr* headers) {
  const auto* require = static_cast<pjsip_require_hdr*>(
      pjsip_msg_find_hdr(rdata->msg_info.msg, PJSIP_H_REQUIRE, nullptr));
  if (!require)
    return false;
  pjsip_unsupported_hdr* unsupported = pjsip_unsupported_hdr_create(rdata->tp_info.pool);
  for (unsigned i = 0; i < require->count && unsupported->count < PJSIP_GENERIC_ARRAY_MAX_COUNT; ++i) {
    if (!pjsip_endpt_has_capability(pjsua_get_pjsip_endpt(), PJSIP_H_SUPPORTED, nullptr, &require->values[i]))
      unsupported->values[unsupported->count++] = require->values[i];
  }
  if (unsupported->count == 0)
    return false;
  pj_list_push_back(headers, unsupported);
  return true;
}

// Without a transaction: a flood of them takes no memory.
void respond(pjsip_rx_data* rdata, int status) {
  pjsip_hdr headers;
  pj_list_init(&headers);
  if (status == PJSIP_SC_METHOD_NOT_ALLOWED)
    add_capability(rdata->tp_info.pool, &headers, PJSIP_H_ALLOW);
  if (status == PJSIP_SC_BAD_EXTENSION)
    add_unsupported(rdata, &headers);
  pjsip_endpt_respond_stateless(pjsua_get_pjsip_endpt(), rdata, status, nullptr, &headers, nullptr);
}

// A refusal of pjsua's takes 30 KB for the 32 s that its transaction lasts, which whoever likes could fill the memory
// with. So of the invitations of those who may not call, some each second are pjsua's to refuse, and to tell of.
constexpr int64_t strangers_per_s = 20;
std::set<std::string, std::less<>> callers; // on pjsip's thread alone
int64_t strangers_second = 0, strangers = 0, refused = 0;

// An address as text, also of IPv4 on a socket for both.
std::string_view plain_address(std::string_view address) {
  constexpr std::string_view mapped = "::ffff:";
  if (address.substr(0, mapped.size()) == mapped)
    address.remove_prefix(mapped.size());
  return address;
}

bool is_caller(std::string_view address) {
  return callers.find(plain_address(address)) != callers.end();
}

bool is_one_too_many(const pjsip_rx_data* rdata) {
  const pj_str_t replaces = text("Replaces"); // of no dialog, which is refused without a transaction, or of a live one
  if (is_caller(rdata->pkt_info.src_name) || rdata->msg_info.to->tag.slen > 0 ||
      pjsip_msg_find_hdr_by_name(rdata->msg_info.msg, &replaces, nullptr))
    return false;
  if (strangers_second != rdata->pkt_info.timestamp.sec) {
    strangers_second = rdata->pkt_info.timestamp.sec;
    strangers = 0;
  }
  return ++strangers > strangers_per_s;
}

pj_bool_t on_request(pjsip_rx_data* rdata) {
  if (is_any_of(rdata, "ACK", "CANCEL"))
    return PJ_FALSE;
  if (is_contradictory(rdata)) {
    respond(rdata, PJSIP_SC_BAD_REQUEST);
    return PJ_TRUE;
  }
  if (is(rdata, "INVITE")) { // whose Require pjsip heeds
    if (!is_one_too_many(rdata))
      return PJ_FALSE;
    ++refused;
    respond(rdata, PJSIP_SC_FORBIDDEN);
    return PJ_TRUE;
  }
  pjsip_hdr unsupported;
  pj_list_init(&unsupported);
  if (!is(rdata, "BYE") && add_unsupported(rdata, &unsupported)) {
    respond(rdata, PJSIP_SC_BAD_EXTENSION);
    return PJ_TRUE;
  }
  // pjsua would take a MESSAGE in a dialog, and nobody would read it; pjsip lets a REGISTER pass by all dialogs.
  if (is_any_of(rdata, "MESSAGE", "REGISTER")) {
    respond(rdata, PJSIP_SC_METHOD_NOT_ALLOWED);
    return PJ_TRUE;
  }
  if (rdata->msg_info.to->tag.slen > 0) {
    join_dialog(rdata);
    return PJ_FALSE; // pjsip's 481 if there is no such dialog
  }
  if (is(rdata, "OPTIONS"))
    return PJ_FALSE;
  if (is_any_of(rdata, "SUBSCRIBE", "REFER")) // nobody may watch, or have us call, out of a call
    respond(rdata, PJSIP_SC_FORBIDDEN);
  else if (is_any_of(rdata, "BYE", "INFO", "NOTIFY", "PRACK", "UPDATE"))
    respond(rdata, PJSIP_SC_CALL_TSX_DOES_NOT_EXIST);
  else
    respond(rdata, PJSIP_SC_METHOD_NOT_ALLOWED);
  return PJ_TRUE;
}

// Before dialogs and pjsua; transactions have taken out what is repeated.
pjsip_module all_requests = {
    nullptr, nullptr, {const_cast<char*>("mod-rest"), 8}, -1, PJSIP_MOD_PRIORITY_UA_PROXY_LAYER - 1,
    nullptr, nullptr, nullptr, nullptr, &on_request, nullptr, nullptr, nullptr, nullptr,
};

// pjsip's modules name what they know, also what is refused here whoever asks; Allow and Accept are to be true.
void keep(pjsip_endpoint* endpoint, int type, std::initializer_list<std::string_view> true_ones) {
  auto* header = reinterpret_cast<pjsip_generic_array_hdr*>(
      const_cast<pjsip_hdr*>(pjsip_endpt_get_capability(endpoint, type, nullptr)));
  if (!header)
    return;
  unsigned kept = 0;
  for (unsigned i = 0; i < header->count; ++i) {
    if (std::find(true_ones.begin(), true_ones.end(), view(header->values[i])) != true_ones.end())
      header->values[kept++] = header->values[i];
  }
  header->count = kept;
}

} // namespace
%}

%inline %{
// Once for an endpoint, after libInit. The status of pjlib, 0 for success.
int answerAllRequests() {
  pjsip_endpoint* endpoint = pjsua_get_pjsip_endpt();
  if (!endpoint)
    return PJ_EINVALIDOP;
  keep(endpoint, PJSIP_H_ALLOW,
       {"INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "PRACK", "UPDATE", "INFO", "REFER", "NOTIFY"});
  keep(endpoint, PJSIP_H_ACCEPT, {"application/sdp"});
  const pj_status_t status = pjsip_endpt_register_module(endpoint, &in_dialog);
  return status != PJ_SUCCESS ? status : pjsip_endpt_register_module(endpoint, &all_requests);
}

// The addresses whose invitations are never too many. On pjsip's thread, as what follows.
void setCallers(const std::vector<std::string>& addresses) { callers = {addresses.begin(), addresses.end()}; }

// How many invitations were refused without asking anybody, since the last time.
int takeRefused() { return static_cast<int>(std::exchange(refused, 0)); }

// What we ask for in a call that came over TLS goes to whoever shows a certificate for `host`, as in a call of ours, where
// pjsip does so itself: the peer's Contact most often has an address, of which certificates say nothing. By pjsua's number
// of the call, and on pjsip's thread.
void setServerName(int number, const std::string& host) {
  const pj_str_t name = text(host.c_str());
  if (pjsip_dialog* dialog = dialog_of(number))
    pj_strdup(dialog->pool, &dialog->initial_dest, &name);
}

// Answers a request of a dialog within the callback that tells of it, before pjsua does anything about it. `name` and
// `value` are a header, none with an empty name. The status of pjlib, 0 for success.
int respondInDialog(const pj::SipTransaction& transaction, const pj::SipRxData& rdata, int status,
                    const std::string& name, const std::string& value) {
  auto* request = static_cast<pjsip_rx_data*>(rdata.pjRxData);
  auto* of = static_cast<pjsip_transaction*>(transaction.pjTransaction);
  pjsip_dialog* dialog = of ? pjsip_tsx_get_dlg(of) : nullptr;
  if (!dialog || !request)
    return PJ_EINVAL;
  pjsip_hdr headers;
  pj_list_init(&headers);
  if (!name.empty())
    add_header(request->tp_info.pool, &headers, name.c_str(), value.c_str());
  return pjsip_dlg_respond(dialog, request, status, nullptr, &headers, nullptr);
}
%}
