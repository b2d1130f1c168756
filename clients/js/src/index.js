// The same classes as an ES module.
import "./webrtc-sdp-client.js";

export const { WebRTCSDPClient, SdpServerError } = globalThis;
export default WebRTCSDPClient;
