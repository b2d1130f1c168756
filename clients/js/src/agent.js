/*! sdpserver agent client, MIT */
// An agent's softphone for browsers: a DN registered over one WebSocket, each call with a connection of its own.
// No dependency, no build step: `import { SdpServerAgent } from "/sdk/agent.js"`.
import { AgentCall } from "./agent-call.js";
import { Emitter, SdpServerAgentError, present } from "./emitter.js";

export { AgentCall, SdpServerAgentError };

const SUBPROTOCOL = "sdpserver.v1";
const RETRY_MS = 500;
const MAX_RETRY_MS = 30000;
const PING_MS = 20000;
const ICE_SERVERS_LAST_MS = 300000;
const POLICY_VIOLATION = 1008; // RFC 6455 section 7.4.1: we sent too much, or read too little
const RETRIES_AFTER_VIOLATION = 4;

const failed = (payload, what) =>
  new SdpServerAgentError(payload.message ?? payload.reason ?? `${what} was refused`, {
    reason: payload.details?.reason ?? payload.reason,
    code: payload.code,
    details: payload.details,
  });

/**
 * One agent's line.
 *
 * url          of the server's /ws, or of the server; empty: the page's own origin
 * dn           the number, with its `password` or a `token`
 * displayName, expires
 * iceServers   for RTCPeerConnection; left out: asked for at the server's /iceservers
 * stream       what all calls send; left out: each asks for the microphone
 * audio        false: the page plays `call.stream` itself
 * autoAnswer   false: calls that the server wants answered at once ring like others
 * timeoutMs    for a reply
 *
 * Dispatches `registered`, `registrationFailed`, `signedOff`, `disconnected`, `incomingCall`, `callResumed`, `callEnded`, `error`.
 */
export class SdpServerAgent extends Emitter {
  #options;
  #url;
  #socket = null;
  #state = "idle";
  #lastId = 0;
  #waiting = new Map();
  #calls = new Map();
  #retries = 0;
  #timers = {};
  #resumeToken = null;
  #hungUp = new Set(); // while there was no connection to say so
  #connected = null;
  #iceServers = null;
  #onOnline = () => this.#state === "reconnecting" && this.#open();
  #onPageHide = () => this.#keep(this.#resumeToken);
  #onPageShow = () => this.#keep(null);

  constructor(options) {
    super();
    this.#options = { timeoutMs: 10000, autoAnswer: true, ...options };
    const url = new URL(options.url || "/", globalThis.location?.href);
    url.protocol = url.protocol.replace("http", "ws");
    if (url.pathname === "/") url.pathname = "/ws";
    if (options.token) url.searchParams.set("token", options.token);
    this.#url = url;
  }

  get dn() {
    return this.#options.dn;
  }

  /** `idle`, `connecting`, `registered`, `signedOff` (by an agent desktop), `reconnecting` or `closed`. */
  get state() {
    return this.#state;
  }

