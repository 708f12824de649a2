import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { FatalError, type Credentials } from './dial';
import type { SignalingState } from './events';
import { ProtocolError } from './link';
import type { Move } from './move';
import { Signaling } from './protocol';
import { FakeSocket, settle } from './testing';

const NODES = '"nodes":[{"id":"n1","url":"http://n1:8080"},{"id":"n2","url":"ws://n2:8080/spreed"}]';
const WELCOME = `{"type":"welcome","welcome":{"version":"1","features":["mcu","redirect"],${NODES}}}`;
const hello = (id: string, session = 's1', resume = 'r1') =>
  `{"id":"${id}","type":"hello","hello":{"version":"1.0","sessionid":"${session}","resumeid":"${resume}","userid":"ada","server":{"node":"n1",${NODES}}}}`;

// What the other node answers to a resume.
const resumed = (id: string, what: string) => hello(id, 's1', 'r2').replace('"node":"n1"', '"node":"n2"').replace('"userid"', `"resumed":${what},"userid"`);

const FULL_HELLO =
  '{"id":"1","type":"hello","hello":{"version":"1.0","features":["redirect","resume-media","move","shed"],"auth":{"url":"http://n1:8080/backend","params":{"userid":"ada","ticket":"t1"}}}}';

let sockets: FakeSocket[] = [];
let asked: string[] = [];
let states: SignalingState[] = [];
let sessions: { id: string; fresh: boolean; media: boolean; inRoom: boolean }[] = [];
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

