// What a page that calls by WHIP adds to that of any caller; `client` is whip-whep's, or Eyevinn's.
let client;

// Requests of the client that are not answered yet.
let unanswered = 0;
const plainFetch = window.fetch;
window.fetch = async (...request) => {
  unanswered++;
  try {
    return await plainFetch(...request);
  } finally {
    unanswered--;
  }
};

async function publish({url, token, codec}) {
  const {WHIPClient} = await import('/__whip_whep__.js');
  await connect(codec);
  client = new WHIPClient();
  await client.publish(pc, url, token);
  await until(pc, 'connectionstatechange', () => pc.connectionState === 'connected', 'the connection');
  watchEnd();
  return client.resourceURL.href;
}

// This client makes its connection itself, adds the tracks that it is given, and only sends.
async function publishByEyevinn(url) {
  const {WHIPClient} = await import('/__eyevinn__.js');
  await connect();
  pc.close();
  const {track} = sender;
  client = new WHIPClient({
    endpoint: url,
    opts: {iceServers: []},
    peerConnectionFactory: configuration => (pc = new RTCPeerConnection(configuration)),
  });
  await client.ingest(new MediaStream([track]));
  await until(pc, 'connectionstatechange', () => pc.connectionState === 'connected', 'the connection');
  [transceiver] = pc.getTransceivers();
  ({sender} = transceiver);
  watchEnd();
  return client.getResourceUrl();
}

// Nothing of its candidates waits to be sent.
function hasTrickled() {
  const {candidates = [], endOfcandidates, iceTrickeTimeout} = client;
  return pc.iceGatheringState === 'complete' && !candidates.length && !endOfcandidates && !iceTrickeTimeout;
}

// In one step from the last look to the end: a request that begins between them would be overtaken by the DELETE.
async function stop() {
  while (!hasTrickled() || unanswered) await new Promise(done => setTimeout(done, 10));
  await (client.stop ? client.stop() : client.destroy());
}

// The ufrag that the connection in use was checked with.
async function ufragInUse() {
  const stats = await pc.getStats();
  return [...stats.values()].find(({type}) => type === 'transport').iceLocalUsernameFragment;
}

async function restartIce() {
  await client.restart();
  await until(pc, 'iceconnectionstatechange', () => ['connected', 'completed'].includes(pc.iceConnectionState), 'ICE');
}
