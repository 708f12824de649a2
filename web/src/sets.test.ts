// The media go from one node to another: what is shown, what is sent, and when.

import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Call } from './call';
import type { Feed } from './feed';
import { FakePeer, fakeStream, settle, type FakeTrack } from './testing';
import { aboutMedia, type PeerData, type Recipient } from './wire';

type Said = { to: Recipient; data: PeerData };

let peers: FakePeer[] = [];
let sent: Said[] = [];
let call: Call;
let broken = 0;

const aboutConnections = () => sent.filter((m) => aboutMedia(m.data));
const own = (kind: string) => ({ kind, muted: false }) as unknown as MediaStreamTrack;

beforeEach(() => {
  vi.useFakeTimers({ now: 1_700_000_000_000 });
  peers = [];
  sent = [];
  broken = 0;
  call = new Call({
    peer: () => {
      const p = new FakePeer(peers.length);
      peers.push(p);
      return p.asPeer();
    },
    newStream: fakeStream,
    now: () => Date.now(),
    send: (to, data) => sent.push({ to, data }),
  });
  call.on('broken', () => broken++);
  call.begin('own', 'Ada');
});

afterEach(() => {
  call.leave();
  vi.useRealTimers();
});

const wait = (ms: number) => vi.advanceTimersByTimeAsync(ms);
const told = (said: Said[], type: string) => said.filter((m) => m.data.type === type).map((m) => `${m.to.sessionid ?? m.to.type} ${m.data.roomType}`);

function peer(n: number): FakePeer {
  const p = peers[n];
  if (!p) throw new Error(`connection ${n} was not made`);
  return p;
}

type Receive = (sender: { type: string; sessionid: string }, data: PeerData) => void;

// What somebody publishes is offered, and a connection made for it.
async function offered(session: string, receive: Receive = (s, d) => call.receive(s, d), roomType: 'video' | 'screen' = 'video'): Promise<FakePeer> {
  const n = peers.length;
  receive({ type: 'session', sessionid: session }, { type: 'offer', roomType, sid: `${session}-${n}`, payload: { type: 'offer', sdp: 'theirs' } });
  await settle();
  return peer(n);
}

interface Tracks {
  audio: FakeTrack;
  video: FakeTrack;
}

function media(p: FakePeer): Tracks {
  return { audio: p.receive('audio'), video: p.receive('video') };
}

// Lets tracks bring something for a while.
async function flow(ms: number, ...tracks: FakeTrack[]): Promise<void> {
  for (let t = 0; t < ms; t += 50) {
    for (const track of tracks) track.flow();
    await wait(50);
  }
}

const from = (t: MediaStreamTrack): number => (t as unknown as FakeTrack).from;

// The connections whose tracks are heard and seen; in brackets, those that play unheard.
function shown(feed: Feed | null | undefined): string {
  const voices = (feed?.voices ?? []).map((v) => (v.heard ? `audio ${from(v.track)}` : `(audio ${from(v.track)})`));
  return [...voices, ...(feed?.stream.getTracks() ?? []).map((t) => `video ${from(t)}`)].join(', ');
}

const camera = (session: string) => call.participants.get(session)?.camera;

// In the call with b, whose audio and video come over connection 1.
async function withB(): Promise<Tracks> {
  call.setTrack('audio', own('audio'));
  call.enter();
  call.presence.users([{ sessionId: 'b', inCall: 7 }]);
  await settle();
  peer(0).become('connected');
  const b = media(await offered('b'));
  await flow(500, b.audio, b.video);
  sent = [];
  return b;
}

test('the node is gone: all is made anew at once, and the last picture stays until there is a new one', async () => {
  await withB();
  const stream = camera('b')?.stream;
  call.rebuild();
  await settle();
  expect(told(sent, 'requestoffer')).toEqual(['b video']);
  expect(told(sent, 'offer')).toEqual(['own video']);
  expect(peer(0).closed).toBe(true);
  expect([peer(1).closed, call.problem, shown(camera('b'))]).toEqual([false, true, 'audio 1, video 1']);

  const b = media(await offered('b'));
  await wait(200);
  expect(shown(camera('b'))).toBe('(audio 3), audio 1, video 1');
  await flow(50, b.audio);
  expect(shown(camera('b'))).toBe('audio 3, (audio 1), video 1');
  await flow(50, b.audio, b.video);
  expect(shown(camera('b'))).toBe('audio 3, (audio 1), video 3');
  expect(call.problem).toBe(true);
  peer(2).become('connected');
  await flow(50, b.audio, b.video);
  expect(call.problem).toBe(false);
  expect(camera('b')?.stream).toBe(stream);
  // What became of the old connections is told to nobody.
  sent = [];
  peer(1).become('failed');
  await flow(9_000, b.audio, b.video);
  expect([aboutConnections(), peer(1).closed, shown(camera('b'))]).toEqual([[], true, 'audio 3, video 3']);
});

