/*! sdpserver agent client, MIT */
// An agent's softphone for browsers: a DN registered over one WebSocket, each call with a connection of its own.
// No dependency, no build step. As a script tag this file sets `SdpServerAgent`, `AgentCall` and `SdpServerAgentError`;
// `index.js` exports them as an ES module.
(() => {
  "use strict";

  const SUBPROTOCOL = "sdpserver.v1";
  const RETRY_MS = 500;
  const MAX_RETRY_MS = 30000;
  const PING_MS = 20000;
  const RESTART_AFTER_MS = 3000;
  const RING_AGAIN_MS = 2000;
  const ICE_SERVERS_LAST_MS = 300000;
  const POLICY_VIOLATION = 1008; // RFC 6455 section 7.4.1: we sent too much, or read too little
  const RETRIES_AFTER_VIOLATION = 4;
  const EVENTS_OF_CALLS = {
    callProgress: "progress",
    callAccepted: "accepted",
    callEnded: "ended",
    held: "held",
    resumed: "resumed",
    muted: "muted",
    dtmf: "dtmf",
    transferred: "transferred",
    recording: "recording",
    quality: "quality",
  };

  /** An order that failed. `reason` is the server's word, or `timeout`, `disconnected`, `closed`. */
  class SdpServerAgentError extends Error {
    constructor(message, { reason = "unknown", code = 0, details = null } = {}) {
      super(message);
      this.name = "SdpServerAgentError";
      this.reason = reason;
      this.code = code;
      this.details = details;
    }
  }

  const failed = (payload, what) =>
    new SdpServerAgentError(payload.message ?? payload.reason ?? `${what} was refused`, {
      reason: payload.details?.reason ?? payload.reason,
      code: payload.code,
      details: payload.details,
    });

  /** The members that have a value: the server refuses unknown ones, and `undefined` is none. */
  const present = (members) => Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));

  /** EventTarget, and `on`, whose listeners get the detail itself. */
  class Emitter extends EventTarget {
    /** Returns a function that takes the listener off again. */
    on(type, listener) {
      const wrapped = ({ detail }) => listener(detail);
      this.addEventListener(type, wrapped);
      return () => this.removeEventListener(type, wrapped);
    }

    emit(type, detail) {
      this.dispatchEvent(new CustomEvent(type, { detail }));
    }
  }

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
   * Dispatches `registered`, `registrationFailed`, `disconnected`, `incomingCall`, `callResumed`, `callEnded`, `error`.
   */
  class SdpServerAgent extends Emitter {
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

    /** `idle`, `connecting`, `registered`, `reconnecting` or `closed`. */
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

    #onRegistered(payload) {
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
      if (this.#state === "registered") this.#heartbeat();
      const waiting = this.#waiting.get(id);
      const isFailure = type === "error" || type === "registrationFailed";
      if (waiting && isFailure) return waiting.reject(failed(payload, waiting.what));
      if (type === "registered") this.#onRegistered(payload);
      waiting?.resolve(payload);
      if (type === "incomingCall") this.#onIncomingCall(payload);
      else if (type === "error") this.emit("error", failed(payload, "error"));
      else this.#calls.get(payload.callId)?.handle(type, payload, Boolean(waiting?.reoffer));
    }

    #onIncomingCall(payload) {
      const { sdp, ...info } = payload;
      if (this.#calls.has(info.callId)) return this.#calls.get(info.callId).ring(sdp);
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

  /**
   * A call. Dispatches `progress`, `accepted`, `connected` (media flows), `stream`, `held`, `resumed`, `muted`, `dtmf`,
   * `transferred`, `recording`, `quality` and `ended`, with the server's payload.
   */
  class AgentCall extends Emitter {
    #agent;
    #offer = null; // the server's, of a call that rings
    #awaits = null; // `call`: the answer to the first offer, `reoffer`: to a later one
    #answering = null;
    #tracks = [];
    #audio = null;
    #restarting = null;
    #timer = null;
    #settle = {};

    constructor(agent, { callId, state, direction = "outbound", from, to, displayName, held = false, muted = false, ...info }) {
      super();
      this.#agent = agent;
      this.id = callId;
      this.state = state;
      this.direction = direction;
      this.from = from ?? null;
      this.to = to ?? null;
      this.displayName = displayName ?? null;
      this.info = info;
      this.held = held;
      this.heldByFarEnd = false;
      this.muted = muted;
      this.recording = false;
      this.pc = null;
      this.stream = null;
      this.endReason = null;
      this.answered = new Promise((resolve, reject) => (this.#settle = { resolve, reject }));
      this.answered.catch(() => {}); // nobody has to wait for it
      if (state === "answered") this.#settle.resolve(this);
    }

    get ended() {
      return this.state === "ended";
    }

    // -- media

    async #connect(stream) {
      const given = stream ?? this.#agent.options.stream;
      const [iceServers, tracks] = await Promise.all([
        this.#agent.iceServers(),
        given === false
          ? []
          : given
            ? given.getAudioTracks().map((track) => track.clone()) // so that mute and the end are this call's alone
            : navigator.mediaDevices.getUserMedia({ audio: true }).then((it) => it.getAudioTracks()),
      ]);
      this.#tracks = tracks;
      if (this.ended) {
        this.#release();
        throw new SdpServerAgentError("the call has ended", { reason: this.endReason });
      }
      this.#applyMute();
      const pc = new RTCPeerConnection({ iceServers, bundlePolicy: "max-bundle" });
      this.pc = pc;
      pc.addEventListener("track", ({ track, streams }) => this.#onTrack(streams[0] ?? new MediaStream([track])));
      pc.addEventListener("connectionstatechange", () => this.#onConnectionState(pc));
      const media = new MediaStream(tracks);
      for (const track of tracks) pc.addTrack(track, media);
      return pc;
    }

    #onTrack(stream) {
      this.stream = stream;
      if (this.#agent.options.audio !== false) {
        this.#audio ??= new Audio();
        this.#audio.srcObject = stream;
        this.#audio.play().catch((error) => this.emit("blocked", error)); // the page may need a click first
      }
      this.emit("stream", stream);
    }

    #onConnectionState(pc) {
      clearTimeout(this.#timer);
      if (pc !== this.pc || this.ended) return;
      const restart = () => this.restartIce().catch((error) => this.#agent.emit("error", error));
      if (pc.connectionState === "connected") this.emit("connected", this);
      else if (pc.connectionState === "disconnected") this.#timer = setTimeout(restart, RESTART_AFTER_MS);
      else if (pc.connectionState === "failed") restart();
    }

    async #sendOffer(members, onReply) {
      const { pc } = this;
      await pc.setLocalDescription();
      this.#awaits = members.callId ? "reoffer" : "call";
      try {
        await this.#agent.request("call", present({ ...members, sdp: pc.localDescription.sdp }), onReply);
      } catch (error) {
        this.#awaits = null;
        // The connection goes on as it was, and may offer again.
        if (pc.signalingState === "have-local-offer") await pc.setLocalDescription({ type: "rollback" });
        throw error;
      }
    }

    /** An event of the call has the answer to the first offer, which is none to an offer that is on its way. */
    #takeAnswer(sdp, isReoffer) {
      if (!sdp || this.#awaits !== (isReoffer ? "reoffer" : "call")) return;
      this.#awaits = null;
      this.pc.setRemoteDescription({ type: "answer", sdp }).catch((error) => {
        this.#agent.emit("error", error);
        if (!this.ended) this.hangup("media_error").catch(() => {});
      });
    }

    /** A new path for the same call: after a change of network. Also done by itself. */
    restartIce() {
      this.#restarting ??= (async () => {
        if (this.pc.signalingState !== "stable") return;
        this.pc.restartIce();
        await this.#sendOffer({ callId: this.id });
      })().finally(() => (this.#restarting = null));
      return this.#restarting;
    }

    #release() {
      for (const track of this.#tracks) track.stop();
      this.#tracks = [];
      clearTimeout(this.#timer);
      this.pc?.close();
      this.pc = null;
      if (this.#audio) this.#audio.srcObject = null;
    }

    #applyMute() {
      for (const track of this.#tracks) track.enabled = !this.muted;
    }

    // -- what the agent does with it

    /** For `SdpServerAgent.call`. */
    async dial(members, stream) {
      const pc = await this.#connect(stream);
      if (stream === false) pc.addTransceiver("audio", { direction: "recvonly" });
      try {
        await this.#sendOffer(members, ({ callId }) => {
          this.id = callId;
          this.#agent.track(this);
        });
      } catch (error) {
        this.finish({ reason: error.reason });
        throw error;
      }
    }

    /** For a call of before a reload: the connection that it lacks. */
    async reconnect() {
      await this.#connect();
      await this.#sendOffer({ callId: this.id });
    }

    /** How the server has it, after the agent was away. */
    sync({ state, held = false, muted = false }) {
      const answered = state === "answered" && this.state !== "answered";
      Object.assign(this, { state, held, muted });
      this.#applyMute();
      if (!answered) return;
      this.#settle.resolve(this);
      this.emit("accepted", { callId: this.id });
    }

    /** The server's offer; a later one is for a connection that was lost before the answer. */
    ring(sdp) {
      clearTimeout(this.#timer);
      this.#offer = sdp;
    }

    /** The agent was away: what still rings is told again. */
    expectRing() {
      this.#timer = setTimeout(() => this.finish({ reason: "lost" }), RING_AGAIN_MS);
    }

    handle(type, payload, isReoffer) {
      if (type === "iceCandidate") return void this.pc?.addIceCandidate(payload.candidate ?? undefined).catch(() => {}); // there are those of the SDP
      if (this.ended || !(type in EVENTS_OF_CALLS)) return;
      if (type === "callEnded") return this.finish(payload);
      this.#takeAnswer(payload.sdp, isReoffer);
      if (isReoffer) return;
      if (type === "callProgress") this.state = payload.state ?? this.state;
      else if (type === "callAccepted") this.#onAccepted();
      else if (type === "held" || type === "resumed") this[payload.by === "remote" ? "heldByFarEnd" : "held"] = type === "held";
      else if (type === "recording") this.recording = !["stopping", "stopped", "failed"].includes(payload.state);
      else if (type === "muted" && payload.leg !== "sip") {
        this.muted = payload.muted;
        this.#applyMute();
      }
      this.emit(EVENTS_OF_CALLS[type], payload);
    }

    #onAccepted() {
      this.state = "answered";
      this.#settle.resolve(this);
    }

    /** It is over: by the server's word, or because there is no server any more. */
    finish(payload) {
      if (this.ended) return;
      this.state = "ended";
      this.endReason = payload.reason ?? "normal_clearing";
      this.sipStatus = payload.sipStatus ?? null;
      this.durationS = payload.duration ?? null;
      this.#release();
      this.#settle.reject(new SdpServerAgentError(`the call ended: ${this.endReason}`, { reason: this.endReason, details: payload }));
      this.emit("ended", payload);
      this.#agent.forget(this, payload);
    }

    // -- what a page does with it

    #order(type, members) {
      return this.#agent.request(type, present({ callId: this.id, ...members }));
    }

    /** Take a call that rings. `stream`: what is sent instead of the microphone; false: only listen. Idempotent. */
    answer(stream) {
      this.#answering ??= this.#answer(stream);
      return this.#answering;
    }

    async #answer(stream) {
      if (!this.#offer) throw new SdpServerAgentError("there is nothing to answer", { reason: "not_ringing" });
      try {
        const pc = await this.#connect(stream);
        await pc.setRemoteDescription({ type: "offer", sdp: this.#offer });
        await pc.setLocalDescription();
        clearTimeout(this.#timer);
        await this.#order("answer", { sdp: pc.localDescription.sdp });
      } catch (error) {
        this.#release();
        this.#answering = null; // the page may try again, say with a microphone
        throw error;
      }
      return this;
    }

    reject(reason) {
      return this.#order("reject", { reason });
    }

    /** Resolves at once for a call that has ended. */
    async hangup(reason) {
      if (this.ended) return;
      try {
        await this.#order("hangup", { reason });
      } catch (error) {
        if (error.reason !== "call_not_found") throw error; // it has ended by itself
      } finally {
        this.finish({ reason: reason ?? "normal_clearing" });
      }
    }

    hold() {
      return this.#order("hold", { hold: true });
    }

    resume() {
      return this.#order("hold", { hold: false });
    }

    /** Nothing leaves the page from here on, whatever becomes of the order. */
    mute(muted = true) {
      this.muted = muted;
      this.#applyMute();
      return this.#order("mute", { mute: muted });
    }

    /** Press keys: digits, *, #, A-D. `method`: `rfc4733` or `info`. */
    sendDtmf(digits, { durationMs, method } = {}) {
      return this.#order("dtmf", { digits, durationMs, method });
    }

    record(record = true) {
      return this.#order("record", { record });
    }

    /**
     * To a number (blind), or to the far end of a call made by `consult` (attended). Resolves when the server has begun;
     * the event `transferred` tells how it ends, by `state`: `completed` or `failed`.
     */
    transfer(to) {
      return this.#order("transfer", to instanceof AgentCall ? { consultCallId: to.id } : { to });
    }

    /** Hold this call and dial another; then `transfer(consultation)`, or hang it up and `resume`. */
    async consult(to, options) {
      await this.hold();
      try {
        return await this.#agent.call(to, options);
      } catch (error) {
        await this.resume().catch((it) => this.#agent.emit("error", it));
        throw error;
      }
    }
  }

  Object.assign(globalThis, { SdpServerAgent, AgentCall, SdpServerAgentError });
})();
