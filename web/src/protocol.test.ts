import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { ProtocolError } from './link';
import { FatalError, Signaling, type Credentials, type SignalingState } from './protocol';
import { FakeSocket, settle } from './testing';
import { apiOrigin, decode, nodesOf, socketURL } from './wire';

const NODES = '"nodes":[{"id":"n1","url":"http://n1:8080"},{"id":"n2","url":"ws://n2:8080/spreed"}]';
const WELCOME = `{"type":"welcome","welcome":{"version":"1","features":["mcu","redirect"],${NODES}}}`;
const hello = (id: string, session = 's1', resume = 'r1') =>
  `{"id":"${id}","type":"hello","hello":{"version":"1.0","sessionid":"${session}","resumeid":"${resume}","userid":"ada","server":{"node":"n1",${NODES}}}}`;

const FULL_HELLO =
  '{"id":"1","type":"hello","hello":{"version":"1.0","features":["redirect"],"auth":{"url":"http://n1:8080/backend","params":{"userid":"ada","ticket":"t1"}}}}';

let sockets: FakeSocket[] = [];
let asked: string[] = [];
let states: SignalingState[] = [];
let sessions: { id: string; fresh: boolean }[] = [];
let credentials: (origin: string) => Promise<Credentials>;

beforeEach(() => {
  vi.useFakeTimers();
  sockets = [];
  asked = [];
  states = [];
  sessions = [];
  credentials = (origin) => {
    asked.push(origin);
    return Promise.resolve({
      socket: 'http://n1:8080',
      auth: { url: 'http://n1:8080/backend', params: { userid: 'ada', ticket: `t${asked.length}` } },
    });
  };
});

afterEach(() => {
  vi.useRealTimers();
});

function start(stay = false): Signaling {
  const s = new Signaling(
    {
      open: (url) => {
        const socket = new FakeSocket(url);
        sockets.push(socket);
        return socket.asSocket();
      },
      credentials: (origin) => credentials(origin),
      random: () => 0.5,
    },
    stay,
  );
  s.on('state', ({ state }) => states.push(state));
  s.on('session', (e) => sessions.push(e));
  s.connect();
  return s;
}

function last(): FakeSocket {
  const s = sockets.at(-1);
  if (!s) throw new Error('no socket was opened');
  return s;
}

async function welcomed(): Promise<FakeSocket> {
  await settle();
  const s = last();
  s.open();
  s.say(WELCOME);
  await settle();
  return s;
}

async function connected(stay = false): Promise<{ s: Signaling; socket: FakeSocket }> {
  const s = start(stay);
  const socket = await welcomed();
  socket.take();
  socket.say(hello('1'));
  await settle();
  expect(s.state).toBe('connected');
  return { s, socket };
}

test('says hello after welcome, with the features and the credentials', async () => {
  const s = start();
  await settle();
  expect(last().url).toBe('ws://n1:8080/spreed');
  last().open();
  expect(last().sent).toEqual([]);
  last().say(WELCOME);
  await settle();
  expect(last().take()).toEqual([FULL_HELLO]);
  last().say(hello('1'));
  await settle();
  expect(sessions).toEqual([{ id: 's1', fresh: true }]);
  expect(s.serving).toBe('n1');
  expect(s.nodes).toEqual([
    { id: 'n1', url: 'http://n1:8080' },
    { id: 'n2', url: 'http://n2:8080' },
  ]);
});

test('says hello after three seconds without a welcome', async () => {
  start();
  await settle();
  last().open();
  await vi.advanceTimersByTimeAsync(2_900);
  expect(last().sent).toEqual([]);
  await vi.advanceTimersByTimeAsync(200);
  expect(last().take()).toEqual([FULL_HELLO]);
});

test('redirect=0 is kept on the socket', async () => {
  start(true);
  await settle();
  expect(last().url).toBe('ws://n1:8080/spreed?redirect=0');
});

test('joins a room, and tells the home', async () => {
  const { s, socket } = await connected();
  const joined = s.join('abc', 'talk-1');
  expect(socket.take()).toEqual(['{"id":"2","type":"room","room":{"roomid":"abc","sessionid":"talk-1"}}']);
  socket.say('{"id":"2","type":"room","room":{"roomid":"abc","home":"n2","bandwidth":{"maxstreambitrate":500000,"maxscreenbitrate":1}}}');
  await expect(joined).resolves.toMatchObject({ roomid: 'abc', bandwidth: { maxstreambitrate: 500000 } });
  expect(s.home).toBe('n2');
});

test('already joined counts as joined', async () => {
  const { s, socket } = await connected();
  const joined = s.join('abc', 'talk-1');
  socket.say('{"id":"2","type":"error","error":{"code":"already_joined","message":"","details":{"room":{"roomid":"abc","home":"n1"}}}}');
  await expect(joined).resolves.toMatchObject({ roomid: 'abc', home: 'n1' });
});

test('a refused room is told with its code', async () => {
  const { s, socket } = await connected();
  const joined = s.join('abc', 'talk-1');
  socket.say('{"id":"2","type":"error","error":{"code":"no_such_room","message":"no"}}');
  await expect(joined).rejects.toMatchObject({ code: 'no_such_room' });
});

