// What a page that calls by WHIP adds to that of any caller; the client is whip-whep's.
let client;

async function publish({url, token, codec}) {
  const {WHIPClient} = await import('/__whip__.js');
  await connect(codec);
  client = new WHIPClient();
  await client.publish(pc, url, token);
  await until(pc, 'connectionstatechange', () => pc.connectionState === 'connected', 'the connection');
  watchEnd();
  return client.resourceURL.href;
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
