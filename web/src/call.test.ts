import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Call } from './call';
import { FakePeer, fakeStream, settle } from './testing';
import type { PeerData, Recipient } from './wire';

let peers: FakePeer[] = [];
let sent: { to: Recipient; data: PeerData }[] = [];
let call: Call;

const track = (kind: string) => ({ kind, muted: true, onunmute: null as (() => void) | null }) as unknown as MediaStreamTrack;

beforeEach(() => {
  vi.useFakeTimers({ now: 1_700_000_000_000 });
  peers = [];
  sent = [];
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
  call.begin('own', 'Ada');
});

afterEach(() => {
  call.leave();
  vi.useRealTimers();
});

const of = (type: string) => sent.filter((m) => m.data.type === type);
const peer = (n: number): FakePeer => {
  const p = peers[n];
  if (!p) throw new Error(`connection ${n} was not made`);
  return p;
};
const from = (session: string, data: PeerData) => call.receive({ type: 'session', sessionid: session }, data);

async function entered(): Promise<void> {
  call.enter();
  await settle();
}

test('publishes an offer to the own session, with both sections although everything is muted', async () => {
  await entered();
  expect(peers).toHaveLength(1);
  expect(peer(0).transceivers.map((t) => [t.kind, t.init.direction, t.track])).toEqual([
    ['audio', 'sendonly', null],
    ['video', 'sendonly', null],
  ]);
  expect(peer(0).transceivers[1]?.init.sendEncodings).toEqual([{ maxBitrate: 1_000_000, maxFramerate: 30 }]);
  expect(peer(0).channels.map((c) => c.label)).toEqual(['status']);
  expect(of('offer')).toEqual([
    {
      to: { type: 'session', sessionid: 'own' },
      data: { type: 'offer', to: 'own', sid: '1700000000000', roomType: 'video', payload: { type: 'offer', sdp: 'offer-0', nick: 'Ada' } },
    },
  ]);
});

test('the limit of the room lowers the bit rate, and never raises it', async () => {
  call.limit(300_000, 9_000_000);
  await entered();
  expect(peer(0).transceivers[1]?.init.sendEncodings?.[0]?.maxBitrate).toBe(300_000);
  call.startScreen(track('video'));
  await settle();
  expect(peer(1).transceivers[0]?.init.sendEncodings?.[0]?.maxBitrate).toBe(2_000_000);
});

test('without an answer a new offer with a new sid goes out every 10 s, with one no more', async () => {
  await entered();
  await vi.advanceTimersByTimeAsync(10_000);
  const sids = of('offer').map((m) => m.data.sid);
  expect(sids).toEqual(['1700000000000', '1700000010000']);
  expect(peer(0).closed).toBe(true);
  // The answer to the offer that was given up changes nothing.
  from('own', { type: 'answer', roomType: 'video', sid: '1700000000000', payload: { type: 'answer', sdp: 'old' } });
  from('own', { type: 'answer', roomType: 'video', sid: '1700000010000', payload: { type: 'answer', sdp: 'new' } });
  await settle();
  expect(peer(1).remoteDescription).toEqual({ type: 'answer', sdp: 'new' });
  await vi.advanceTimersByTimeAsync(60_000);
  expect(of('offer')).toHaveLength(2);
});

test('candidates of the own connection wait for the answer', async () => {
  await entered();
  const candidate = { candidate: 'candidate:1', sdpMid: '0' };
  from('own', { type: 'candidate', roomType: 'video', sid: '1700000000000', payload: { candidate } });
  from('own', { type: 'candidate', roomType: 'video', sid: '1', payload: { candidate } });
  await settle();
  expect(peer(0).candidates).toEqual([]);
  from('own', { type: 'answer', roomType: 'video', sid: '1700000000000', payload: { sdp: 'a' } });
  await settle();
  expect(peer(0).candidates).toEqual([candidate]);
  peer(0).onicecandidate?.({ candidate: { candidate: 'candidate:2', sdpMid: '1', sdpMLineIndex: 1 } });
  expect(of('candidate')[0]).toEqual({
    to: { type: 'session', sessionid: 'own' },
    data: { type: 'candidate', to: 'own', sid: '1700000000000', roomType: 'video', payload: { candidate: { candidate: 'candidate:2', sdpMid: '1', sdpMLineIndex: 1 } } },
  });
});