test('follows a redirect with the ticket and keeps the session', async () => {
  const { s, socket: old } = await connected();
  const joined = s.join('abc', 'talk-1');
  old.say('{"id":"2","type":"error","error":{"code":"redirect","message":"","details":{"roomid":"abc","url":"ws://n2:8080/spreed","ticket":"once"}}}');
  const socket = await welcomed();
  expect(socket.url).toBe('ws://n2:8080/spreed');
  expect(socket.take()).toEqual([
    '{"id":"1","type":"hello","hello":{"version":"1.0","features":["redirect"],"auth":{"type":"ticket","params":{"ticket":"once"}}}}',
  ]);
  // The old node says goodbye before the new one has answered: no reason to reconnect.
  old.say('{"type":"bye","bye":{}}');
  old.drop();
  socket.say(hello('1', 's1', 'r2').replace('"node":"n1"', '"node":"n2"'));
  await settle();
  expect(socket.take()).toEqual(['{"id":"2","type":"room","room":{"roomid":"abc","sessionid":"talk-1"}}']);
  socket.say('{"id":"2","type":"room","room":{"roomid":"abc","home":"n2"}}');
  await expect(joined).resolves.toMatchObject({ roomid: 'abc' });
  expect([s.serving, s.home, s.state]).toEqual(['n2', 'n2', 'connected']);
  expect(sessions).toHaveLength(1);
  expect(states).not.toContain('reconnecting');
  expect(sockets).toHaveLength(2);

  // What was moved is resumed where it is now.
  socket.drop();
  const again = await welcomed();
  expect(again.url).toBe('ws://n2:8080/spreed');
  expect(again.take()).toEqual(['{"id":"1","type":"hello","hello":{"version":"1.0","resumeid":"r2"}}']);
});

test('a redirect that fails ends on the node it came from, which is asked not to redirect again', async () => {
  const { s, socket: old } = await connected();
  const joined = s.join('abc', 'talk-1');
  const refused = expect(joined).rejects.toMatchObject({ code: 'redirect_failed' });
  old.say('{"id":"2","type":"error","error":{"code":"redirect","message":"","details":{"roomid":"abc","url":"ws://n2:8080/spreed","ticket":"once"}}}');
  await settle();
  last().drop();
  await refused;
  const socket = await welcomed();
  expect(socket.url).toBe('ws://n1:8080/spreed?redirect=0');
  expect(socket.take()).toEqual(['{"id":"1","type":"hello","hello":{"version":"1.0","resumeid":"r1"}}']);
  expect(s.state).toBe('reconnecting');
});

test('resumes after a cut and sends what had to wait', async () => {
  const { s, socket } = await connected();
  socket.drop();
  expect(s.state).toBe('reconnecting');
  s.send({ type: 'session', sessionid: 'b' }, { type: 'mute', to: 'b', payload: { name: 'audio' } });
  const again = await welcomed();
  expect(again.take()).toEqual(['{"id":"1","type":"hello","hello":{"version":"1.0","resumeid":"r1"}}']);
  again.say(hello('1', 's1', 'r2'));
  await settle();
  expect(again.take()).toEqual([
    '{"type":"message","message":{"recipient":{"type":"session","sessionid":"b"},"data":{"type":"mute","to":"b","payload":{"name":"audio"}}}}',
  ]);
  expect(sessions).toEqual([
    { id: 's1', fresh: true },
    { id: 's1', fresh: false },
  ]);
  expect(asked).toEqual(['']);
});

test('a refused resume becomes a new session on the same socket', async () => {
  const { s, socket } = await connected();
  socket.drop();
  s.send({ type: 'session', sessionid: 'b' }, { type: 'mute' });
  const again = await welcomed();
  again.take();
  again.say('{"id":"1","type":"error","error":{"code":"no_such_session","message":""}}');
  await settle();
  expect(asked).toEqual(['', 'http://n1:8080']);
  expect(again.take()).toEqual([FULL_HELLO.replace('"id":"1"', '"id":"2"').replace('t1', 't2')]);
  again.say(hello('2', 's2', 'r9'));
  await settle();
  expect(sessions.at(-1)).toEqual({ id: 's2', fresh: true });
  expect(s.state).toBe('connected');
  // What was meant for the connections of the old session is not said.
  expect(again.take()).toEqual([]);
});

test('goes to another node when its own is dead, and comes back with a new session there', async () => {
  const { socket } = await connected();
  socket.drop();
  const urls: string[] = [];
  for (let i = 0; i < 2; i++) {
    await settle();
    urls.push(last().url);
    last().drop();
    await vi.advanceTimersByTimeAsync(300);
  }
  const other = await welcomed();
  urls.push(other.url);
  expect(urls).toEqual(['ws://n1:8080/spreed', 'ws://n1:8080/spreed', 'ws://n2:8080/spreed']);
  other.take();
  other.say('{"id":"1","type":"error","error":{"code":"no_such_session","message":""}}');
  await settle();
  expect(asked).toEqual(['', 'http://n2:8080']);
  other.say(hello('2', 's7', 'r7'));
  await settle();
  expect(sessions.at(-1)).toEqual({ id: 's7', fresh: true });
});

