// The same classes as an ES module.
import "./webrtc-sdp-client.js";
import "./agent.js";

export const { WebRTCSDPClient, SdpServerError, SdpServerAgent, AgentCall, SdpServerAgentError } = globalThis;
export default WebRTCSDPClient;