test('a failed own connection is made anew', async () => {
  await entered();
  let broken = 0;
  call.on('broken', () => broken++);
  peer(0).become('failed');
  await settle();
  expect(broken).toBe(1);
  expect(peers).toHaveLength(2);
  expect(of('offer')).toHaveLength(2);
  expect(of('offer')[1]?.data.sid).not.toBe(of('offer')[0]?.data.sid);
});

test('muting is a sender without a track, told to everybody over both ways', async () => {
  const mic = track('audio');
  call.setTrack('audio', mic);
  await entered();
  call.presence.users([{ sessionId: 'b', inCall: 7 }]);
  await vi.advanceTimersByTimeAsync(20_000);
  from('own', { type: 'answer', roomType: 'video', sid: of('offer').at(-1)?.data.sid ?? '', payload: { sdp: 'a' } });
  sent = [];
  call.setTrack('audio', null);
  await settle();
  const own = peers.findLast((p) => !p.closed && p.transceivers.length > 0);
  expect(own?.transceivers[0]?.track).toBeNull();
  expect(own?.channels[0]?.sent).toEqual(['{"type":"audioOff"}']);
  expect(of('mute')).toEqual([{ to: { type: 'session', sessionid: 'b' }, data: { type: 'mute', to: 'b', roomType: 'video', payload: { name: 'audio' } } }]);
  call.setTrack('audio', mic);
  expect(own?.channels[0]?.sent.at(-1)).toBe('{"type":"audioOn"}');
  expect(of('unmute')).toHaveLength(1);
});

test('asks everybody in the call for an offer, every 10 s until one comes', async () => {
  call.presence.users([
    { sessionId: 'own', inCall: 7 },
    { sessionId: 'b', inCall: 7 },
    { sessionId: 'c', inCall: 0 },
    { sessionId: 'd', inCall: 1 },
  ]);
  expect(sent).toEqual([]);
  await entered();
  expect(of('requestoffer')).toEqual([{ to: { type: 'session', sessionid: 'b' }, data: { type: 'requestoffer', to: 'b', roomType: 'video' } }]);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(of('requestoffer')).toHaveLength(2);
  from('b', { type: 'offer', roomType: 'video', sid: 'x', payload: { type: 'offer', sdp: 'theirs' } });
  await settle();
  const p = peer(peers.length - 1);
  expect(p.remoteDescription).toEqual({ type: 'offer', sdp: 'theirs' });
  expect(p.channels.map((c) => c.label)).toEqual(['status']);
  expect(of('answer')).toEqual([
    { to: { type: 'session', sessionid: 'b' }, data: { type: 'answer', to: 'b', sid: 'x', roomType: 'video', payload: { type: 'answer', sdp: `answer-${p.number}` } } },
  ]);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(of('requestoffer')).toHaveLength(2);
});

test('a new sid is a new connection, the same sid an update', async () => {
  await entered();
  call.presence.users([{ sessionId: 'b', inCall: 7 }]);
  from('b', { type: 'offer', roomType: 'video', sid: 'x', payload: { sdp: '1' } });
  await settle();
  from('b', { type: 'offer', roomType: 'video', sid: 'x', payload: { sdp: '2' } });
  await settle();
  expect(peers).toHaveLength(2);
  from('b', { type: 'offer', roomType: 'video', sid: 'y', payload: { sdp: '3' } });
  await settle();
  expect(peers).toHaveLength(3);
  expect(peer(1).closed).toBe(true);
});

