// What the agent and its calls have in common.

/** An order that failed. `reason` is the server's word, or `timeout`, `disconnected`, `closed`. */
export class SdpServerAgentError extends Error {
  constructor(message, { reason = "unknown", code = 0, details = null } = {}) {
    super(message);
    this.name = "SdpServerAgentError";
    this.reason = reason;
    this.code = code;
    this.details = details;
  }
}

/** The members that have a value: the server refuses unknown ones, and `undefined` is none. */
export const present = (members) => Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));

/** EventTarget, and `on`, whose listeners get the detail itself. */
export class Emitter extends EventTarget {
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
