/*! sdpserver client, MIT */
// Client of sdpserver for browsers: an SDP offer over HTTP in, a call to a PBX out. No dependency, no build step.
// As a script tag this file sets `WebRTCSDPClient` and `SdpServerError`; `index.js` exports them as an ES module.
(() => {
  "use strict";

  const EVENTS_CHANNEL = "events";
  const RESTART_AFTER_MS = [0, 1000, 3000];
  const DTMF_WAIT_MS = 500;
  const RECORD = {
    start: { record: true },
    pause: { record: true, pause: true },
    resume: { record: true, pause: false },
    stop: { record: false },
  };

  /** A request that failed. `code` is the HTTP status, 0 when no reply came (`reason`: network, timeout, aborted). */
  class SdpServerError extends Error {
    constructor(message, details = {}) {
      super(message);
      this.name = "SdpServerError";
      this.code = details.code ?? 0;
      this.reason = details.reason ?? "unknown";
      this.sessionId = details.session_id ?? null;
      this.requestId = details.request_id ?? null;
      this.sipStatus = details.sip_status ?? null;
      this.sipReason = details.sip_reason ?? null;
      this.retryAfterS = details.retry_after_s ?? null;
    }
  }

  /** The members that have a value: the server refuses unknown ones, and `undefined` is none. */
  const present = (members) => Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));

  class WebRTCSDPClient {
    #url;
    #headers;
    #timeoutMs;

    /** @param options the server's URL, or {baseUrl, apiKey, token, timeoutMs}; without baseUrl: the page's own origin. */
    constructor(options = {}) {
      const { baseUrl = "", apiKey, token, timeoutMs = 10000 } = typeof options === "string" ? { baseUrl: options } : options;
      this.#url = baseUrl.replace(/\/+$/, "");
      this.#headers = present({ "X-API-Key": apiKey, Authorization: token && `Bearer ${token}` });
      this.#timeoutMs = timeoutMs;
    }

    async #request(method, path, { body, signal, keepalive, holdMs = 0 } = {}) {
      const limit = new AbortController();
      const abort = () => limit.abort();
      let timedOut = false;
      const timer = setTimeout(() => {
        timedOut = true;
        abort();
      }, this.#timeoutMs + holdMs);
      signal?.addEventListener("abort", abort);
      if (signal?.aborted) abort();
      try {
        const response = await fetch(this.#url + path, {
          method,
          keepalive,
          signal: limit.signal,
          headers: body ? { ...this.#headers, "Content-Type": "application/json" } : this.#headers,
          body: body && JSON.stringify(body),
        });
        const text = await response.text();
        let reply;
        try {
          reply = JSON.parse(text);
        } catch {
          throw new SdpServerError(`${path}: the reply (${response.status}) is not sdpserver's`, {
            code: response.status,
            reason: "invalid_response",
          });
        }
        if (response.ok) return reply;
        const retryAfter = Number(response.headers.get("Retry-After")) || null;
        throw new SdpServerError(reply.error ?? `${path}: ${response.status}`, {
          code: response.status,
          retry_after_s: retryAfter,
          ...reply,
        });
      } catch (error) {
        if (error instanceof SdpServerError) throw error;
        const reason = timedOut ? "timeout" : signal?.aborted ? "aborted" : "network";
        throw new SdpServerError(`${path}: ${timedOut ? "no reply in time" : error.message}`, { reason });
      } finally {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
      }
    }

    /** For `new RTCPeerConnection({iceServers})`. */
    getIceServers({ signal } = {}) {
      return this.#request("GET", "/iceservers", { signal });
    }

    /**
     * Open a session, or, with `sessionId` and `resumeToken`, offer again for a living one.
     * @param offer an SDP text or an RTCSessionDescription
     */
    async sendOffer(offer, { to, call, metadata, sessionId, resumeToken, signal } = {}) {
      const options = to === undefined ? call : { ...call, to };
      const held = options?.wait_for && options.wait_for !== "none";
      const reply = await this.#request("POST", "/webrtc/offer", {
        signal,
        holdMs: held ? (options.ring_timeout_s ?? 60) * 1000 : 0,
        body: present({
          sdp: { type: "offer", sdp: typeof offer === "string" ? offer : offer.sdp },
          session_id: sessionId,
          resume_token: resumeToken,
          metadata,
          call: options,
        }),
      });
      return {
        sdp: reply.sdp,
        sessionId: reply.session_id,
        resumeToken: reply.resume_token,
        iceCandidates: reply.ice_candidates,
        metadata: reply.metadata,
        call: reply.call,
      };
    }

    /** Offer text in, answer text out, when nothing else of the reply is needed. */
    async exchangeSdp(sdp, options) {
      return (await this.sendOffer(sdp, options)).sdp.sdp;
    }

    /** Trickle one candidate or an array of them; null ends them. */
    sendIceCandidate(sessionId, candidate, { signal } = {}) {
      const many = Array.isArray(candidate);
      const body = { session_id: sessionId, [many ? "candidates" : "candidate"]: candidate };
      return this.#request("POST", "/webrtc/ice-candidate", { signal, body });
    }

    /** Hang up. Again within the server's `linger_s`: no error. `keepalive` lets it outlive the page. */
    closeSession(sessionId, reason, { signal, keepalive } = {}) {
      const body = present({ session_id: sessionId, reason });
      return this.#request("POST", "/webrtc/close", { signal, keepalive, body });
    }

    #order(action, callId, { signal, ...members } = {}) {
      return this.#request("POST", `/api/call/${action}`, { signal, body: present({ callId, ...members }) });
    }

    /** Press keys toward the far end, or by `leg: "webrtc"` toward the browser; by the server, not by the page. */
    sendDtmf(callId, digits, options) {
      return this.#order("dtmf", callId, { ...options, digits });
    }

    /** Have one side, or both, hear a file of the server's `sounds_dir` instead of the call. */
    play(callId, file, options) {
      return this.#order("play", callId, { ...options, file });
    }

    /** End what `play` began. */
    stopPlaying(callId, options) {
      return this.#order("play", callId, { ...options, stop: true });
    }

    /** `start`, `pause`, `resume` or `stop` the recording of an answered call. */
    record(callId, action = "start", options) {
      return this.#order("record", callId, { ...options, ...RECORD[action] });
    }

    /** Let the others hear silence instead of one side of a call; `false`: hear it again. */
    mute(callId, muted = true, options) {
      return this.#order("mute", callId, { ...options, mute: muted });
    }

    /** Put all sides of these calls into one room, a new one without a name. */
    conference(callIds, room, options) {
      return this.#order("conference", undefined, { ...options, callIds, room });
    }

    /**
     * A whole call: microphone, offer, answer, remote audio. Resolves when the answer is set; `session.connected`
     * resolves when media flows.
     *
     * to, call, metadata, signal   as for sendOffer
     * pc          a connection of your own, with its tracks; then no microphone is asked for
     * stream      what to send instead of the microphone; false: only listen
     * audio       an <audio> element that plays the far end
     * storageKey  keeps the session in sessionStorage under this name, so that a reloaded page goes on with its call
     * onEvent     called with each of the server's events
     */
    async setupSession(options = {}) {
      const { pc: given, stream, storageKey, signal } = options;
      let microphone = null;
      const session = new Session(this, options);
      try {
        if (given) {
          session.pc = given;
        } else {
          const listening = stream === false;
          const [iceServers, media] = await Promise.all([
            this.getIceServers({ signal }),
            listening ? null : (stream ?? navigator.mediaDevices.getUserMedia({ audio: true }).then((it) => (microphone = it))),
          ]);
          session.pc = new RTCPeerConnection({ iceServers, bundlePolicy: "max-bundle" });
          if (listening) session.pc.addTransceiver("audio", { direction: "recvonly" });
          else for (const track of media.getTracks()) session.pc.addTrack(track, media);
        }
        session.microphone = microphone;
        session.listen();
        const kept = storageKey && Session.kept(storageKey);
        await session.open(kept ?? { sessionId: options.sessionId, resumeToken: options.resumeToken }, Boolean(kept));
        return session;
      } catch (error) {
        if (session.id) this.closeSession(session.id, "setup_failed").catch(() => {});
        microphone?.getTracks().forEach((track) => track.stop());
        if (!given) session.pc?.close();
        throw error;
      }
    }
  }

  /** A call. Dispatches `event` (detail: the server's event), `track`, `connected` and `closed` (detail: the reason). */
  class Session extends EventTarget {
    #client;
    #options;
    #restarting = false;
    #negotiating = Promise.resolve();
    #onPageHide = () => {
      if (!this.#options.storageKey) this.#client.closeSession(this.id, "page_closed", { keepalive: true }).catch(() => {});
    };

    constructor(client, options) {
      super();
      this.#client = client;
      this.#options = options;
      this.pc = null;
      this.id = null;
      this.resumeToken = null;
      this.call = null;
      this.stream = null;
      this.closed = false;
      this.closeReason = null;
      this.resumed = false;
      this.connected = new Promise((resolve, reject) => {
        this.addEventListener("connected", () => resolve(this), { once: true });
        this.addEventListener("closed", ({ detail }) => reject(new SdpServerError(`the session ended: ${detail}`, { reason: detail })), { once: true });
      });
      this.connected.catch(() => {}); // nobody has to wait for it
    }

    static kept(storageKey) {
      try {
        return JSON.parse(sessionStorage.getItem(storageKey)) ?? undefined;
      } catch {
        return undefined;
      }
    }

    #keep(value) {
      const { storageKey } = this.#options;
      if (!storageKey) return;
      if (value) sessionStorage.setItem(storageKey, JSON.stringify(value));
      else sessionStorage.removeItem(storageKey);
    }

    listen() {
      const { pc } = this;
      pc.addEventListener("track", ({ track, streams }) => {
        this.stream = streams[0] ?? new MediaStream([track]);
        const { audio } = this.#options;
        if (audio) {
          audio.srcObject = this.stream;
          audio.play?.().catch(() => {}); // the page may need a click first; its element shows that
        }
        this.dispatchEvent(new CustomEvent("track", { detail: this.stream }));
      });
      pc.addEventListener("connectionstatechange", () => {
        if (pc.connectionState === "connected") this.dispatchEvent(new CustomEvent("connected"));
        else if (pc.connectionState === "failed") this.restartIce().catch(() => this.#finish("connection_failed"));
        else if (pc.connectionState === "closed") this.#finish("closed");
      });
      const channel = pc.createDataChannel(EVENTS_CHANNEL);
      channel.addEventListener("message", ({ data }) => this.#onEvent(JSON.parse(data)));
      channel.addEventListener("close", () => this.#onChannelClosed());
      globalThis.addEventListener?.("pagehide", this.#onPageHide);
    }

    #onEvent(event) {
      if (event.type === "closed" || event.type === "ended") this.closeReason = event.data.reason;
      this.#options.onEvent?.(event);
      this.dispatchEvent(new CustomEvent("event", { detail: event }));
      if (event.type === "closed") this.#finish(event.data.reason);
    }

    /** The server's close_notify ends the channels at once, the connection's state follows seconds later. */
    #onChannelClosed() {
      if (!this.#restarting) this.#finish(this.closeReason ?? "closed");
    }

    /** The first offer, for a new session or a kept one. A kept one that is gone by now is replaced by a new one. */
    async open(resume, kept) {
      const { signal } = this.#options;
      try {
        await this.#offer({ ...resume, signal });
        this.resumed = kept;
      } catch (error) {
        if (!kept || ![404, 409].includes(error.code)) throw error;
        await this.#offer({ signal });
      }
    }

    async #offer(options) {
      const { to, call, metadata } = this.#options;
      await this.pc.setLocalDescription();
      const answer = await this.#client.sendOffer(this.pc.localDescription, { to, call, metadata, ...options });
      this.id = answer.sessionId;
      this.resumeToken = answer.resumeToken;
      this.call = answer.call;
      this.#keep({ sessionId: this.id, resumeToken: this.resumeToken });
      await this.pc.setRemoteDescription(answer.sdp);
    }

    /** Offer again, after a change of tracks or directions; one at a time. The call itself is not touched. */
    negotiate() {
      const turn = () => this.#offer({ sessionId: this.id, resumeToken: this.resumeToken });
      this.#negotiating = this.#negotiating.then(turn, turn);
      return this.#negotiating;
    }

    /** A new path for the same call: what to do after a change of network. Without a reply it is tried again. */
    async restartIce() {
      if (this.closed || this.#restarting) return;
      this.#restarting = true;
      try {
        for (const [tries, wait] of RESTART_AFTER_MS.entries()) {
          await new Promise((resolve) => setTimeout(resolve, wait));
          if (this.closed) return;
          try {
            this.pc.restartIce();
            return await this.negotiate();
          } catch (error) {
            if (error.code !== 0 || tries + 1 === RESTART_AFTER_MS.length) throw error;
          }
        }
      } finally {
        this.#restarting = false;
      }
    }

    /** `sendrecv`, `sendonly`, `recvonly` or `inactive`: hold and resume without touching the far end. */
    async setDirection(direction) {
      for (const transceiver of this.pc.getTransceivers()) transceiver.direction = direction;
      await this.negotiate();
    }

    /** Press keys: digits, *, #, A-D; a comma waits two seconds. Resolves when they are on their way. */
    async sendDtmf(digits, durationMs = 100) {
      const dtmf = this.pc.getSenders().find((sender) => sender.dtmf)?.dtmf;
      // Chromium is connected a moment before it can send; Firefox does not tell.
      for (let waited = 0; dtmf?.canInsertDTMF === false && waited < DTMF_WAIT_MS; waited += 10) {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      if (!dtmf || dtmf.canInsertDTMF === false) {
        throw new SdpServerError("this connection cannot send DTMF", { reason: "no_dtmf" });
      }
      dtmf.insertDTMF(digits, durationMs);
    }

    /** Hang up and close the connection. Idempotent. */
    async close(reason) {
      if (this.closed) return;
      this.#finish(reason ?? "normal_clearing");
      await this.#client.closeSession(this.id, reason).catch((error) => {
        if (error.code !== 404) throw error;
      });
    }

    #finish(reason) {
      if (this.closed) return;
      this.closed = true;
      this.closeReason = reason;
      this.#keep(null);
      globalThis.removeEventListener?.("pagehide", this.#onPageHide);
      this.microphone?.getTracks().forEach((track) => track.stop());
      this.pc.close();
      this.dispatchEvent(new CustomEvent("closed", { detail: reason }));
    }
  }

  Object.assign(globalThis, { WebRTCSDPClient, SdpServerError });
})();