test('the next node is gone as well: still the last picture', async () => {
  await withB();
  call.rebuild();
  media(await offered('b'));
  call.rebuild();
  const b = media(await offered('b'));
  await wait(100);
  expect(shown(camera('b'))).toBe('(audio 5), audio 3, video 1');
  await flow(50, b.audio, b.video);
  expect(shown(camera('b'))).toBe('audio 5, (audio 3), video 5');
});

test('who does not come back is shown no longer than 8 s as they were', async () => {
  await withB();
  call.rebuild();
  const b = media(await offered('b'));
  await wait(7_900);
  expect(shown(camera('b'))).toBe('(audio 3), audio 1, video 1');
  await wait(200);
  expect([shown(camera('b')), call.problem]).toEqual(['audio 3, video 3', false]);
  // Then they do.
  await flow(300, b.video);
  expect(shown(camera('b'))).toBe('audio 3, video 3');
});

test('who left while we were away is dropped, who came is there, once the lists have come', async () => {
  await withB();
  call.presence.users([
    { sessionId: 'c', inCall: 7 },
    { sessionId: 'd', inCall: 7 },
  ]);
  call.presence.recount();
  call.rebuild();
  await wait(10_000);
  expect([...call.participants.keys()]).toEqual(['b', 'c', 'd']);
  call.presence.joined([{ sessionid: 'own' }, { sessionid: 'b' }, { sessionid: 'd' }, { sessionid: 'e' }]);
  call.presence.users([
    { sessionId: 'b', inCall: 7 },
    { sessionId: 'e', inCall: 7 },
  ]);
  await wait(3_000);
  expect([...call.participants.values()].map((p) => [p.session, p.inCall])).toEqual([
    ['b', 7],
    ['d', 0],
    ['e', 7],
  ]);
  expect(call.participants.get('d')?.camera).toBeNull();
  // A list of later is not complete.
  call.presence.joined([{ sessionid: 'own' }]);
  await wait(5_000);
  expect(call.participants.size).toBe(3);
});

test('media that stop are told once, within 1.3 s', async () => {
  const b = await withB();
  await flow(3_000, b.audio);
  expect(broken).toBe(0);
  await wait(900);
  expect(broken).toBe(0);
  await wait(400);
  expect(broken).toBe(1);
  await wait(10_000);
  expect(broken).toBe(1);
  await flow(1_000, b.audio);
  await wait(1_300);
  expect(broken).toBe(2);
});

// A move: what is said over the second link, and what comes over it.
function warm(limit = 8_000): { said: Said[]; ready: Promise<boolean>; outcome: () => boolean | undefined } {
  const said: Said[] = [];
  let outcome: boolean | undefined;
  const ready = call.warm((to, data) => said.push({ to, data }), limit);
  void ready.then((r) => (outcome = r));
  return { said, ready, outcome: () => outcome };
}

const next: Receive = (s, d) => call.receiveNext(s, d);

