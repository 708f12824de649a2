// Fakes for tests: a WebSocket whose other end is the test, and connections
// that only remember what was done to them.

import type { SocketLike } from './link';

export class FakeSocket {
  onopen: SocketLike['onopen'] = null;
  onmessage: SocketLike['onmessage'] = null;
  onclose: SocketLike['onclose'] = null;
  sent: string[] = [];
  closed = false;

  constructor(readonly url: string) {}

  send(data: string): void {
    this.sent.push(data);
  }

  close(): void {
    this.closed = true;
  }

  /** What the client said since the last call. */
  take(): string[] {
    return this.sent.splice(0);
  }

  open(): void {
    this.onopen?.call(this.asSocket(), {} as Event);
  }

  say(line: string): void {
    this.onmessage?.call(this.asSocket(), { data: line } as MessageEvent);
  }

  drop(code = 1006): void {
    this.onclose?.call(this.asSocket(), { code } as CloseEvent);
  }

  asSocket(): WebSocket {
    return this as unknown as WebSocket;
  }
}

/** Lets everything that waits only for promises happen. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
}

/** A track that a connection receives. */
export interface FakeTrack {
  id: string;
  kind: 'audio' | 'video';
  from: number;
  muted: boolean;
  onunmute: (() => void) | null;
  /** Something comes out of it. */
  flow(): void;
}

/** A stream that only knows its tracks, by their ids as browsers do. */
export function fakeStream(): MediaStream {
  const tracks = new Map<string, MediaStreamTrack>();
  return {
    getTracks: () => [...tracks.values()],
    addTrack: (t: MediaStreamTrack) => tracks.has(t.id) || tracks.set(t.id, t),
    removeTrack: (t: MediaStreamTrack) => tracks.delete(t.id),
  } as unknown as MediaStream;
}

type Transceiver = { kind: string; init: RTCRtpTransceiverInit; track: unknown };

export class FakePeer {
  connectionState: RTCPeerConnectionState = 'new';
  remoteDescription: RTCSessionDescriptionInit | null = null;
  localDescription: RTCSessionDescriptionInit | null = null;
  transceivers: Transceiver[] = [];
  channels: { label: string; readyState: string; sent: string[]; onopen: (() => void) | null; onmessage: ((e: { data: string }) => void) | null }[] = [];
  candidates: unknown[] = [];
  closed = false;
  onicecandidate: ((e: { candidate: unknown }) => void) | null = null;
  onconnectionstatechange: (() => void) | null = null;
  ontrack: ((e: { track: FakeTrack; receiver: object }) => void) | null = null;
  ondatachannel: unknown = null;

  constructor(readonly number: number) {}

  addTransceiver(what: string | { kind: string }, init: RTCRtpTransceiverInit) {
    const t: Transceiver = { kind: typeof what === 'string' ? what : what.kind, init, track: typeof what === 'string' ? null : what };
    this.transceivers.push(t);
    return {
      sender: {
        replaceTrack: (track: unknown) => {
          t.track = track;
          return Promise.resolve();
        },
      },
    };
  }

  /** What the node calls a track; most often the same, whatever the connection. */
  names = (kind: string): string => kind;

  /** A track comes, which flows when it is told to. */
  receive(kind: 'audio' | 'video'): FakeTrack {
    let timestamp = 0;
    const track: FakeTrack = { id: this.names(kind), kind, from: this.number, muted: true, onunmute: null, flow: () => timestamp++ };
    this.ontrack?.({ track, receiver: { getSynchronizationSources: () => (timestamp > 0 ? [{ timestamp }] : []) } });
    return track;
  }

  createDataChannel(label: string) {
    const sent: string[] = [];
    const channel = { label, readyState: 'open', sent, onopen: null, onmessage: null, send: (d: string) => sent.push(d) };
    this.channels.push(channel);
    return channel;
  }

  createOffer() {
    return Promise.resolve({ type: 'offer' as const, sdp: `offer-${this.number}` });
  }

  createAnswer() {
    return Promise.resolve({ type: 'answer' as const, sdp: `answer-${this.number}` });
  }

  setLocalDescription(d: RTCSessionDescriptionInit) {
    this.localDescription = d;
    return Promise.resolve();
  }

  setRemoteDescription(d: RTCSessionDescriptionInit) {
    this.remoteDescription = d;
    return Promise.resolve();
  }

  addIceCandidate(c: unknown) {
    this.candidates.push(c);
    return Promise.resolve();
  }

  become(state: RTCPeerConnectionState): void {
    this.connectionState = state;
    this.onconnectionstatechange?.();
  }

  close(): void {
    this.closed = true;
  }

  asPeer(): RTCPeerConnection {
    return this as unknown as RTCPeerConnection;
  }
}
