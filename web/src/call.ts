// The call: what those who are in it send, and what we send.
//
//   who is there ── Presence ── Call ── one Feed per participant and kind, to be shown
//   own tracks ──────────────── Call ── Sets ── MediaSet: the connections over one link
//
// It knows neither sockets nor pages: messages go out through CallDeps.send
// and come in through receive(); what there is to show is told by "change".

import { Emitter } from './emitter';
import { Feed } from './feed';
import { KINDS, type Kind, type MediaSet, type Own } from './mediaset';
import { nickOf, type PeerDeps, type StatusMessage } from './peer';
import { Presence, type Participant } from './presence';
import { Sets, type Wanted } from './sets';
import { IN_CALL, WITH_AUDIO, WITH_VIDEO, type PeerData, type Sender, type Shed } from './wire';

export interface CallDeps extends PeerDeps {
  newStream(): MediaStream;
}

export interface CallEvents {
  change: null;
  /** The own connection failed and is made anew, or nothing arrives any more. */
  broken: null;
  /** A moderator mutes us. */
  muted: null;
}

const STREAM_MAX = 1_000_000;
const SCREEN_MAX = 2_000_000;
const STATE_REPEATS = [0, 1_000, 2_000, 4_000, 8_000, 16_000];

export class Call extends Emitter<CallEvents> {
  readonly presence = new Presence({
    entered: (p) => this.subscribe(p),
    gone: (p) => this.unsubscribe(p),
    changed: () => this.emit('change', null),
  });
  active = false;
  private readonly own: Own = { session: '', nick: '', audio: null, video: null, screen: null, limits: { stream: STREAM_MAX, screen: SCREEN_MAX } };
  private speaking = false;
  /** From the moment on at which others may offer something. */
  private media: Sets | null = null;

  constructor(private readonly deps: CallDeps) {
    super();
  }

  get participants(): ReadonlyMap<string, Participant> {
    return this.presence.participants;
  }

  /** The own connection has trouble. */
  get problem(): boolean {
    return this.media !== null && (this.media.rebuilding || this.media.current.problem);
  }

  /** A new session: nothing of the old one remains. */
  begin(session: string, nick: string): void {
    this.hangUp();
    this.presence.begin(session);
    this.own.session = session;
    this.own.nick = nick;
    this.emit('change', null);
  }

