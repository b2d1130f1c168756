// A caller for tests. What it plays is recorded frame by frame, before any speaker, for Python to judge.
'use strict';

let pc, transceiver, answer, channel, sender;
const events = [];
const closed = {at: 0};
const frames = [];
let rate = 48000, played = 0;

async function record(track) {
  const reader = new MediaStreamTrackProcessor({track, maxBufferSize: 500}).readable.getReader();
  for (;;) {
    const {value, done} = await reader.read();
    if (done) return;
    const pcm = new Float32Array(value.numberOfFrames);
    value.copyTo(pcm, {planeIndex: 0, format: 'f32-planar'});
    rate = value.sampleRate;
    frames.push({at: played, rate, pcm});
    played += pcm.length / rate;
    value.close();
  }
}

function position() { return played; }

// From `start` seconds on. Frames of another rate, from before the first packet, are left out.
function recording(start) {
  const wanted = frames.filter(frame => frame.rate === rate && frame.at >= start - 0.005);
  const length = wanted.reduce((sum, frame) => sum + frame.pcm.length, 0);
  const whole = new Float32Array(length);
  let at = 0;
  for (const {pcm} of wanted) { whole.set(pcm, at); at += pcm.length; }
  const octets = new Uint8Array(whole.buffer);
  let text = '';
  for (let i = 0; i < octets.length; i += 32768) text += String.fromCharCode(...octets.subarray(i, i + 32768));
  return {rate, pcm: btoa(text)};
}

function until(target, event, condition, what) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`waited 10 s for ${what}`)), 10000);
    const look = () => { if (condition()) { clearTimeout(timer); target.removeEventListener(event, look); resolve(); } };
    target.addEventListener(event, look);
    look();
  });
}

async function post(path, body) {
  const response = await fetch(path, {
    method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify(body)});
  const reply = await response.json();
  if (!response.ok) throw new Error(JSON.stringify(reply));
  return reply;
}

async function connect(codec) {
  // What would make a steady tone anything but a steady tone is off.
  const microphone = await navigator.mediaDevices.getUserMedia(
    {audio: {echoCancellation: false, noiseSuppression: false, autoGainControl: false}});
  pc = new RTCPeerConnection();
  sender = pc.addTrack(microphone.getAudioTracks()[0], microphone);
  transceiver = pc.getTransceivers()[0];
  if (codec) {
    const known = RTCRtpReceiver.getCapabilities('audio').codecs;
    const wanted = [...codec.split(' '), 'telephone-event'].map(name => `audio/${name}`.toLowerCase());
    transceiver.setCodecPreferences(
      wanted.flatMap(name => known.filter(({mimeType}) => mimeType.toLowerCase() === name)));
  }
  channel = pc.createDataChannel('events');
  channel.onmessage = ({data}) => events.push({...JSON.parse(data), came: performance.now()});
  const known = new Set();
  pc.ontrack = ({track}) => {
    if (known.has(track)) return;  // told again, as when a call comes back from hold
    known.add(track);
    document.querySelector('audio').srcObject = new MediaStream([track]);
    record(track);
  };
}

function watchEnd() {
  const transport = sender.transport;
  transport.onstatechange = () => { if (transport.state === 'closed' && !closed.at) closed.at = performance.now(); };
}

async function call({codec, body}) {
  await connect(codec);
  await pc.setLocalDescription();
  const started = performance.now();
  answer = await post('/webrtc/offer', {sdp: {type: 'offer', sdp: pc.localDescription.sdp}, ...body});
  const answered = performance.now();
  await pc.setRemoteDescription(answer.sdp);
  await until(pc, 'connectionstatechange', () => pc.connectionState === 'connected', 'the connection');
  watchEnd();
  return {...answer, answered_ms: answered - started, connected_ms: performance.now() - started};
}

async function reoffer({direction, iceRestart}) {
  transceiver.direction = direction;
  if (iceRestart) pc.restartIce();
  await pc.setLocalDescription();
  const {session_id, resume_token} = answer;
  answer = await post('/webrtc/offer', {
    sdp: {type: 'offer', sdp: pc.localDescription.sdp}, session_id, resume_token});
  await pc.setRemoteDescription(answer.sdp);
  await until(pc, 'iceconnectionstatechange', () => ['connected', 'completed'].includes(pc.iceConnectionState), 'ICE');
  return answer;
}

function mute(muted) { sender.track.enabled = !muted; }

async function press(digits) {
  const dtmf = sender.dtmf;
  const done = new Promise(resolve => { dtmf.ontonechange = ({tone}) => { if (tone === '') resolve(); }; });
  dtmf.insertDTMF(digits, 120, 80);
  await done;
}

async function state() {
  const stats = [...(await pc.getStats()).values()];
  const inbound = stats.find(({type}) => type === 'inbound-rtp') || {};
  const codec = stats.find(({id}) => id === inbound.codecId) || {};
  const pair = stats.find(({type, nominated}) => type === 'candidate-pair' && nominated) || {};
  return {
    connection: pc.connectionState, ice: pc.iceConnectionState, dtls: sender.transport ? sender.transport.state : null,
    direction: transceiver.currentDirection, codec: codec.mimeType || null, closed_at: closed.at, now: performance.now(),
    packets_received: inbound.packetsReceived || 0, packets_lost: inbound.packetsLost || 0,
    concealed: inbound.concealedSamples || 0, concealment_events: inbound.concealmentEvents || 0,
    round_trip_s: pair.currentRoundTripTime, events,
  };
}

async function hangUp() { return post('/webrtc/close', {session_id: answer.session_id}); }

// For the proof of this page itself: a second connection in the page sends the voice back.
async function loopback(codec) {
  await connect(codec);
  const far = new RTCPeerConnection();
  pc.onicecandidate = ({candidate}) => far.addIceCandidate(candidate);
  far.onicecandidate = ({candidate}) => pc.addIceCandidate(candidate);
  far.ontrack = ({track, transceiver}) => { transceiver.direction = 'sendrecv'; transceiver.sender.replaceTrack(track); };
  await pc.setLocalDescription();
  await far.setRemoteDescription(pc.localDescription);
  await far.setLocalDescription();
  await pc.setRemoteDescription(far.localDescription);
  await until(pc, 'connectionstatechange', () => pc.connectionState === 'connected', 'the connection');
  watchEnd();
  window.far = far;
}
