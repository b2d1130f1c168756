// All of it as an ES module.
import "./webrtc-sdp-client.js";

export * from "./agent.js";
export const { WebRTCSDPClient, SdpServerError } = globalThis;
export default WebRTCSDPClient;
