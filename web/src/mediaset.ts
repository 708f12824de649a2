// The connections over one link:
//
//   own tracks ── MediaSet ── one Publisher, one more for the screen
//   others     ── MediaSet ── one Subscriber per participant and kind
//
// A call has one set; two while it goes from one node to another.

import type { PeerDeps, StatusMessage } from './peer';
import { Publisher } from './publisher';
import { Subscriber, type Inbound } from './subscriber';
import type { PeerData, Sender, Shed } from './wire';

/** The two things a participant may publish, as data about media name them. */
export type Kind = 'video' | 'screen';
export const KINDS: readonly Kind[] = ['video', 'screen'];
export const TRACKS = ['audio', 'video'] as const;

/** What we are and send, over whichever link. */
export interface Own {
  session: string;
  nick: string;
  audio: MediaStreamTrack | null;
  video: MediaStreamTrack | null;
  screen: MediaStreamTrack | null;
  limits: { stream: number; screen: number };
}

export interface MediaSetOwner {
  changed(): void;
  /** Our status channel is open. */
  opened(set: MediaSet): void;
  /** An own connection failed and is made anew. */
  broken(set: MediaSet): void;
  status(session: string, m: StatusMessage): void;
  /** Somebody's track of this kind begins. */
  begun(session: string, track: 'audio' | 'video'): void;
}

export class MediaSet {
  /** The own connection has trouble. */
  problem = false;
  private camera: Publisher | null = null;
  private screen: Publisher | null = null;
  private readonly subscribers = new Map<string, Subscriber>();
  private readonly deps: PeerDeps;
  private retired = false;

  constructor(
    deps: PeerDeps,
    private readonly own: Own,
    private readonly owner: MediaSetOwner,
  ) {
    this.deps = {
      peer: deps.peer,
      now: deps.now,
      send: (to, data) => {
        if (!this.retired) deps.send(to, data);
      },
    };
  }

  /** All that we publish is on its way. */
  get published(): boolean {
    return this.camera?.connected === true && (!this.screen || this.screen.connected);
  }

  get sharing(): boolean {
    return this.screen !== null;
  }

  publish(): void {
    const { audio, video, limits } = this.own;
    const p = (this.camera = this.publisher('video', audio, video, limits.stream));
    p.onopen = () => this.owner.opened(this);
    p.onproblem = (problem) => {
      if (problem === this.problem) return;
      this.problem = problem;
      this.owner.changed();
    };
    void p.start();
    if (this.own.screen) this.publishScreen(this.own.screen);
  }

  publishScreen(track: MediaStreamTrack): void {
    this.screen?.close();
    this.screen = this.publisher('screen', null, track, this.own.limits.screen);
    void this.screen.start();
  }

  stopScreen(): void {
    const { screen } = this;
    if (!screen) return;
    this.screen = null;
    const { session } = this.own;
    this.deps.send({ type: 'session', sessionid: session }, { type: 'unshareScreen', to: session, sid: screen.sid, roomType: 'screen' });
    screen.close();
  }

  replace(kind: 'audio' | 'video', track: MediaStreamTrack | null): void {
    void this.camera?.replace(kind, track);
  }

  /** Says something to all who listen, over the data channel. */
  say(m: StatusMessage): void {
    this.camera?.status(m);
  }

  /** Asks for what somebody publishes, unless that is done already. */
  request(session: string, kind: Kind): void {
    if (!this.has(session, kind)) this.subscriber(session, kind).request();
  }

  has(session: string, kind: Kind): boolean {
    return this.subscribers.has(`${kind} ${session}`);
  }

  inbound(session: string, kind: Kind, track: 'audio' | 'video'): Inbound | null {
    return this.subscribers.get(`${kind} ${session}`)?.inbound(track) ?? null;
  }

  troubled(session: string, kind: Kind): boolean {
    return this.subscribers.get(`${kind} ${session}`)?.problem ?? false;
  }

  paused(session: string, kind: Kind): boolean {
    return this.subscribers.get(`${kind} ${session}`)?.paused ?? false;
  }

  shed({ sessionid, roomType, sid, state }: Shed): void {
    this.subscribers.get(`${roomType} ${sessionid}`)?.shed(sid, state);
  }

  drop(session: string, kind: Kind): void {
    const key = `${kind} ${session}`;
    this.subscribers.get(key)?.close();
    this.subscribers.delete(key);
  }

  /** Data about media, from somebody or from the node. */
  receive(sender: Sender, data: PeerData): void {
    const from = sender.sessionid;
    const kind: Kind = data.roomType === 'screen' ? 'screen' : 'video';
    const { sid = '', payload } = data;
    if (from === this.own.session) {
      const target = kind === 'screen' ? this.screen : this.camera;
      if (data.type === 'answer' && payload?.sdp) void target?.answer(sid, payload.sdp);
      if (data.type === 'candidate' && payload?.candidate) void target?.candidate(sid, payload.candidate);
      return;
    }
    if (data.type === 'offer' && payload?.sdp) void this.subscriber(from, kind).offer(sid, payload.sdp);
    // A candidate may overtake the offer of a connection we did not ask for.
    if (data.type === 'candidate' && payload?.candidate) void this.subscriber(from, kind).candidate(sid, payload.candidate);
  }

  /** Looks at what has come; the sum changes as long as something does. */
  sample(now: number): number {
    let sum = 0;
    for (const s of this.subscribers.values()) sum += s.sample(now);
    return sum;
  }

  /** Goes on with what is there but says nothing more over its link. */
  retire(): void {
    this.retired = true;
  }

  /** Publishes no longer; what others sent stays to be looked at. */
  unpublish(): void {
    this.camera?.close();
    this.screen?.close();
    this.camera = this.screen = null;
  }

  /** How many subscribers there are. */
  get size(): number {
    return this.subscribers.size;
  }

  /** Closes some of the subscribers. */
  shrink(by: number): void {
    for (const [key, s] of [...this.subscribers].slice(0, by)) {
      s.close();
      this.subscribers.delete(key);
    }
  }

  close(): void {
    this.retired = true;
    this.unpublish();
    for (const s of this.subscribers.values()) s.close();
    this.subscribers.clear();
  }

  private subscriber(session: string, kind: Kind): Subscriber {
    const key = `${kind} ${session}`;
    let s = this.subscribers.get(key);
    if (s) return s;
    s = new Subscriber(this.deps, session, kind);
    this.subscribers.set(key, s);
    s.onchange = () => this.owner.changed();
    if (kind === 'video') {
      s.onstatus = (m) => this.owner.status(session, m);
      s.onmedia = (track) => this.owner.begun(session, track);
    }
    return s;
  }

  private publisher(kind: Kind, audio: MediaStreamTrack | null, video: MediaStreamTrack | null, maxBitrate: number): Publisher {
    const { session, nick } = this.own;
    const p = new Publisher(this.deps, { kind, session, nick, audio, video, maxBitrate });
    p.onfailed = () => this.owner.broken(this);
    return p;
  }
}