test('candidates that overtake their offer are kept for it', async () => {
  await entered();
  call.presence.users([{ sessionId: 'b', inCall: 7 }]);
  const candidate = { candidate: 'candidate:1', sdpMid: '' };
  from('b', { type: 'candidate', roomType: 'video', sid: 'x', payload: { candidate } });
  from('b', { type: 'candidate', roomType: 'video', sid: 'old', payload: { candidate } });
  from('b', { type: 'offer', roomType: 'video', sid: 'x', payload: { sdp: '1' } });
  await settle();
  expect(peer(1).candidates).toEqual([candidate]);
});

test('a failed receiving connection is asked for again; disconnected is shown after 5 s', async () => {
  await entered();
  call.presence.users([{ sessionId: 'b', inCall: 7 }]);
  from('b', { type: 'offer', roomType: 'video', sid: 'x', payload: { sdp: '1' } });
  await settle();
  const camera = call.participants.get('b')?.camera;
  peer(1).become('disconnected');
  await vi.advanceTimersByTimeAsync(4_900);
  expect(camera?.problem).toBe(false);
  await vi.advanceTimersByTimeAsync(200);
  expect(camera?.problem).toBe(true);
  peer(1).become('connected');
  expect(camera?.problem).toBe(false);
  sent = [];
  peer(1).become('failed');
  expect(of('requestoffer')).toHaveLength(1);
});

test('tells a newcomer name and state, again after 1, 2, 4, 8, 16 s, and stops when they leave', async () => {
  await entered();
  call.presence.users([{ sessionId: 'b', inCall: 7 }]);
  await vi.advanceTimersByTimeAsync(16_000);
  expect(of('nickChanged').map((m) => [m.to.sessionid, m.data.payload?.name])).toEqual(Array.from({ length: 6 }, () => ['b', 'Ada']));
  expect(of('mute')).toHaveLength(12);
  call.presence.users([{ sessionId: 'c', inCall: 7 }]);
  call.presence.left(['c']);
  sent = [];
  await vi.advanceTimersByTimeAsync(20_000);
  expect(sent.filter((m) => m.to.sessionid === 'c')).toEqual([]);
});

test('knows the others by messages and by their data channel', async () => {
  await entered();
  call.presence.joined([{ sessionid: 'b', userid: 'ben', user: { displayname: 'Ben' } }, { sessionid: 'g' }]);
  call.presence.users([
    { sessionId: 'b', inCall: 7 },
    { sessionId: 'g', inCall: 7 },
  ]);
  from('g', { type: 'nickChanged', payload: { name: 'Guest' } });
  from('b', { type: 'mute', payload: { name: 'video' } });
  from('b', { type: 'unmute', payload: { name: 'audio' } });
  from('b', { type: 'offer', roomType: 'video', sid: 'x', payload: { sdp: '1' } });
  await settle();
  const b = call.participants.get('b');
  expect([b?.name, b?.audio, b?.video, b?.speaking]).toEqual(['Ben', true, false, false]);
  expect(call.participants.get('g')?.name).toBe('Guest');
  const channel = peer(peers.length - 1).channels[0];
  for (const line of ['{"type":"speaking"}', '{"type":"videoOn"}', '{"type":"nickChanged","payload":"Benjamin"}', 'nonsense', '{"type":7}']) {
    channel?.onmessage?.({ data: line });
  }
  expect([b?.name, b?.audio, b?.video, b?.speaking]).toEqual(['Benjamin', true, true, true]);
  channel?.onmessage?.({ data: '{"type":"audioOff"}' });
  expect([b?.audio, b?.speaking]).toEqual([false, false]);
});

test('who is missing in a list stays, who leaves the call is hung up', async () => {
  await entered();
  call.presence.users([{ sessionId: 'b', inCall: 7 }]);
  from('b', { type: 'offer', roomType: 'video', sid: 'x', payload: { sdp: '1' } });
  await settle();
  call.presence.users([{ sessionId: 'c', inCall: 7 }]);
  expect(peer(1).closed).toBe(false);
  call.presence.users([{ sessionId: 'b', inCall: 0 }]);
  expect(peer(1).closed).toBe(true);
  expect(call.participants.get('b')?.camera).toBeNull();
});

