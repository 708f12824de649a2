import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Api } from './api';
import { Meeting } from './meeting';
import { FakePeer, FakeSocket, fakeStream, settle } from './testing';

const NODES = '"nodes":[{"id":"n1","url":"http://n1"},{"id":"n2","url":"http://n2"}]';

let sockets: FakeSocket[] = [];
let asked: string[] = [];
let dead = new Set<string>();
let refuse: Record<string, number> = {};
let guest = '';
let peers: FakePeer[] = [];

beforeEach(() => {
  vi.useFakeTimers();
  sockets = [];
  asked = [];
  dead = new Set();
  refuse = {};
  guest = '';
  peers = [];
});

afterEach(() => {
  vi.useRealTimers();
});

function fetcher(input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
  const url = new URL(String(input));
  if (dead.has(url.host)) return Promise.reject(new TypeError('failed to fetch'));
  const path = url.pathname.replace('/ocs/v2.php/apps/spreed/api', '');
  const bearer = (new Headers(init?.headers).get('Authorization') ?? '-').replace('Bearer ', '');
  asked.push(`${init?.method} ${url.host}${path} ${bearer}`);
  const status = refuse[`${path} ${bearer}`] ?? 200;
  let data: unknown = [];
  if (path.endsWith('/participants/active')) data = { sessionId: `talk-${url.host}`, guestToken: 'g1', displayName: 'Team' };
  if (path.includes('/signaling/settings')) data = { server: `http://${url.host}`, helloAuthParams: { '1.0': { ticket: 'x' } } };
  // Not a real Response: reading that takes more than promises.
  return Promise.resolve({ ok: status < 400, status, json: () => Promise.resolve({ ocs: { data } }) } as Response);
}

function meet(account = ''): Meeting {
  const m = new Meeting(
    {
      api: new Api('http://n1', fetcher),
      open: (url) => {
        const s = new FakeSocket(url);
        sockets.push(s);
        return s.asSocket();
      },
      peer: () => {
        const p = new FakePeer(peers.length);
        peers.push(p);
        return p.asPeer();
      },
      newStream: fakeStream,
      random: () => 0.5,
      guests: {
        get: () => guest,
        set: (_, t) => {
          guest = t;
        },
      },
    },
    { room: 'abc', account, name: 'Ada', stay: false },
  );
  m.join();
  return m;
}

async function step(): Promise<FakeSocket> {
  await vi.advanceTimersByTimeAsync(0);
  await settle();
  const s = sockets.at(-1);
  if (!s) throw new Error('no socket');
  return s;
}

async function through(session: string): Promise<FakeSocket> {
  const s = await step();
  s.open();
  s.say(`{"type":"welcome","welcome":{${NODES}}}`);
  await step();
  const id = (JSON.parse(s.sent.at(-1) ?? '{}') as { id: string }).id;
  s.say(`{"id":"${id}","type":"hello","hello":{"sessionid":"${session}","resumeid":"r-${session}"}}`);
  await step();
  return s;
}

async function enterRoom(s: FakeSocket): Promise<void> {
  const m = JSON.parse(s.sent.at(-1) ?? '{}') as { id: string; type: string };
  expect(m.type).toBe('room');
  s.say(`{"id":"${m.id}","type":"room","room":{"roomid":"abc","home":"n2"}}`);
  await step();
}

test('a guest takes a seat, asks where to go, enters the room and the call', async () => {
  const m = meet();
  const s = await through('s1');
  expect(s.sent.at(-1)).toContain('"room":{"roomid":"abc","sessionid":"talk-n1"}');
  expect(m.phase).toBe('joining');
  await enterRoom(s);
  expect(m.phase).toBe('call');
  expect(m.title).toBe('Team');
  expect(guest).toBe('g1');
  expect(asked).toEqual([
    'POST n1/v4/room/abc/participants/active -',
    'GET n1/v3/signaling/settings g1',
    'POST n1/v4/call/abc g1',
  ]);
  await step();
  expect(s.sent.some((l) => l.includes('"type":"offer"'))).toBe(true);
  expect(m.signaling.home).toBe('n2');
  m.leave();
});

