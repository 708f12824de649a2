// The call: who is in it, what they send, what we send.
//
//   users, joined, left ── Call ── one Subscriber per participant and kind
//   own tracks ─────────── Call ── one Publisher, one more for the screen
//
// It knows neither sockets nor pages: messages go out through CallDeps.send
// and come in through receive(); what there is to show is told by "change".

import { Emitter } from './emitter';
import { nickOf, type PeerDeps, type StatusMessage } from './peer';
import { Publisher } from './publisher';
import { Subscriber } from './subscriber';
import { IN_CALL, WITH_AUDIO, WITH_VIDEO, type CallUser, type JoinEntry, type PeerData, type Sender } from './wire';

export interface Participant {
  session: string;
  userId: string;
  name: string;
  inCall: number;
  /** undefined: nobody has told yet. */
  audio: boolean | undefined;
  video: boolean | undefined;
  speaking: boolean;
  camera: Subscriber | null;
  screen: Subscriber | null;
  repeats: ReturnType<typeof setTimeout>[];
}

export interface CallDeps extends PeerDeps {
  newStream(): MediaStream;
}

export interface CallEvents {
  change: null;
  /** The own connection failed and is made anew. */
  broken: null;
  /** A moderator mutes us. */
  muted: null;
}

const STREAM_MAX = 1_000_000;
const SCREEN_MAX = 2_000_000;
const STATE_REPEATS = [0, 1_000, 2_000, 4_000, 8_000, 16_000];

export class Call extends Emitter<CallEvents> {
  readonly participants = new Map<string, Participant>();
  active = false;
  private listening = false;
  /** The own connection has trouble. */
  problem = false;
  private session = '';
  private nick = '';
  private audio: MediaStreamTrack | null = null;
  private video: MediaStreamTrack | null = null;
  private screenTrack: MediaStreamTrack | null = null;
  private speaking = false;
  private publisher: Publisher | null = null;
  private screenPublisher: Publisher | null = null;
  private limits = { stream: STREAM_MAX, screen: SCREEN_MAX };

  constructor(private readonly deps: CallDeps) {
    super();
  }

  /** A new session: nothing of the old one remains. */
  begin(session: string, nick: string): void {
    this.reset();
    this.session = session;
    this.nick = nick;
  }

  /** The limits of the room, in bits per second; 0 or none means ours. */
  limit(stream: number | undefined, screen: number | undefined): void {
    this.limits = {
      stream: Math.min(stream || STREAM_MAX, STREAM_MAX),
      screen: Math.min(screen || SCREEN_MAX, SCREEN_MAX),
    };
  }

  /**
   * Takes what others offer from now on. It comes before the request to join the
   * call is sent: somebody who shares a screen hears of us before we get the
   * answer, offers it at once and never again.
   */
  listen(): void {
    this.listening = true;
  }

  /** Publishes, and asks the others for what they send. */
  enter(): void {
    if (this.active) return;
    this.listening = this.active = true;
    const p = (this.publisher = this.publish('video', this.audio, this.video, this.limits.stream));
    p.onopen = () => this.statusToAll();
    void p.start();
    for (const other of this.participants.values()) this.subscribe(other);
    if (this.screenTrack) this.publishScreen(this.screenTrack);
    this.emit('change', null);
  }

  /** Ends all media; what is known of others stays. */
  leave(): void {
    if (!this.listening) return;
    this.listening = this.active = false;
    this.stopScreen();
    this.publisher?.close();
    this.publisher = null;
    this.problem = false;
    for (const p of this.participants.values()) this.unsubscribe(p);
    this.emit('change', null);
  }

  setTrack(kind: 'audio' | 'video', track: MediaStreamTrack | null): void {
    const was = this[kind] !== null;
    this[kind] = track;
    void this.publisher?.replace(kind, track);
    if (was === (track !== null) || !this.active) return;
    if (kind === 'audio' && !track) this.setSpeaking(false);
    this.publisher?.status({ type: `${kind}${track ? 'On' : 'Off'}` });
    for (const p of this.inCall()) this.tellMute(p.session, kind);
  }

  setSpeaking(speaking: boolean): void {
    const now = speaking && this.audio !== null;
    if (now === this.speaking) return;
    this.speaking = now;
    this.publisher?.status({ type: now ? 'speaking' : 'stoppedSpeaking' });
  }

  /** The data channel may lose the start of a speech for somebody who just came. */
  repeatSpeaking(): void {
    if (this.speaking) this.publisher?.status({ type: 'speaking' });
  }