function start(stay = false, random = () => 0.5): Signaling {
  const s = new Signaling(
    {
      open: (url) => {
        const socket = new FakeSocket(url);
        sockets.push(socket);
        return socket.asSocket();
      },
      credentials: (origin) => credentials(origin),
      random,
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
  expect(sessions).toEqual([{ id: 's1', fresh: true, media: false, inRoom: false }]);
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
    '{"id":"1","type":"hello","hello":{"version":"1.0","features":["redirect","resume-media","move","shed"],"auth":{"type":"ticket","params":{"ticket":"once"}}}}',
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
  expect(again.take()).toEqual(['{"id":"1","type":"hello","hello":{"version":"1.0","resumeid":"r2","features":["redirect","resume-media","move","shed"]}}']);
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
  expect(socket.take()).toEqual(['{"id":"1","type":"hello","hello":{"version":"1.0","resumeid":"r1","features":["redirect","resume-media","move","shed"]}}']);
  expect(s.state).toBe('reconnecting');
});

test('resumes after a cut and sends what had to wait', async () => {
  const { s, socket } = await connected();
  socket.drop();
  expect(s.state).toBe('reconnecting');
  s.send({ type: 'session', sessionid: 'b' }, { type: 'mute', to: 'b', payload: { name: 'audio' } });
  const again = await welcomed();
  expect(again.take()).toEqual(['{"id":"1","type":"hello","hello":{"version":"1.0","resumeid":"r1","features":["redirect","resume-media","move","shed"]}}']);
  again.say(hello('1', 's1', 'r2'));
  await settle();
  expect(again.take()).toEqual([
    '{"type":"message","message":{"recipient":{"type":"session","sessionid":"b"},"data":{"type":"mute","to":"b","payload":{"name":"audio"}}}}',
  ]);
  expect(sessions).toEqual([
    { id: 's1', fresh: true, media: false, inRoom: false },
    { id: 's1', fresh: false, media: true, inRoom: true },
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
  expect(sessions.at(-1)).toEqual({ id: 's2', fresh: true, media: false, inRoom: false });
  expect(s.state).toBe('connected');
  // What was meant for the connections of the old session is not said.
  expect(again.take()).toEqual([]);
});

test('a node that refuses is left at once for another one, where the session may be gone', async () => {
  const { socket } = await connected();
  socket.drop();
  await settle();
  expect(last().url).toBe('ws://n1:8080/spreed');
  last().drop();
  const other = await welcomed();
  expect(other.url).toBe('ws://n2:8080/spreed');
  other.take();
  other.say('{"id":"1","type":"error","error":{"code":"no_such_session","message":""}}');
  await settle();
  expect(asked).toEqual(['', 'http://n2:8080']);
  other.say(hello('2', 's7', 'r7'));
  await settle();
  expect(sessions.at(-1)).toEqual({ id: 's7', fresh: true, media: false, inRoom: false });
});

test('a node that is silent has a head start of 150 ms, and no more', async () => {
  const { s, socket } = await connected();
  socket.drop();
  await settle();
  const own = last();
  await vi.advanceTimersByTimeAsync(149);
  expect(sockets).toHaveLength(2);
  await vi.advanceTimersByTimeAsync(1);
  const other = await welcomed();
  expect(other.url).toBe('ws://n2:8080/spreed');
  expect(other.take()).toHaveLength(1);
  // The own one is late: it is never told a hello as well.
  own.open();
  own.say(WELCOME);
  await settle();
  expect(own.sent).toEqual([]);
  other.say(resumed('1', '{"media":true}'));
  await settle();
  expect([s.state, own.closed, own.sent]).toEqual(['connected', true, []]);
  expect(sessions.at(-1)).toEqual({ id: 's1', fresh: false, media: true, inRoom: true });
});

test.each([
  ['{"media":true}', true, true],
  ['{"media":false,"room":"abc"}', false, true],
  ['{"media":false}', false, false],
])('another node takes the session up: %s', async (what, media, inRoom) => {
  const { s, socket } = await connected();
  socket.drop();
  s.send({ type: 'session', sessionid: 'b' }, { type: 'requestoffer', to: 'b', roomType: 'video' });
  s.send({ type: 'session', sessionid: 'b' }, { type: 'mute', to: 'b', payload: { name: 'audio' } });
  await settle();
  last().drop();
  const other = await welcomed();
  other.take();
  other.say(resumed('1', what));
  await settle();
  expect(sessions.at(-1)).toEqual({ id: 's1', fresh: false, media, inRoom });
  expect([s.sessionID, s.serving, s.origin, s.state]).toEqual(['s1', 'n2', 'http://n2:8080', 'connected']);
  // What belonged to connections that are gone is not said.
  const said = other.take().map((l) => (JSON.parse(l) as { message: { data: { type: string } } }).message.data.type);
  expect(said).toEqual(media ? ['requestoffer', 'mute'] : ['mute']);
  // The resume id is the new one, and the node the one that has the session now.
  other.drop();
  const again = await welcomed();
  expect(again.url).toBe('ws://n2:8080/spreed');
  expect(again.take()[0]).toContain('"resumeid":"r2"');
});

test('a node that has troubles of its own does not end the session: the next is asked', async () => {
  const { socket } = await connected();
  socket.drop();
  const own = await welcomed();
  own.say('{"id":"1","type":"error","error":{"code":"session_limit_exceeded","message":""}}');
  const other = await welcomed();
  expect(other.url).toBe('ws://n2:8080/spreed');
  expect(other.take()[0]).toContain('"resumeid":"r1"');
  // This one says nothing for too long.
  await vi.advanceTimersByTimeAsync(2_000);
  expect(other.closed).toBe(true);
  await vi.advanceTimersByTimeAsync(500);
  expect((await welcomed()).take()[0]).toContain('"resumeid":"r1"');
  expect(asked).toEqual(['']);
});

test('of many nodes a few are tried, chosen by chance', async () => {
  const dice = [0.99, 0, 0.5, 0.5];
  const s = start(false, () => dice.shift() ?? 0);
  const socket = await welcomed();
  const many = Array.from({ length: 30 }, (_, i) => `{"id":"m${i}","url":"http://m${i}"}`).join();
  socket.say(`{"id":"1","type":"hello","hello":{"sessionid":"s1","resumeid":"r1","server":{"nodes":[${many}]}}}`);
  await settle();
  socket.drop();
  const tried: string[] = [];
  for (let n = sockets.length; ; n = sockets.length) {
    tried.push(last().url.slice(5).replace('/spreed', ''));
    last().drop();
    await settle();
    if (sockets.length === n) break;
  }
  expect(tried).toEqual(['n1:8080', 'm29', 'm0', 'm15', 'm14']);
  s.close();
});

test('backs off after a round in which nobody answered: 0.5 s, doubling to 16 s', async () => {
  await connected();
  last().drop();
  const waits: number[] = [];
  let since = Date.now();
  for (let i = 0; i < 18; i++) {
    const n = sockets.length;
    await settle();
    last().drop();
    await settle();
    while (sockets.length === n) await vi.advanceTimersByTimeAsync(50);
    waits.push(Date.now() - since);
    since = Date.now();
  }
  expect(waits).toEqual([0, 500, 0, 1000, 0, 2000, 0, 4000, 0, 8000, 0, 16000, 0, 16000, 0, 16000, 0, 16000]);
});

test('doubts: a pong, or any other word, is a sign of life; silence is the end of the connection', async () => {
  const { s, socket } = await connected();
  void s.doubt();
  void s.doubt();
  expect(socket.take()).toEqual(['{"id":"2","type":"ping"}']);
  socket.say('{"id":"2","type":"pong"}');
  await vi.advanceTimersByTimeAsync(1_500);
  void s.doubt();
  socket.say('{"type":"event"}');
  await vi.advanceTimersByTimeAsync(1_500);
  // A question that is open may take the server long.
  const joined = s.join('abc', 'x');
  void s.doubt();
  await vi.advanceTimersByTimeAsync(1_500);
  expect(sockets).toHaveLength(1);
  socket.say('{"id":"4","type":"room","room":{"roomid":"abc"}}');
  await joined;
  void s.doubt();
  await vi.advanceTimersByTimeAsync(1_499);
  expect(sockets).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(1);
  expect([s.state, socket.closed, sockets.length]).toEqual(['reconnecting', true, 2]);
});

test('asks for a sign of life every 10 s', async () => {
  const { socket } = await connected();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(socket.take()).toEqual(['{"id":"2","type":"ping"}']);
});

const ORDER = '{"type":"move","move":{"roomid":"abc","url":"ws://n2:8080/spreed","ticket":"once","reason":"drain","deadline_ms":20000}}';

// The server wants the session at n2: to where the second link has said hello.
async function moving(): Promise<{ s: Signaling; old: FakeSocket; socket: FakeSocket; move: Move; seen: string[] }> {
  const { s, socket: old } = await connected();
  const moves: Move[] = [];
  const seen: string[] = [];
  s.on('moving', (m) => moves.push(m));
  s.on('data', (e) => seen.push(e.data.type));
  old.say(ORDER);
  const socket = await welcomed();
  expect(socket.url).toBe('ws://n2:8080/spreed');
  expect(socket.take()).toEqual([
    '{"id":"1","type":"hello","hello":{"version":"1.0","features":["redirect","resume-media","move","shed"],"auth":{"type":"ticket","params":{"ticket":"once"}}}}',
  ]);
  socket.say(hello('1', 's1', 'r2').replace('"node":"n1"', '"node":"n2"').replace('"userid"', '"moving":true,"userid"'));
  await settle();
  const [move] = moves;
  if (!move) throw new Error('not moving');
  return { s, old, socket, move, seen };
}

const says = (from: string, type: string) => `{"type":"message","message":{"sender":{"type":"session","sessionid":"${from}"},"data":{"type":"${type}"}}}`;

test('a move: both links until it is done, then the second; nothing is heard twice', async () => {
  const { s, old, socket, move, seen } = await moving();
  const next: string[] = [];
  move.ondata = (m) => next.push(m.data.type);
  expect(move.limit).toBe(8_000);
  expect([s.serving, s.state]).toEqual(['n1', 'connected']);
  old.say(says('b', 'mute'));
  socket.say(says('b', 'mute'));
  socket.say(says('b', 'offer'));
  move.send({ type: 'session', sessionid: 'b' }, { type: 'answer', to: 'b' });
  s.send({ type: 'session', sessionid: 'b' }, { type: 'mute', to: 'b' });
  expect([seen, next]).toEqual([['mute'], ['offer']]);
  expect([old.take().length, socket.take().length]).toEqual([1, 1]);

  const done = s.complete(move);
  expect(socket.take()).toEqual(['{"id":"2","type":"move","move":{"state":"done"}}']);
  // What the new node tells before its answer is not lost; the old one is still heard.
  socket.say(says('b', 'unmute'));
  old.say('{"type":"bye","bye":{"reason":"session_moved"}}');
  old.say(says('c', 'mute'));
  expect(seen).toEqual(['mute', 'mute']);
  socket.say('{"id":"2","type":"move","move":{"state":"done","room":{"roomid":"abc","home":"n2"}}}');
  await expect(done).resolves.toBe(true);
  expect([s.serving, s.home, s.state]).toEqual(['n2', 'n2', 'connected']);
  old.say(says('d', 'nickChanged'));
  old.say(says('d', 'offer'));
  expect(seen).toEqual(['mute', 'mute', 'unmute', 'nickChanged']);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(old.closed).toBe(true);
  expect([sockets.length, sessions.length, states.includes('reconnecting')]).toEqual([2, 1, false]);
  socket.drop();
  const again = await welcomed();
  expect(again.url).toBe('ws://n2:8080/spreed');
  expect(again.take()[0]).toContain('"resumeid":"r2"');
});

test('a move that is given up changes nothing', async () => {
  const { s, old, socket, move } = await moving();
  s.abandon(move);
  expect([socket.take(), old.take()]).toEqual([['{"type":"move","move":{"state":"abort"}}'], ['{"type":"move","move":{"state":"abort"}}']]);
  expect([socket.closed, old.closed, s.serving, s.state]).toEqual([true, false, 'n1', 'connected']);
  await expect(s.complete(move)).resolves.toBe(false);
});

test('a move that the new node refuses at the end has not been', async () => {
  const { s, old, socket, move } = await moving();
  const done = s.complete(move);
  socket.say('{"id":"2","type":"error","error":{"code":"processing_failed","message":""}}');
  await expect(done).resolves.toBe(false);
  expect([socket.closed, old.closed, s.serving, s.state]).toEqual([true, false, 'n1', 'connected']);
});

test('the new node dies while the old one has let go: the session is taken up where it can be', async () => {
  const { s, old, socket, move } = await moving();
  const done = s.complete(move);
  old.drop(1000);
  expect(s.state).toBe('connected');
  socket.drop();
  await expect(done).resolves.toBe(false);
  expect(s.state).toBe('reconnecting');
  expect((await welcomed()).take()[0]).toContain('"resumeid":"r1"');
});

test('the old node dies during a move: there is a hurry, and what is said meanwhile is said later', async () => {
  const { s, old, socket, move } = await moving();
  let hurries = 0;
  move.onhurry = () => hurries++;
  old.drop();
  expect([hurries, s.state, sockets.length]).toEqual([1, 'connected', 2]);
  s.send({ type: 'session', sessionid: 'b' }, { type: 'mute', to: 'b' });
  const done = s.complete(move);
  socket.take();
  socket.say('{"id":"2","type":"move","move":{"state":"done"}}');
  await expect(done).resolves.toBe(true);
  expect(socket.take()).toEqual(['{"type":"message","message":{"recipient":{"type":"session","sessionid":"b"},"data":{"type":"mute","to":"b"}}}']);
});

test('a second order takes the place of the first', async () => {
  const { s, old, socket, move } = await moving();
  let off = 0;
  move.onclose = () => off++;
  old.say(ORDER.replace('n2', 'n3'));
  expect([socket.closed, off]).toEqual([true, 1]);
  const third = await welcomed();
  expect(third.url).toBe('ws://n3:8080/spreed');
  // Nobody comes to where the ticket is refused.
  third.say('{"id":"1","type":"error","error":{"code":"invalid_ticket","message":""}}');
  await settle();
  expect([third.closed, s.state, s.serving]).toEqual([true, 'connected', 'n1']);
  expect(old.take()).toEqual(['{"type":"move","move":{"state":"abort"}}']);
});

test('a session that was moved without us is taken up again, not begun anew', async () => {
  const { s, socket } = await connected();
  socket.say('{"type":"bye","bye":{"reason":"session_moved"}}');
  expect(s.state).toBe('reconnecting');
  expect((await welcomed()).take()[0]).toContain('"resumeid":"r1"');
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