test.each([['with its API', true], ['but its API answers still', false]])('the node dies, %s: everything goes on at another node', async (_, all) => {
  const m = meet('secret');
  const first = await through('s1');
  await enterRoom(first);
  expect(m.reconnecting).toBe(false);
  if (all) dead.add('n1');
  asked = [];
  first.drop();
  expect(m.reconnecting).toBe(true);
  (await step()).drop();
  const other = await step();
  expect(other.url).toBe('ws://n2/spreed');
  other.open();
  other.say(`{"type":"welcome","welcome":{${NODES}}}`);
  await step();
  other.say('{"id":"1","type":"error","error":{"code":"no_such_session"}}');
  await step();
  other.say('{"id":"2","type":"hello","hello":{"sessionid":"s2","resumeid":"r2"}}');
  await step();
  expect(other.sent.at(-1)).toContain('"sessionid":"talk-n2"');
  await enterRoom(other);
  expect(m.phase).toBe('call');
  expect(m.reconnecting).toBe(false);
  expect(asked).toEqual([
    'POST n2/v4/room/abc/participants/active secret',
    'GET n2/v3/signaling/settings secret',
    'POST n2/v4/call/abc secret',
  ]);
  await step();
  expect(peers[0]?.closed).toBe(true);
  expect(other.sent.some((l) => l.includes('"type":"offer"') && l.includes('"sessionid":"s2"'))).toBe(true);
  m.leave();
});

test('a resumed session goes on as if nothing had been', async () => {
  const m = meet('secret');
  await enterRoom(await through('s1'));
  const made = peers.length;
  asked = [];
  sockets.at(-1)?.drop();
  const s = await through('s1');
  expect(s.sent).toEqual(['{"id":"1","type":"hello","hello":{"version":"1.0","resumeid":"r-s1","features":["redirect","resume-media","move","shed"]}}']);
  expect([asked, peers.length, m.reconnecting]).toEqual([[], made, false]);
  m.leave();
});

function say(s: FakeSocket, ...lines: string[]): Promise<unknown> {
  for (const line of lines) s.say(line);
  return step();
}

const JOINED = '{"type":"event","event":{"target":"room","type":"join","join":[{"sessionid":"s1"},{"sessionid":"b","user":{"displayname":"Ben"}}]}}';
const CALL = '{"type":"event","event":{"target":"participants","type":"update","update":{"users":[{"sessionId":"s1","inCall":7},{"sessionId":"b","inCall":7}]}}}';
const offerOf = (sid: string) =>
  `{"type":"message","message":{"sender":{"type":"session","sessionid":"b"},"data":{"type":"offer","sid":"${sid}","roomType":"video","payload":{"type":"offer","sdp":"theirs"}}}}`;

// What was said about media: type and to whom.
function said(s: FakeSocket): string[] {
  return s.take().flatMap((l) => {
    const m = JSON.parse(l) as { message?: { data: { type: string; to?: string; roomType?: string } } };
    return m.message && ['offer', 'requestoffer', 'answer'].includes(m.message.data.type) ? [`${m.message.data.type} ${m.message.data.to}`] : [];
  });
}

// In a call with b, whose video comes over the second connection.
async function together(): Promise<{ m: Meeting; s: FakeSocket; flow: (ms: number) => Promise<void> }> {
  const m = meet('secret');
  const s = await through('s1');
  await enterRoom(s);
  await say(s, JOINED, CALL, offerOf('1'));
  const track = peers[1]?.receive('video');
  const flow = async (ms: number) => {
    for (let t = 0; t < ms; t += 50) {
      track?.flow();
      await vi.advanceTimersByTimeAsync(50);
    }
  };
  await flow(300);
  s.take();
  asked = [];
  return { m, s, flow };
}

const resumed = (what: string) => `{"id":"1","type":"hello","hello":{"sessionid":"s1","resumeid":"r2","resumed":${what},"server":{"node":"n2"}}}`;