  setNick(nick: string): void {
    this.nick = nick;
    if (!this.active) return;
    this.publisher?.status({ type: 'nickChanged', payload: { name: nick } });
    for (const p of this.inCall()) this.tellNick(p.session);
  }

  startScreen(track: MediaStreamTrack): void {
    this.screenTrack = track;
    if (this.active) this.publishScreen(track);
  }

  stopScreen(): void {
    this.screenTrack = null;
    const p = this.screenPublisher;
    if (!p) return;
    this.screenPublisher = null;
    const own = this.session;
    this.deps.send({ type: 'session', sessionid: own }, { type: 'unshareScreen', to: own, sid: p.sid, roomType: 'screen' });
    this.deps.send({ type: 'room' }, { type: 'unshareScreen', roomType: 'screen' });
    p.close();
  }

  /** Entries of room/join. */
  joined(entries: JoinEntry[]): void {
    for (const e of entries) {
      if (!e.sessionid || e.sessionid === this.session) continue;
      const p = this.participant(e.sessionid);
      p.userId = e.userid ?? '';
      p.name ||= e.user?.displayname ?? e.userid ?? '';
    }
    this.emit('change', null);
  }

  /** Ids of room/leave. */
  left(sessions: string[]): void {
    for (const id of sessions) {
      const p = this.participants.get(id);
      if (!p) continue;
      this.unsubscribe(p);
      this.participants.delete(id);
    }
    this.emit('change', null);
  }

  /** Users of participants/update; who is missing there stays as known. */
  users(list: CallUser[]): void {
    for (const u of list) {
      if (!u.sessionId || u.sessionId === this.session) continue;
      const flags = Number(u.inCall) || 0;
      const p = this.participant(u.sessionId);
      if (u.userId) p.userId = u.userId;
      p.name ||= u.displayName ?? '';
      p.inCall = flags;
      if (flags & IN_CALL) this.subscribe(p);
      else this.unsubscribe(p);
    }
    this.emit('change', null);
  }

  /** A message of the protocol, to us from somebody or from our node. */
  receive(sender: Sender, data: PeerData): void {
    const from = sender.sessionid;
    if (!from) return;
    if (data.type === 'nickChanged') {
      if (from !== this.session) this.rename(this.participant(from), nickOf(data.payload));
      return;
    }
    if (!this.listening) return;
    if (from === this.session) this.receiveOwn(data);
    else this.receiveFrom(this.participant(from), data);
  }

  receiveControl(data: PeerData): void {
    if (data.action === 'forceMute' && data.peerId === this.session) this.emit('muted', null);
  }

  private receiveOwn(data: PeerData): void {
    const target = data.roomType === 'screen' ? this.screenPublisher : this.publisher;
    if (data.type === 'answer' && data.payload?.sdp) void target?.answer(data.sid ?? '', data.payload.sdp);
    if (data.type === 'candidate' && data.payload?.candidate) void target?.candidate(data.sid ?? '', data.payload.candidate);
  }

  private receiveFrom(p: Participant, data: PeerData): void {
    const screen = data.roomType === 'screen';
    switch (data.type) {
      case 'offer':
        if (data.payload?.sdp) void (screen ? this.screenOf(p) : this.cameraOf(p)).offer(data.sid ?? '', data.payload.sdp);
        break;
      case 'candidate': {
        // A candidate may overtake the offer of a connection we did not ask for.
        const candidate = data.payload?.candidate;
        if (candidate) void (screen ? this.screenOf(p) : this.cameraOf(p)).candidate(data.sid ?? '', candidate);
        break;
      }
      case 'mute':
      case 'unmute':
        this.setState(p, data.payload?.name, data.type === 'unmute');
        break;
      case 'unshareScreen':
        p.screen?.close();
        p.screen = null;
        this.emit('change', null);
        break;
    }
  }

  private receiveStatus(p: Participant, m: StatusMessage): void {
    switch (m.type) {
      case 'audioOn':
      case 'audioOff':
        this.setState(p, 'audio', m.type === 'audioOn');
        break;
      case 'videoOn':
      case 'videoOff':
        this.setState(p, 'video', m.type === 'videoOn');
        break;
      case 'speaking':
      case 'stoppedSpeaking':
        p.speaking = m.type === 'speaking';
        this.emit('change', null);
        break;
      case 'nickChanged':
        this.rename(p, nickOf(m.payload));
        break;
    }
  }

  private setState(p: Participant, kind: string | undefined, on: boolean): void {
    if (kind !== 'audio' && kind !== 'video') return;
    p[kind] = on;
    if (kind === 'audio' && !on) p.speaking = false;
    this.emit('change', null);
  }

