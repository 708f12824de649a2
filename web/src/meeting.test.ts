import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Api } from './api';
import { Meeting } from './meeting';
import { FakePeer, FakeSocket, settle } from './testing';

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
      newStream: () => ({ getTracks: () => [], addTrack: () => {}, removeTrack: () => {} }) as unknown as MediaStream,
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
  for (let i = 0; i < 2; i++) {
    (await step()).drop();
    await vi.advanceTimersByTimeAsync(400);
  }
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
  expect(s.sent).toEqual(['{"id":"1","type":"hello","hello":{"version":"1.0","resumeid":"r-s1"}}']);
  expect([asked, peers.length, m.reconnecting]).toEqual([[], made, false]);
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