async function reach(url: string): Promise<FakeSocket> {
  const s = await step();
  expect(s.url).toBe(url);
  s.open();
  await say(s, `{"type":"welcome","welcome":{${NODES}}}`);
  return s;
}

test('killed: the same session at another node publishes and asks in the moment it is there', async () => {
  const { m, s } = await together();
  dead.add('n1');
  s.drop();
  (await step()).drop();
  const other = await reach('ws://n2/spreed');
  other.take();
  await say(other, resumed('{"media":false,"room":"abc"}'));
  expect(said(other)).toEqual(['requestoffer b', 'offer s1']);
  expect([m.phase, m.call.participants.get('b')?.name, asked]).toEqual(['call', 'Ben', []]);
  expect(m.reconnecting).toBe(true);
  // The lists: b has left meanwhile, c is there.
  await say(other, JOINED.replace('"b"', '"c"'), CALL.replace('"b"', '"c"'));
  expect(said(other)).toEqual(['requestoffer c']);
  await vi.advanceTimersByTimeAsync(3_000);
  expect([...m.call.participants.keys()]).toEqual(['c']);
  m.leave();
});

test('killed, and the room is not known at the other node: it is entered again with the same session', async () => {
  const { m, s } = await together();
  dead.add('n1');
  s.drop();
  (await step()).drop();
  const other = await reach('ws://n2/spreed');
  await say(other, resumed('{"media":false}'));
  await enterRoom(other);
  expect(asked).toEqual(['POST n2/v4/call/abc secret']);
  expect(said(other)).toEqual(['requestoffer b', 'offer s1']);
  expect(m.phase).toBe('call');
  await say(other, JOINED, CALL);
  await vi.advanceTimersByTimeAsync(5_000);
  expect([...m.call.participants.keys()]).toEqual(['b']);
  m.leave();
});

test('the socket breaks, the node lives: through another node nothing is touched', async () => {
  const { m, s } = await together();
  const made = peers.length;
  s.drop();
  (await step()).drop();
  const front = await reach('ws://n2/spreed');
  front.take();
  await say(front, resumed('{"media":true}'), CALL);
  expect([front.take(), peers.length, asked, m.reconnecting]).toEqual([[], made, [], false]);
  expect(peers.every((p) => !p.closed)).toBe(true);
  m.leave();
});

test('the node hangs: it is left within 3 s', async () => {
  const { m, s, flow } = await together();
  await flow(4_000);
  expect(s.take().filter((l) => l.includes('ping'))).toEqual([]);
  const since = Date.now();
  while (s.take().every((l) => !l.includes('ping'))) await vi.advanceTimersByTimeAsync(10);
  while (!s.closed) await vi.advanceTimersByTimeAsync(10);
  expect(Date.now() - since).toBeLessThan(3_000);
  // Its kernel still takes connections.
  await vi.advanceTimersByTimeAsync(150);
  expect((await step()).url).toBe('ws://n2/spreed');
  m.leave();
});

async function ordered(s: FakeSocket): Promise<FakeSocket> {
  await say(s, '{"type":"move","move":{"roomid":"abc","url":"ws://n2/spreed","ticket":"once","reason":"move","deadline_ms":8000}}');
  const second = await reach('ws://n2/spreed');
  second.take();
  await say(second, '{"id":"1","type":"hello","hello":{"sessionid":"s1","resumeid":"r2","moving":true,"server":{"node":"n2"}}}');
  await vi.advanceTimersByTimeAsync(100); // our own connection comes first
  return second;
}

