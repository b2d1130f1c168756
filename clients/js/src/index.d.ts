// Types of sdpserver's client. The names in snake_case are the wire's own.

export * from "./agent.js";

export interface ClientOptions {
  /** The server's URL; empty: the page's own origin. */
  baseUrl?: string;
  /** Sent as X-API-Key. */
  apiKey?: string;
  /** Sent as Authorization: Bearer. */
  token?: string;
  /** For a reply; one that `wait_for` holds has `ring_timeout_s` on top. Default 10000. */
  timeoutMs?: number;
}

export interface CallOptions {
  to?: string;
  from?: string;
  display_name?: string;
  trunk?: string;
  headers?: Record<string, string>;
  codecs?: Array<"PCMU" | "PCMA" | "opus" | "G722">;
  record?: boolean;
  ring_timeout_s?: number;
  wait_for?: "answer" | "early" | "none";
}

export interface CallInfo {
  call_id: string;
  to: string;
  state: string;
}

export interface RequestOptions {
  signal?: AbortSignal;
}

export interface OfferOptions extends RequestOptions {
  /** Short for `call: {to}`. */
  to?: string;
  call?: CallOptions;
  metadata?: Record<string, unknown>;
  sessionId?: string;
  resumeToken?: string;
}

export interface Answer {
  sdp: { type: "answer"; sdp: string };
  sessionId: string;
  resumeToken: string;
  iceCandidates: RTCIceCandidateInit[];
  metadata: Record<string, unknown>;
  call: CallInfo;
}

export interface ServerEvent {
  id: number;
  type: string;
  /** ISO 8601, UTC. */
  at: string;
  /** Since the offer. */
  elapsed_ms: number;
  data: Record<string, unknown>;
}

/** The browser's side of a call, and the far end's. */
export type Leg = "webrtc" | "sip";

export type RecordAction = "start" | "pause" | "resume" | "stop";

export interface DtmfOptions extends RequestOptions {
  /** Toward whom; default `sip`. */
  leg?: Leg;
  /** Default: what the peer takes. */
  method?: "rfc4733" | "info" | "inband";
  durationMs?: number;
  gapMs?: number;
}

export interface PlayOptions extends RequestOptions {
  /** Who hears it; default `webrtc`. */
  leg?: Leg | "both";
}

/** What became of an order for a call. */
export interface CallStatus {
  callId: string;
  status: string;
}

export interface Recording {
  callId: string;
  status: "starting" | "recording" | "paused" | "stopping" | "stopped" | "failed";
  /** On the server. */
  path: string;
}

export interface SessionOptions extends OfferOptions {
  /** A connection of your own, with its tracks; then no microphone is asked for. */
  pc?: RTCPeerConnection;
  /** What to send instead of the microphone; false: only listen. */
  stream?: MediaStream | false;
  /** Plays the far end. */
  audio?: HTMLMediaElement;
  /** Keeps the session in sessionStorage under this name, so that a reloaded page goes on with its call. */
  storageKey?: string;
  onEvent?: (event: ServerEvent) => void;
}

export class SdpServerError extends Error {
  /** The HTTP status; 0: no reply came. */
  readonly code: number;
  readonly reason: string;
  readonly sessionId: string | null;
  readonly requestId: string | null;
  readonly sipStatus: number | null;
  readonly sipReason: string | null;
  readonly retryAfterS: number | null;
}

export interface SessionEventMap {
  event: CustomEvent<ServerEvent>;
  track: CustomEvent<MediaStream>;
  connected: CustomEvent<null>;
  closed: CustomEvent<string>;
}

export interface Session extends EventTarget {
  readonly pc: RTCPeerConnection;
  readonly id: string;
  readonly resumeToken: string;
  readonly call: CallInfo;
  /** The far end's audio, once its track is there. */
  readonly stream: MediaStream | null;
  readonly closed: boolean;
  /** The server's word for why it ended. */
  readonly closeReason: string | null;
  /** Whether a kept session was taken up again. */
  readonly resumed: boolean;
  /** Resolves when media flows, rejects when the session ends first. */
  readonly connected: Promise<Session>;
  negotiate(): Promise<void>;
  restartIce(): Promise<void>;
  setDirection(direction: RTCRtpTransceiverDirection): Promise<void>;
  sendDtmf(digits: string, durationMs?: number): Promise<void>;
  close(reason?: string): Promise<void>;
  addEventListener<K extends keyof SessionEventMap>(
    type: K,
    listener: (event: SessionEventMap[K]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
}

export class WebRTCSDPClient {
  constructor(options?: string | ClientOptions);
  getIceServers(options?: RequestOptions): Promise<RTCIceServer[]>;
  sendOffer(offer: string | RTCSessionDescriptionInit, options?: OfferOptions): Promise<Answer>;
  exchangeSdp(sdp: string, options?: OfferOptions): Promise<string>;
  sendIceCandidate(
    sessionId: string,
    candidate: RTCIceCandidateInit | null | Array<RTCIceCandidateInit | null>,
    options?: RequestOptions,
  ): Promise<{ session_id: string; status: "received" }>;
  closeSession(
    sessionId: string,
    reason?: string,
    options?: RequestOptions & { keepalive?: boolean },
  ): Promise<{ session_id: string; status: "closed" }>;
  sendDtmf(callId: string, digits: string, options?: DtmfOptions): Promise<CallStatus>;
  play(callId: string, file: string, options?: PlayOptions & { loop?: boolean }): Promise<CallStatus>;
  stopPlaying(callId: string, options?: PlayOptions): Promise<CallStatus>;
  record(callId: string, action?: RecordAction, options?: RequestOptions & { tone?: boolean }): Promise<Recording>;
  mute(callId: string, muted?: boolean, options?: RequestOptions & { leg?: Leg }): Promise<CallStatus>;
  conference(
    callIds: string[],
    room?: string,
    options?: RequestOptions,
  ): Promise<{ room: string; callIds: string[] }>;
  setupSession(options?: SessionOptions): Promise<Session>;
}

export default WebRTCSDPClient;

declare global {
  // eslint-disable-next-line no-var
  var WebRTCSDPClient: typeof import("./index.js").WebRTCSDPClient;
  // eslint-disable-next-line no-var
  var SdpServerError: typeof import("./index.js").SdpServerError;
}
