// A call of an agent: its connection, its state, and what can be done with it.
import { Emitter, SdpServerAgentError, present } from "./emitter.js";

const RESTART_AFTER_MS = 3000;
const RING_AGAIN_MS = 2000;
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

/**
 * A call. Dispatches `progress`, `accepted`, `connected` (media flows), `stream`, `held`, `resumed`, `muted`, `dtmf`,
 * `transferred`, `recording`, `quality` and `ended`, with the server's payload.
 */
export class AgentCall extends Emitter {
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