  /** The limits of the room, in bits per second; 0 or none means ours. */
  limit(stream: number | undefined, screen: number | undefined): void {
    this.own.limits = {
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
    this.media ??= new Sets(this.deps, this.own, {
      changed: () => {
        this.refresh();
        this.emit('change', null);
      },
      sampled: () => {
        if (this.refresh()) this.emit('change', null);
      },
      opened: (set) => this.introduce(set),
      broken: () => this.emit('broken', null),
      stalled: () => this.emit('broken', null),
      wanted: () => this.wanted(),
      status: (session, m) => this.presence.status(this.presence.participant(session), m),
      begun: (session, track) => {
        const p = this.presence.participant(session);
        // Until somebody tells, what arrives is on.
        if (p[track] === undefined) this.presence.setState(p, track, true);
      },
    });
  }

  /** Publishes, and asks the others for what they send; once more if that is done already. */
  enter(): void {
    if (this.active) {
      this.rebuild();
      return;
    }
    this.listen();
    this.active = true;
    this.media?.publish();
    for (const other of this.participants.values()) this.subscribe(other);
    if (this.own.screen) this.announceScreen();
    this.emit('change', null);
  }

  /** Ends all media; what is known of others stays. */
  leave(): void {
    if (!this.media) return;
    this.stopScreen();
    this.hangUp();
    this.emit('change', null);
  }

  /** The node that had our media is gone: everything anew, over the link that there is now. */
  rebuild(): void {
    if (!this.active) return;
    this.media?.rebuild();
    this.emit('change', null);
  }

  /** Makes all media anew over the link of a move; see Sets. */
  warm(send: PeerDeps['send'], limit: number): Promise<boolean> {
    if (!this.media || !this.active) return Promise.resolve(true);
    return this.media.warm(send, limit);
  }

  hurry(): void {
    this.media?.hurry();
  }

  switchOver(): void {
    this.media?.switchOver();
  }

  abandon(): void {
    this.media?.abandon();
  }

  /** Data about media that came over the link of a move. */
  receiveNext(sender: Sender, data: PeerData): void {
    this.media?.warming?.receive(sender, data);
  }

  setTrack(kind: 'audio' | 'video', track: MediaStreamTrack | null): void {
    const was = this.own[kind] !== null;
    this.own[kind] = track;
    for (const set of this.media?.all() ?? []) set.replace(kind, track);
    if (was === (track !== null) || !this.active) return;
    if (kind === 'audio' && !track) this.setSpeaking(false);
    this.say({ type: `${kind}${track ? 'On' : 'Off'}` });
    for (const p of this.presence.inCall()) this.tellMute(p.session, kind);
  }

  setSpeaking(speaking: boolean): void {
    const now = speaking && this.own.audio !== null;
    if (now === this.speaking) return;
    this.speaking = now;
    this.say({ type: now ? 'speaking' : 'stoppedSpeaking' });
  }

  /** The data channel may lose the start of a speech for somebody who just came. */
  repeatSpeaking(): void {
    if (this.speaking) this.say({ type: 'speaking' });
  }

  setNick(nick: string): void {
    this.own.nick = nick;
    if (!this.active) return;
    this.say({ type: 'nickChanged', payload: { name: nick } });
    for (const p of this.presence.inCall()) this.tellNick(p.session);
  }

  startScreen(track: MediaStreamTrack): void {
    this.own.screen = track;
    if (!this.active) return;
    // The others are announced first; the node waits for the publication.
    this.announceScreen();
    for (const set of this.media?.living() ?? []) set.publishScreen(track);
  }

  stopScreen(): void {
    this.own.screen = null;
    if (!this.media?.current.sharing) return;
    for (const set of this.media.all()) set.stopScreen();
    this.deps.send({ type: 'room' }, { type: 'unshareScreen', roomType: 'screen' });
  }

  /** A message of the protocol, to us from somebody or from our node. */
  receive(sender: Sender, data: PeerData): void {
    const from = sender.sessionid;
    const own = from === this.own.session;
    if (!from) return;
    if (data.type === 'nickChanged') {
      if (!own) this.presence.rename(this.presence.participant(from), nickOf(data.payload));
      return;
    }
    if (!this.media) return;
    this.media.current.receive(sender, data);
    if (own) return;
    const p = this.presence.participant(from);
    switch (data.type) {
      case 'offer':
        this.show(p, data.roomType === 'screen' ? 'screen' : 'video');
        break;
      case 'mute':
      case 'unmute':
        this.presence.setState(p, data.payload?.name, data.type === 'unmute');
        break;
      case 'unshareScreen':
        this.hide(p, 'screen');
        this.emit('change', null);
        break;
    }
  }

  /** The node leaves out video, or no longer does. */
  shed(shed: Shed): void {
    for (const set of this.media?.all() ?? []) set.shed(shed);
    if (this.refresh()) this.emit('change', null);
  }

  receiveControl(data: PeerData): void {
    if (data.action === 'forceMute' && data.peerId === this.own.session) this.emit('muted', null);
  }

  // Somebody is in the call: ask for what they send, tell what we are.
  private subscribe(p: Participant): void {
    if (!this.active || !(p.inCall & IN_CALL)) return;
    if (p.inCall & (WITH_AUDIO | WITH_VIDEO)) this.show(p, 'video');
    if (p.repeats.length > 0) return;
    // Neither way is sure while connections are being made, hence the repeats.
    p.repeats = STATE_REPEATS.map((delay) =>
      setTimeout(() => {
        this.tellMute(p.session, 'audio');
        this.tellMute(p.session, 'video');
        this.tellNick(p.session);
      }, delay),
    );
    if (this.media?.current.sharing) this.offerScreen(p.session);
  }

  private unsubscribe(p: Participant): void {
    for (const t of p.repeats) clearTimeout(t);
    p.repeats = [];
    for (const kind of KINDS) this.hide(p, kind);
    p.audio = p.video = undefined;
    p.speaking = false;
  }

  // Each set is to have it, now that it is there.
  private show(p: Participant, kind: Kind): void {
    p[feedOf(kind)] ??= new Feed(() => this.deps.newStream());
    for (const set of this.media?.living() ?? []) set.request(p.session, kind);
  }

  private hide(p: Participant, kind: Kind): void {
    for (const set of this.media?.all() ?? []) set.drop(p.session, kind);
    p[feedOf(kind)] = null;
  }

  private wanted(): Wanted[] {
    return [...this.participants.values()].flatMap((p) =>
      KINDS.filter((kind) => p[feedOf(kind)]).map((kind) => ({ session: p.session, kind, on: (track) => kind === 'screen' || p[track] !== false })),
    );
  }

  // Shows what there is to be shown; tells whether that is something else now.
  private refresh(): boolean {
    const { media } = this;
    let changed = false;
    for (const p of media ? this.participants.values() : []) {
      for (const kind of KINDS) {
        const feed = p[feedOf(kind)];
        if (!media || !feed) continue;
        feed.problem = media.current.troubled(p.session, kind);
        const paused = media.current.paused(p.session, kind);
        if (paused !== feed.paused) changed = true;
        feed.paused = paused;
        const picture = media.track(p.session, kind, 'video', !feed.shown);
        if (picture && feed.show(picture)) changed = true;
        const sounds = media.tracks(p.session, kind, 'audio');
        const heard = sounds.find((s) => s === feed.heard);
        if (feed.hear(sounds, media.track(p.session, kind, 'audio', !heard) ?? heard)) changed = true;
      }
    }
    return changed;
  }

  private say(m: StatusMessage): void {
    for (const set of this.media?.all() ?? []) set.say(m);
  }

  private introduce(set: MediaSet): void {
    const { audio, video, nick } = this.own;
    set.say({ type: audio ? 'audioOn' : 'audioOff' });
    set.say({ type: video ? 'videoOn' : 'videoOff' });
    set.say({ type: 'nickChanged', payload: { name: nick } });
    if (this.speaking) set.say({ type: 'speaking' });
  }

  private announceScreen(): void {
    for (const other of this.presence.inCall()) this.offerScreen(other.session);
  }

  private offerScreen(session: string): void {
    this.deps.send({ type: 'session', sessionid: session }, { type: 'sendoffer', to: session, roomType: 'screen' });
  }

  private tellMute(session: string, kind: 'audio' | 'video'): void {
    this.deps.send(
      { type: 'session', sessionid: session },
      { type: this.own[kind] ? 'unmute' : 'mute', to: session, roomType: 'video', payload: { name: kind } },
    );
  }

  private tellNick(session: string): void {
    const { nick } = this.own;
    if (!nick) return;
    this.deps.send({ type: 'session', sessionid: session }, { type: 'nickChanged', to: session, roomType: 'video', payload: { name: nick } });
  }

  private hangUp(): void {
    this.active = false;
    this.presence.hangUp();
    this.media?.close();
    this.media = null;
  }
}

function feedOf(kind: Kind): 'camera' | 'screen' {
  return kind === 'video' ? 'camera' : 'screen';
}