test('a screen: everybody is announced before the offer, who comes later too; the end is told to both', async () => {
  await entered();
  call.presence.users([{ sessionId: 'b', inCall: 7 }]);
  sent = [];
  call.startScreen(track('video'));
  await settle();
  const order = sent.filter((m) => m.data.roomType === 'screen').map((m) => [m.data.type, m.to.sessionid]);
  expect(order).toEqual([
    ['sendoffer', 'b'],
    ['offer', 'own'],
  ]);
  expect(of('offer')[0]?.data.broadcaster).toBe('own');
  expect(peer(1).channels).toEqual([]);
  expect(peer(1).transceivers.map((t) => t.kind)).toEqual(['video']);
  call.presence.users([{ sessionId: 'c', inCall: 7 }]);
  expect(of('sendoffer').map((m) => m.to.sessionid)).toEqual(['b', 'c']);
  const sid = of('offer')[0]?.data.sid;
  call.stopScreen();
  expect(of('unshareScreen')).toEqual([
    { to: { type: 'session', sessionid: 'own' }, data: { type: 'unshareScreen', to: 'own', sid, roomType: 'screen' } },
    { to: { type: 'room' }, data: { type: 'unshareScreen', roomType: 'screen' } },
  ]);
  expect(peer(1).closed).toBe(true);
});

test('the screen of another comes unasked and goes when they say so', async () => {
  await entered();
  call.presence.users([{ sessionId: 'b', inCall: 7 }]);
  from('b', { type: 'offer', roomType: 'screen', sid: 'z', payload: { sdp: '1' } });
  await settle();
  expect(peer(1).channels).toEqual([]);
  expect(of('answer')[0]?.data.roomType).toBe('screen');
  call.receive({ type: 'room', sessionid: 'b' }, { type: 'unshareScreen', roomType: 'screen' });
  expect(peer(1).closed).toBe(true);
  expect(call.participants.get('b')?.screen).toBeNull();
});

test('a screen that is offered before the answer to joining the call is not lost', async () => {
  from('b', { type: 'offer', sid: '1', roomType: 'screen', payload: { type: 'offer', sdp: 'too early' } });
  await settle();
  expect(peers).toHaveLength(0);
  call.listen();
  from('b', { type: 'offer', sid: '2', roomType: 'screen', payload: { type: 'offer', sdp: 'screen' } });
  await settle();
  expect(of('answer').map((m) => m.data.sid)).toEqual(['2']);
  call.presence.users([{ sessionId: 'b', inCall: 7 }]);
  await entered();
  expect(call.participants.get('b')?.screen).not.toBeNull();
  expect(peer(0).closed).toBe(false);
});

test('a moderator mutes only whom they name', () => {
  let muted = 0;
  call.on('muted', () => muted++);
  call.receiveControl({ type: '', action: 'forceMute', peerId: 'b' });
  expect(muted).toBe(0);
  call.receiveControl({ type: '', action: 'forceMute', peerId: 'own' });
  expect(muted).toBe(1);
});

test('a new session drops every connection of the old one, and a shared screen goes on in the new one', async () => {
  call.startScreen(track('video'));
  await entered();
  call.presence.users([{ sessionId: 'b', inCall: 7 }]);
  expect(peers).toHaveLength(2);
  call.begin('own2', 'Ada');
  expect(peers.every((p) => p.closed)).toBe(true);
  expect(call.participants.size).toBe(0);
  sent = [];
  await entered();
  expect(of('offer').map((m) => [m.data.roomType, m.to.sessionid])).toEqual([
    ['video', 'own2'],
    ['screen', 'own2'],
  ]);
});