test('a move: both nodes have all, each picture changes when it can, the old connections end after 3 s', async () => {
  const old = await withB();
  const { said, outcome } = warm();
  await wait(100);
  expect(told(said, 'requestoffer')).toEqual(['b video']);
  expect(told(said, 'offer')).toEqual(['own video']);
  expect(aboutConnections()).toEqual([]);
  // The same microphone on both ways, whatever becomes of it.
  expect([peer(0).closed, peer(2).transceivers[0]?.track === peer(0).transceivers[0]?.track]).toEqual([false, true]);
  call.setTrack('audio', null);
  expect([peer(0), peer(2)].map((p) => p.transceivers[0]?.track)).toEqual([null, null]);
  expect([peer(0), peer(2)].map((p) => p.channels[0]?.sent.at(-1))).toEqual(['{"type":"audioOff"}', '{"type":"audioOff"}']);
  sent = [];

  const b = media(await offered('b', next));
  expect(told(said, 'answer')).toEqual(['b video']);
  await flow(300, old.audio, old.video);
  expect([shown(camera('b')), outcome()]).toEqual(['(audio 3), audio 1, video 1', undefined]);
  await flow(100, old.audio, old.video, b.video);
  expect([shown(camera('b')), outcome()]).toEqual(['(audio 3), audio 1, video 3', undefined]);
  await flow(100, old.audio, old.video, b.video, b.audio);
  expect(shown(camera('b'))).toBe('audio 3, (audio 1), video 3');
  // The others cannot have us at the new node before we are there.
  expect(outcome()).toBeUndefined();
  peer(2).become('connected');
  await flow(50, old.audio, old.video, b.video, b.audio);
  expect(outcome()).toBe(true);

  call.switchOver();
  await flow(2_900, b.video, b.audio);
  expect([peer(0).closed, peer(1).closed, call.problem]).toEqual([false, false, false]);
  await flow(200, b.video, b.audio);
  expect([peer(0).closed, peer(1).closed, shown(camera('b')), broken]).toEqual([true, true, 'audio 3, video 3', 0]);
  expect(aboutConnections()).toEqual([]);
});

test('a move waits for nobody who has sent nothing, and for nothing longer than the limit', async () => {
  const old = await withB();
  call.presence.users([{ sessionId: 'c', inCall: 7 }]);
  media(await offered('c')); // never flows
  const first = warm();
  await settle();
  peer(3).become('connected');
  const b = media(await offered('b', next));
  await flow(100, old.audio, old.video, b.audio, b.video);
  expect(first.outcome()).toBe(true);
  call.abandon();

  const second = warm(5_000);
  await settle();
  peer(peers.length - 1).become('connected');
  await flow(4_900, old.audio, old.video);
  expect(second.outcome()).toBeUndefined();
  await flow(200, old.audio, old.video);
  expect(second.outcome()).toBe(true);
});

test('a move that is given up: the old media are shown and heard again', async () => {
  const old = await withB();
  const { outcome } = warm();
  await settle();
  const b = media(await offered('b', next));
  await flow(100, old.audio, old.video, b.audio, b.video);
  expect(shown(camera('b'))).toBe('audio 3, (audio 1), video 3');
  call.abandon();
  expect(shown(camera('b'))).toBe('audio 1, video 1');
  await settle();
  expect([outcome(), peer(2).closed, peer(3).closed, peer(0).closed, peer(1).closed]).toEqual([false, true, true, false, false]);
  call.switchOver();
  expect(shown(camera('b'))).toBe('audio 1, video 1');
});

test('a move on which the own connection never comes is given up by itself', async () => {
  const old = await withB();
  const { outcome } = warm(2_000);
  await flow(2_100, old.audio, old.video);
  expect([outcome(), peer(2).closed, peer(0).closed]).toEqual([false, true, false]);
});

test('a hurry: what is there must do', async () => {
  await withB();
  const { outcome } = warm();
  await settle();
  peer(2).become('connected');
  call.hurry();
  await settle();
  expect(outcome()).toBe(true);
});

test('a move while screens are shared: theirs is asked for, ours is sent on both ways until it ends', async () => {
  const old = await withB();
  const theirs = (await offered('b', undefined, 'screen')).receive('video');
  call.startScreen(own('video'));
  await settle();
  await flow(200, old.audio, old.video, theirs);
  sent = [];
  const { said, outcome } = warm();
  await wait(200);
  expect(told(said, 'offer')).toEqual(['own video', 'own screen']);
  expect(told(said, 'requestoffer')).toEqual(['b video', 'b screen']);
  // They have it already: nobody is told twice.
  expect(told([...said, ...sent], 'sendoffer')).toEqual([]);
  const [camera2, screen2] = [peer(4), peer(5)];
  const b = media(await offered('b', next));
  const screen = (await offered('b', next, 'screen')).receive('video');
  camera2.become('connected');
  await flow(200, old.audio, old.video, theirs, b.audio, b.video, screen);
  expect(outcome()).toBeUndefined();
  screen2.become('connected');
  await flow(50, old.audio, old.video, theirs, b.audio, b.video, screen);
  expect([outcome(), shown(call.participants.get('b')?.screen)]).toEqual([true, 'video 7']);
  call.switchOver();
  sent = [];
  call.stopScreen();
  expect(told(sent, 'unshareScreen')).toEqual(['room screen']);
  expect(told(said, 'unshareScreen')).toEqual(['own screen']);
  expect([peer(3).closed, screen2.closed, camera2.closed]).toEqual([true, true, false]);
});

