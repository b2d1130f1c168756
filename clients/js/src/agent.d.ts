// Types of sdpserver's client for agents. Payloads are the server's, as it sends them.

export interface AgentOptions {
  /** Of the server's /ws, or of the server; empty: the page's own origin. */
  url?: string;
  dn: string;
  password?: string;
  /** In the place of a password. */
  token?: string;
  displayName?: string;
  /** Seconds for which a registration is asked for. */
  expires?: number;
  /** Left out: the server's /iceservers. */
  iceServers?: RTCIceServer[];
  /** What all calls send; left out: each asks for the microphone. */
  stream?: MediaStream;
  /** false: the page plays `call.stream` itself. */
  audio?: boolean;
  /** false: calls that the server wants answered at once ring like others. */
  autoAnswer?: boolean;
  /** For a reply. Default 10000. */
  timeoutMs?: number;
}

export type Payload = Record<string, unknown>;

export interface Registration extends Payload {
  dn: string;
  expires: number;
  server: string;
  resumeToken: string;
}

export interface Disconnection {
  /** RFC 6455 section 7.4.1; 0: the server did not answer. */
  code: number;
  reason: string;
  /** Until the next try. */
  delayMs: number;
}

export interface Ending extends Payload {
  reason: string;
  /** Seconds. */
  duration?: number;
  sipStatus?: number;
}

export class SdpServerAgentError extends Error {
  /** The server's word, or `timeout`, `disconnected`, `closed`. */
  readonly reason: string;
  readonly code: number;
  readonly details: unknown;
}

declare class Emitter<Events> extends EventTarget {
  /** Returns a function that takes the listener off again. */
  on<K extends keyof Events & string>(type: K, listener: (detail: Events[K]) => void): () => void;
  addEventListener<K extends keyof Events & string>(
    type: K,
    listener: (event: CustomEvent<Events[K]>) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
}

export interface AgentEvents {
  registered: Registration;
  registrationFailed: SdpServerAgentError;
  /** By an agent desktop: nothing rings here until it signs the DN on again, or the page connects anew. */
  signedOff: Payload;
  disconnected: Disconnection;
  incomingCall: AgentCall;
  /** A call of before a reload has a connection again. */
  callResumed: AgentCall;
  callEnded: Ending & { call: AgentCall };
  /** What went wrong without anyone waiting for it. */
  error: Error;
}

export interface DialOptions {
  headers?: Record<string, string>;
  metadata?: Record<string, unknown>;
  /** What is sent instead of the microphone; false: only listen. */
  stream?: MediaStream | false;
}

export class SdpServerAgent extends Emitter<AgentEvents> {
  constructor(options: AgentOptions);
  readonly dn: string;
  readonly state: "idle" | "connecting" | "registered" | "signedOff" | "reconnecting" | "closed";
  /** Those that have not ended. */
  readonly calls: AgentCall[];
  /** Connect and register; again whenever the connection drops. Rejects when the server refuses. */
  connect(): Promise<Registration>;
  /** Hang up all calls, unregister and disconnect. */
  close(): Promise<void>;
  /** Resolves as soon as the server has the call; `call.answered` when the far end takes it. */
  call(to: string, options?: DialOptions): Promise<AgentCall>;
  /** Put all sides of these calls into one room. */
  conference(calls: AgentCall[], room?: string): Promise<Payload>;
}

export interface CallEvents {
  progress: Payload;
  accepted: Payload;
  /** Media flows. */
  connected: AgentCall;
  stream: MediaStream;
  /** The browser does not play without a click. */
  blocked: Error;
  held: Payload;
  resumed: Payload;
  muted: Payload;
  dtmf: Payload;
  transferred: Payload;
  recording: Payload;
  quality: Payload;
  ended: Ending;
}

export interface AgentDtmfOptions {
  durationMs?: number;
  method?: "rfc4733" | "info";
}

export class AgentCall extends Emitter<CallEvents> {
  private constructor();
  readonly id: string;
  readonly direction: "inbound" | "outbound";
  /** `incoming`, `calling`, `ringing`, `early`, `answered` or `ended`. */
  readonly state: string;
  readonly from: string | null;
  readonly to: string | null;
  readonly displayName: string | null;
  /** What else the server said of it. */
  readonly info: Payload;
  /** By this agent. */
  readonly held: boolean;
  readonly heldByFarEnd: boolean;
  readonly muted: boolean;
  readonly recording: boolean;
  readonly ended: boolean;
  readonly endReason: string | null;
  readonly pc: RTCPeerConnection | null;
  /** The far end's audio. */
  readonly stream: MediaStream | null;
  /** Resolves when it is answered, rejects when it ends first. */
  readonly answered: Promise<AgentCall>;
  /** Take a call that rings. */
  answer(stream?: MediaStream | false): Promise<AgentCall>;
  reject(reason?: string): Promise<Payload>;
  hangup(reason?: string): Promise<void>;
  hold(): Promise<Payload>;
  resume(): Promise<Payload>;
  mute(muted?: boolean): Promise<Payload>;
  sendDtmf(digits: string, options?: AgentDtmfOptions): Promise<Payload>;
  record(record?: boolean): Promise<Payload>;
  /** To a number, or to the far end of a call made by `consult`. */
  transfer(to: string | AgentCall): Promise<Payload>;
  /** Hold this call and dial another. */
  consult(to: string, options?: DialOptions): Promise<AgentCall>;
  restartIce(): Promise<void>;
}