test('a node that takes the connection but is silent is given up', async () => {
  const { socket } = await connected();
  socket.drop();
  await settle();
  const silent = last();
  await vi.advanceTimersByTimeAsync(5_300);
  expect(silent.closed).toBe(true);
  expect(sockets.length).toBeGreaterThan(2);
});

test('backs off after all nodes were tried: 1 s, doubling to 16 s', async () => {
  await connected();
  last().drop();
  const waits: number[] = [];
  let since = Date.now();
  for (let i = 0; i < 24; i++) {
    const n = sockets.length;
    await settle();
    last().drop();
    await settle();
    while (sockets.length === n) await vi.advanceTimersByTimeAsync(50);
    waits.push(Date.now() - since);
    since = Date.now();
  }
  expect(waits.filter((w) => w > 400).map((w) => Math.round(w / 1000))).toEqual([1, 2, 4, 8, 16, 16, 16, 16]);
});

test('a fatal refusal ends it', async () => {
  credentials = () => Promise.reject(new FatalError('not_found'));
  const s = start();
  let reason = '';
  s.on('state', (e) => (reason = e.reason));
  await settle();
  expect([s.state, reason]).toEqual(['closed', 'not_found']);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(sockets).toHaveLength(0);
});

test('a bye because of oneself elsewhere ends it, another one starts anew', async () => {
  const first = await connected();
  first.socket.say('{"type":"bye","bye":{"reason":"room_session_reconnected"}}');
  expect(first.s.state).toBe('closed');

  const second = await connected();
  second.socket.say('{"type":"bye","bye":{}}');
  const again = await welcomed();
  expect(second.s.state).toBe('reconnecting');
  expect(again.take()[0]).toContain('"auth"');
});

test('close says bye and stays closed', async () => {
  const { s, socket } = await connected();
  s.close();
  expect(socket.take()).toEqual(['{"type":"bye","bye":{}}']);
  expect(socket.closed).toBe(true);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(sockets).toHaveLength(1);
});

test('an answer that never comes is an error', async () => {
  const { s } = await connected();
  const joined = s.join('abc', 'x');
  const failed = expect(joined).rejects.toBeInstanceOf(ProtocolError);
  await vi.advanceTimersByTimeAsync(12_000);
  await failed;
});

test('events are told', async () => {
  const { s, socket } = await connected();
  const seen: unknown[] = [];
  s.on('joined', (e) => seen.push(['joined', e]));
  s.on('left', (e) => seen.push(['left', e]));
  s.on('users', (e) => seen.push(['users', e]));
  s.on('ended', () => seen.push(['ended']));
  s.on('removed', (e) => seen.push(['removed', e]));
  s.on('data', (e) => seen.push(['data', e.sender.sessionid, e.data.type]));
  for (const line of [
    '{"type":"event","event":{"target":"room","type":"join","join":[{"sessionid":"b"}]}}',
    '{"type":"event","event":{"target":"room","type":"leave","leave":["b"]}}',
    '{"type":"event","event":{"target":"participants","type":"update","update":{"roomid":"r","users":[{"sessionId":"b","inCall":7}]}}}',
    '{"type":"event","event":{"target":"participants","type":"update","update":{"roomid":"r","incall":0,"all":true}}}',
    '{"type":"event","event":{"target":"roomlist","type":"disinvite","disinvite":{"roomid":"r","reason":"deleted"}}}',
    '{"type":"message","message":{"sender":{"type":"session","sessionid":"b"},"data":{"type":"offer"}}}',
    '{"type":"unknown"}',
    'not json',
    '[]',
    '{"type":"event"}',
    '{"type":"message"}',
    '{"type":"error","error":{"code":"client_not_found"}}',
  ]) {
    socket.say(line);
  }
  expect(seen).toEqual([
    ['joined', [{ sessionid: 'b' }]],
    ['left', ['b']],
    ['users', [{ sessionId: 'b', inCall: 7 }]],
    ['ended'],
    ['removed', 'deleted'],
    ['data', 'b', 'offer'],
  ]);
  expect(s.state).toBe('connected');
});

test('URLs of nodes', () => {
  expect(socketURL('https://n1.example/', false)).toBe('wss://n1.example/spreed');
  expect(socketURL('https://n1.example/standalone-signaling', true)).toBe('wss://n1.example/standalone-signaling/spreed?redirect=0');
  expect(socketURL('wss://n1.example/spreed', false)).toBe('wss://n1.example/spreed');
  expect(apiOrigin('wss://n1.example:8443/spreed')).toBe('https://n1.example:8443');
  expect(apiOrigin('javascript:alert(1)')).toBe('');
  expect(apiOrigin('nonsense')).toBe('');
  expect(nodesOf({ nodes: [{ id: 'a', url: 'x' }, { url: 'http://b' }, { id: 'c', url: 'http://c/' }] })).toEqual([{ id: 'c', url: 'http://c' }]);
  expect(decode('{"type":1}')).toBeNull();
  expect(decode(null)).toBeNull();
});