  /** Those that have not ended. */
  get calls() {
    return [...this.#calls.values()];
  }

  get options() {
    return this.#options;
  }

  // -- the connection

  /**
   * Connect and register; again whenever the connection drops, with the calls that were there. Resolves with what the
   * server says of the registration, rejects when it refuses.
   */
  connect() {
    if (this.#connected) return this.#connected.promise;
    const connected = {};
    connected.promise = new Promise((resolve, reject) => Object.assign(connected, { resolve, reject }));
    this.#connected = connected;
    this.#resumeToken = this.#keep(null);
    globalThis.addEventListener?.("online", this.#onOnline);
    globalThis.addEventListener?.("pagehide", this.#onPageHide);
    globalThis.addEventListener?.("pageshow", this.#onPageShow);
    this.#state = "connecting";
    this.#retries = 0;
    this.#open();
    return connected.promise;
  }

  /** Hang up all calls, unregister and disconnect. */
  async close() {
    if (this.#state === "closed") return;
    await Promise.allSettled(this.calls.map((call) => call.hangup()));
    if (this.#state === "registered") await this.request("unregister", { dn: this.dn }).catch(() => {});
    this.#stop(new SdpServerAgentError("the agent was closed", { reason: "closed" }));
  }

  #stop(error) {
    this.#state = "closed";
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    globalThis.removeEventListener?.("online", this.#onOnline);
    globalThis.removeEventListener?.("pagehide", this.#onPageHide);
    globalThis.removeEventListener?.("pageshow", this.#onPageShow);
    this.#connected?.reject(error);
    this.#connected?.promise.catch(() => {}); // nobody has to wait for it
    this.#connected = null;
    this.#drop();
    for (const call of this.calls) call.finish({ reason: error.reason });
  }

  /** The token to come back with after a reload; put away only then, since a tab's copy would have a copy of it. */
  #keep(token) {
    const key = `sdpserver-agent:${this.#url.host}:${this.dn}`;
    try {
      const kept = sessionStorage.getItem(key);
      if (token) sessionStorage.setItem(key, token);
      else sessionStorage.removeItem(key);
      return kept;
    } catch {
      return null; // a sandboxed page has no storage, and its calls do not survive a reload
    }
  }

  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    if (socket) socket.onopen = socket.onmessage = socket.onclose = null;
    socket?.close();
    const error = new SdpServerAgentError("the connection was lost", { reason: "disconnected" });
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
    clearTimeout(this.#timers.ping);
    clearTimeout(this.#timers.refresh);
  }

  #open() {
    this.#drop();
    clearTimeout(this.#timers.retry);
    const socket = new WebSocket(this.#url, SUBPROTOCOL);
    this.#socket = socket;
    socket.onopen = () => this.#register();
    socket.onmessage = ({ data }) => this.#onMessage(data);
    socket.onclose = ({ code, reason }) => this.#onLost(code, reason);
    this.#timers.ping = setTimeout(() => this.#onLost(0, "timeout"), this.#options.timeoutMs);
  }

  #onLost(code, reason) {
    this.#drop();
    if (code === POLICY_VIOLATION) this.#retries = Math.max(this.#retries, RETRIES_AFTER_VIOLATION);
    const delayMs = Math.round(Math.min(RETRY_MS * 2 ** this.#retries++, MAX_RETRY_MS) * (0.5 + Math.random() / 2));
    this.#state = "reconnecting";
    this.#timers.retry = setTimeout(() => this.#open(), delayMs);
    this.emit("disconnected", { code, reason, delayMs });
  }

  async #register() {
    const { dn, password, token, displayName, expires } = this.#options;
    const resumeToken = (this.#state !== "registered" && this.#resumeToken) || undefined;
    try {
      await this.request("register", present({ dn, password, token, displayName, expires, resumeToken }));
    } catch (error) {
      // Without a reply the connection is lost, which its own listener sees to.
      if (error.reason === "disconnected") return;
      if (error.reason === "timeout") return this.#onLost(0, "timeout");
      if (resumeToken) {
        this.#resumeToken = null; // it was gone for too long: its calls are over, the DN is still its own
        return this.#register();
      }
      this.emit("registrationFailed", error);
      if (this.#state !== "registered") this.#stop(error);
    }
  }

  /** `asked`: what this is the reply to, if anything. */
  #onRegistered(payload, asked) {
    if (payload.expires === 0 && asked !== "register") return asked || this.#onSignedOff(payload);
    const first = this.#state !== "registered";
    this.#state = "registered";
    this.#retries = 0;
    this.#resumeToken = payload.resumeToken ?? this.#resumeToken;
    if (payload.expires > 0) this.#timers.refresh = setTimeout(() => this.#register(), Math.min(payload.expires * 500, 2 ** 31 - 1));
    if (!first) return; // only refreshed
    this.#heartbeat();
    this.#reattach(payload.calls ?? []);
    this.#hungUp.clear();
    this.emit("registered", payload);
    this.#connected.resolve(payload);
  }

  /** By an agent desktop, which may sign the DN on again. */
  #onSignedOff(payload) {
    if (this.#state !== "registered") return;
    this.#state = "signedOff";
    clearTimeout(this.#timers.refresh);
    this.#resumeToken = null;
    this.emit("signedOff", payload);
  }

  /** What arrives within `timeoutMs` of a ping shows that the server is there. */
  #heartbeat() {
    clearTimeout(this.#timers.ping);
    this.#timers.ping = setTimeout(() => {
      this.#timers.ping = setTimeout(() => this.#onLost(0, "timeout"), this.#options.timeoutMs);
      if (this.#socket.readyState === WebSocket.OPEN) this.#send("ping", {});
    }, PING_MS);
  }

  /** The calls that the server still has. What it has taken and the page has no connection for gets one. */
  #reattach(listed) {
    const alive = new Set(listed.map(({ callId }) => callId));
    for (const call of this.calls) {
      if (alive.has(call.id)) continue;
      if (call.state === "incoming") call.expectRing();
      else call.finish({ reason: "lost" });
    }
    for (const info of listed) {
      const known = this.#calls.get(info.callId);
      known?.sync(info);
      if (known?.pc) {
        if (known.pc.connectionState !== "connected") known.restartIce().catch((error) => this.emit("error", error));
      } else if (this.#hungUp.has(info.callId)) {
        this.request("hangup", { callId: info.callId }).catch((error) => this.emit("error", error));
      } else {
        this.#reconnect(known ?? new AgentCall(this, { ...info, [info.direction === "inbound" ? "from" : "to"]: info.remote }));
      }
    }
  }

  async #reconnect(call) {
    this.track(call);
    try {
      await call.reconnect();
      this.emit("callResumed", call);
    } catch (error) {
      call.hangup("media_error").catch(() => {}); // the error below is the one that counts
      this.emit("error", error);
    }
  }

  // -- messages

  #send(type, payload) {
    if (this.#socket?.readyState !== WebSocket.OPEN) {
      throw new SdpServerAgentError(`${type}: not connected`, { reason: "disconnected" });
    }
    const id = String(++this.#lastId);
    this.#socket.send(JSON.stringify({ type, payload, id }));
    return id;
  }

  /** Send an order; resolves with the payload of its reply. `onReply` is called with it at once, before what follows. */
  request(type, payload, onReply) {
    return new Promise((resolve, reject) => {
      const id = this.#send(type, payload);
      const settle = (how) => (value) => {
        clearTimeout(timer);
        this.#waiting.delete(id);
        how(value);
      };
      const timer = setTimeout(
        () => settle(reject)(new SdpServerAgentError(`${type}: no reply in time`, { reason: "timeout" })),
        this.#options.timeoutMs,
      );
      this.#waiting.set(id, {
        reoffer: type === "call" && payload.callId !== undefined,
        what: type,
        reject: settle(reject),
        resolve: (reply) => {
          onReply?.(reply);
          settle(resolve)(reply);
        },
      });
    });
  }

  #onMessage(data) {
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      return this.emit("error", new SdpServerAgentError("a message is not JSON", { reason: "invalid_message" }));
    }
    const { type, payload = {}, id } = message;
    if (this.#state === "registered" || this.#state === "signedOff") this.#heartbeat();
    const waiting = this.#waiting.get(id);
    const isFailure = type === "error" || type === "registrationFailed";
    if (waiting && isFailure) return waiting.reject(failed(payload, waiting.what));
    if (type === "registered") this.#onRegistered(payload, waiting?.what);
    waiting?.resolve(payload);
    if (type === "incomingCall") this.#onIncomingCall(payload);
    else if (type === "error") this.emit("error", failed(payload, "error"));
    else this.#calls.get(payload.callId)?.handle(type, payload, Boolean(waiting?.reoffer));
  }

  #onIncomingCall(payload) {
    const { sdp, ...info } = payload;
    const known = this.#calls.get(info.callId);
    if (known) {
      known.ring(sdp);
      // Told once more, and now to answer: somebody has pressed the button elsewhere.
      if (info.autoAnswer && !known.info.autoAnswer) known.answer().catch((error) => this.emit("error", error));
      return;
    }
    const call = new AgentCall(this, { ...info, direction: "inbound", state: "incoming" });
    this.track(call);
    call.ring(sdp);
    this.emit("incomingCall", call);
    if (info.autoAnswer && this.#options.autoAnswer) call.answer().catch((error) => this.emit("error", error));
  }

  // -- calls

  /**
   * Dial.
   *
   * headers, metadata   for the SIP side and for the call record
   * stream              what is sent instead of the microphone; false: only listen
   *
   * Resolves as soon as the server has the call; `call.answered` resolves when the far end takes it.
   */
  async call(to, { headers, metadata, stream } = {}) {
    const call = new AgentCall(this, { callId: null, to, from: this.dn, direction: "outbound", state: "calling" });
    await call.dial({ to, headers, metadata }, stream);
    return call;
  }

  /** Put all sides of these calls into one room. */
  conference(calls, room) {
    return this.request("conference", present({ callIds: calls.map(({ id }) => id), room }));
  }

  /** For a new connection; asked for anew every five minutes, since TURN credentials expire. */
  async iceServers() {
    if (this.#options.iceServers) return this.#options.iceServers;
    const now = performance.now();
    if (!this.#iceServers || now - this.#iceServers.at > ICE_SERVERS_LAST_MS) {
      const url = new URL("iceservers", this.#url);
      url.protocol = url.protocol.replace("ws", "http");
      const { token } = this.#options;
      const headers = token ? { Authorization: `Bearer ${token}` } : {};
      try {
        const response = await fetch(url, { headers, signal: AbortSignal.timeout(this.#options.timeoutMs) });
        if (!response.ok) throw new Error(`/iceservers: ${response.status}`);
        this.#iceServers = { at: now, found: await response.json() };
      } catch (error) {
        // A server with a public address is reached without them.
        this.emit("error", new SdpServerAgentError(error.message, { reason: "no_ice_servers" }));
        return this.#iceServers?.found ?? [];
      }
    }
    return this.#iceServers.found;
  }

  track(call) {
    this.#calls.set(call.id, call);
  }

  forget(call, payload) {
    if (this.#state === "reconnecting") this.#hungUp.add(call.id);
    if (this.#calls.get(call.id) === call) this.#calls.delete(call.id);
    this.emit("callEnded", { call, ...payload });
  }
}