  private rename(p: Participant, name: string): void {
    if (!name || name === p.name) return;
    p.name = name;
    this.emit('change', null);
  }

  private participant(session: string): Participant {
    let p = this.participants.get(session);
    if (!p) {
      p = { session, userId: '', name: '', inCall: 0, audio: undefined, video: undefined, speaking: false, camera: null, screen: null, repeats: [] };
      this.participants.set(session, p);
    }
    return p;
  }

  private inCall(): Participant[] {
    return [...this.participants.values()].filter((p) => p.inCall & IN_CALL);
  }

  // Somebody is in the call: ask for what they send, tell what we are.
  private subscribe(p: Participant): void {
    if (!this.active || !(p.inCall & IN_CALL)) return;
    if (!p.camera && p.inCall & (WITH_AUDIO | WITH_VIDEO)) this.cameraOf(p).request();
    if (p.repeats.length > 0) return;
    // Neither way is sure while connections are being made, hence the repeats.
    p.repeats = STATE_REPEATS.map((delay) =>
      setTimeout(() => {
        this.tellMute(p.session, 'audio');
        this.tellMute(p.session, 'video');
        this.tellNick(p.session);
      }, delay),
    );
    if (this.screenPublisher) this.offerScreen(p.session);
  }

  private unsubscribe(p: Participant): void {
    for (const t of p.repeats) clearTimeout(t);
    p.repeats = [];
    p.camera?.close();
    p.screen?.close();
    p.camera = p.screen = null;
    p.audio = p.video = undefined;
    p.speaking = false;
  }

  private cameraOf(p: Participant): Subscriber {
    if (p.camera) return p.camera;
    const s = (p.camera = new Subscriber(this.deps, p.session, 'video', this.deps.newStream));
    s.onchange = () => this.emit('change', null);
    s.onstatus = (m) => this.receiveStatus(p, m);
    s.onmedia = (kind) => {
      // Until somebody tells, what arrives is on.
      if (p[kind] === undefined) this.setState(p, kind, true);
    };
    return s;
  }

  private screenOf(p: Participant): Subscriber {
    if (p.screen) return p.screen;
    const s = (p.screen = new Subscriber(this.deps, p.session, 'screen', this.deps.newStream));
    s.onchange = () => this.emit('change', null);
    return s;
  }

  private publish(kind: 'video' | 'screen', audio: MediaStreamTrack | null, video: MediaStreamTrack | null, maxBitrate: number): Publisher {
    const p = new Publisher(this.deps, { kind, session: this.session, nick: this.nick, audio, video, maxBitrate });
    p.onfailed = () => this.emit('broken', null);
    p.onproblem = (problem) => {
      if (kind !== 'video' || problem === this.problem) return;
      this.problem = problem;
      this.emit('change', null);
    };
    return p;
  }

  private publishScreen(track: MediaStreamTrack): void {
    this.screenPublisher?.close();
    const p = (this.screenPublisher = this.publish('screen', null, track, this.limits.screen));
    // The others are announced first; the node waits for the publication.
    for (const other of this.inCall()) this.offerScreen(other.session);
    void p.start();
  }

  private offerScreen(session: string): void {
    this.deps.send({ type: 'session', sessionid: session }, { type: 'sendoffer', to: session, roomType: 'screen' });
  }

  private statusToAll(): void {
    this.publisher?.status({ type: this.audio ? 'audioOn' : 'audioOff' });
    this.publisher?.status({ type: this.video ? 'videoOn' : 'videoOff' });
    this.publisher?.status({ type: 'nickChanged', payload: { name: this.nick } });
    if (this.speaking) this.publisher?.status({ type: 'speaking' });
  }

  private tellMute(session: string, kind: 'audio' | 'video'): void {
    this.deps.send(
      { type: 'session', sessionid: session },
      { type: this[kind] ? 'unmute' : 'mute', to: session, roomType: 'video', payload: { name: kind } },
    );
  }

  private tellNick(session: string): void {
    if (!this.nick) return;
    this.deps.send({ type: 'session', sessionid: session }, { type: 'nickChanged', to: session, roomType: 'video', payload: { name: this.nick } });
  }

  private reset(): void {
    this.listening = this.active = false;
    this.publisher?.close();
    this.screenPublisher?.close();
    this.publisher = this.screenPublisher = null;
    this.problem = false;
    for (const p of this.participants.values()) this.unsubscribe(p);
    this.participants.clear();
    this.emit('change', null);
  }
}