test('a move: everything is there before it is done', async () => {
  const { m, s, flow } = await together();
  const second = await ordered(s);
  expect(said(second)).toEqual(['offer s1', 'requestoffer b']);
  await say(second, offerOf('2'));
  expect(said(second)).toEqual(['answer b']);
  peers[2]?.become('connected');
  await flow(500);
  expect([second.take(), said(s)]).toEqual([[], []]);
  const track = peers[3]?.receive('video');
  track?.flow();
  await flow(50);
  expect(second.take()).toEqual(['{"id":"2","type":"move","move":{"state":"done"}}']);
  await say(second, '{"id":"2","type":"move","move":{"state":"done","room":{"roomid":"abc","home":"n2"}}}');
  expect([m.signaling.serving, m.signaling.home, m.phase, m.reconnecting]).toEqual(['n2', 'n2', 'call', false]);
  expect(asked).toEqual([]);
  // What the connections say goes over the second link, and whatever takes its place.
  await say(second, CALL.replace('"b"', '"c"'));
  expect(said(second)).toEqual(['requestoffer c']);
  second.drop();
  m.call.presence.users([{ sessionId: 'd', inCall: 7 }]);
  const third = await reach('ws://n2/spreed');
  third.take();
  await say(third, resumed('{"media":true}'));
  expect(said(third)).toEqual(['requestoffer d']);
  m.leave();
});

test('a move that cannot be done is told to the new node, and nothing has happened', async () => {
  const { m, s, flow } = await together();
  const second = await ordered(s);
  second.take();
  await flow(8_100);
  expect(second.take()).toEqual(['{"type":"move","move":{"state":"abort"}}']);
  expect([second.closed, s.closed, m.signaling.serving, m.reconnecting]).toEqual([true, false, 'n1', false]);
  expect(peers.map((p) => p.closed)).toEqual([false, false, true]);
  m.leave();
});

test('the old node dies during a move: the session is finished at the new one', async () => {
  const { m, s } = await together();
  const second = await ordered(s);
  peers[2]?.become('connected');
  second.take();
  s.drop();
  await step();
  expect(second.take()).toEqual(['{"id":"2","type":"move","move":{"state":"done"}}']);
  await say(second, '{"id":"2","type":"move","move":{"state":"done"}}');
  expect([m.signaling.serving, m.phase, m.reconnecting]).toEqual(['n2', 'call', false]);
  m.leave();
});

test('the answer that a move is done is lost: everything is made anew at the new node', async () => {
  const { m, s } = await together();
  const second = await ordered(s);
  peers[2]?.become('connected');
  s.drop();
  await step();
  second.drop();
  const third = await step();
  third.drop();
  const fourth = await reach('ws://n2/spreed');
  fourth.take();
  await say(fourth, resumed('{"media":false,"room":"abc"}'));
  expect(said(fourth)).toEqual(['requestoffer b', 'offer s1']);
  await say(fourth, JOINED, CALL);
  expect([m.signaling.serving, m.phase, asked]).toEqual(['n2', 'call', []]);
  m.leave();
});

test('a guest whose token is too old comes as a new guest', async () => {
  guest = 'old';
  refuse['/v4/room/abc/participants/active old'] = 401;
  const m = meet();
  await enterRoom(await through('s1'));
  expect(guest).toBe('g1');
  expect(m.phase).toBe('call');
  m.leave();
});

test('refusals are told in words, and end it', async () => {
  for (const [status, account, reason] of [
    [404, 'secret', 'not_found'],
    [403, '', 'not_found'],
    [401, 'secret', 'logged_out'],
    [429, '', 'too_many'],
  ] as const) {
    refuse = { [`/v4/room/abc/participants/active ${account || '-'}`]: status };
    const m = meet(account);
    await vi.advanceTimersByTimeAsync(0);
    await settle();
    expect([m.phase, m.reason]).toEqual(['over', reason]);
  }
  expect(sockets).toEqual([]);
});

test('leaving tells the API and the node', async () => {
  const m = meet('secret');
  const s = await through('s1');
  await enterRoom(s);
  asked = [];
  m.leave();
  await step();
  expect(s.sent.at(-1)).toBe('{"type":"bye","bye":{}}');
  expect(asked).toEqual(['DELETE n1/v4/call/abc secret', 'DELETE n1/v4/room/abc/participants/active secret']);
  expect([m.phase, m.reason]).toEqual(['over', '']);
});