test('a move makes one connection after the other, our own first; what is not there when it is over follows', async () => {
  const old = await withB();
  for (const sessionId of ['c', 'd']) call.presence.users([{ sessionId, inCall: 7 }]);
  const { said, outcome } = warm();
  const asked = () => [...told(said, 'offer'), ...told(said, 'requestoffer')].map((m) => m.split(' ')[0]).join(' ');
  await settle();
  expect(asked()).toBe('own');
  await flow(100, old.audio, old.video);
  expect(asked()).toBe('own b');
  const b = media(await offered('b', next));
  peer(2).become('connected');
  await flow(50, old.audio, old.video, b.audio, b.video);
  expect([asked(), outcome()]).toEqual(['own b', true]); // nothing has come of c and d before
  call.switchOver();
  expect(asked()).toBe('own b c d');
});

test('after a move the old connections end one after the other', async () => {
  const old = await withB();
  call.presence.users([{ sessionId: 'c', inCall: 7 }]);
  await offered('c');
  warm();
  await settle();
  peer(3).become('connected');
  call.switchOver();
  await flow(3_050, old.audio, old.video);
  expect([peer(0).closed, peer(1).closed, peer(2).closed]).toEqual([true, true, false]);
  await flow(100, old.audio, old.video);
  expect(peer(2).closed).toBe(true);
});

test('a move in a large call begins all within two seconds', async () => {
  await withB();
  for (let i = 0; i < 99; i++) call.presence.users([{ sessionId: `p${i}`, inCall: 7 }]);
  const { said } = warm();
  await wait(100);
  expect(told(said, 'requestoffer').length).toBe(5);
  await wait(1_900);
  expect(told(said, 'requestoffer').length).toBe(100);
});

test('who comes, and what begins, during a move is there on both sides', async () => {
  await withB();
  const { said } = warm();
  await wait(100);
  call.presence.users([{ sessionId: 'c', inCall: 7 }]);
  await offered('b', undefined, 'screen');
  call.startScreen(own('video'));
  await settle();
  expect(told(said, 'requestoffer')).toEqual(['b video', 'c video', 'b screen']);
  expect(told(said, 'offer')).toEqual(['own video', 'own screen']);
  call.presence.left(['c']);
  expect(call.participants.has('c')).toBe(false);
});

test('two moves after each other', async () => {
  const old = await withB();
  let last = old;
  for (const base of [2, 4]) {
    const { outcome } = warm();
    await settle();
    const b = media(await offered('b', next));
    peer(base).become('connected');
    await flow(100, last.audio, last.video, b.audio, b.video);
    expect(outcome()).toBe(true);
    expect(shown(camera('b'))).toMatch(new RegExp(`^audio ${base + 1}, .*, video ${base + 1}$`));
    call.switchOver();
    last = b;
  }
  // The second did not wait for the end of the first.
  expect(peers.map((p) => p.closed)).toEqual([true, true, false, false, false, false]);
  await flow(3_100, last.audio, last.video);
  expect(peers.map((p) => p.closed)).toEqual([true, true, true, true, false, false]);
  expect(shown(camera('b'))).toBe('audio 5, video 5');
});

test('video that the node leaves out is told as long as its connection lasts', async () => {
  await withB();
  const shed = (sid: string, state: 'none' | 'lowered' | 'paused') => call.shed({ sessionid: 'b', roomType: 'video', sid, state });
  let changes = 0;
  call.on('change', () => changes++);
  shed('another', 'paused');
  expect([camera('b')?.paused, changes]).toEqual([false, 0]);
  shed('b-1', 'paused');
  expect([camera('b')?.paused, changes]).toEqual([true, 1]);
  shed('b-1', 'lowered');
  expect([camera('b')?.paused, changes]).toEqual([false, 2]);
  shed('b-1', 'paused');
  await offered('b');
  await wait(1000);
  expect(camera('b')?.paused).toBe(false);
});
