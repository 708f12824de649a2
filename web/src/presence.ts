// Who is in the room and in the call, and what they say of themselves.
//
//   joined, left, users ─┐                    ┌─ entered, gone ─▶ Call: what is sent and asked for
//   status, mute, nick ──┴─ Presence ─────────┴─ changed
//                           one Participant each

import type { Feed } from './feed';
import { nickOf, type StatusMessage } from './peer';
import { IN_CALL, type CallUser, type JoinEntry } from './wire';

export interface Participant {
  session: string;
  userId: string;
  name: string;
  inCall: number;
  /** undefined: nobody has told yet. */
  audio: boolean | undefined;
  video: boolean | undefined;
  speaking: boolean;
  camera: Feed | null;
  screen: Feed | null;
  repeats: ReturnType<typeof setTimeout>[];
}

export interface PresenceDeps {
  /** Somebody is in the call, or is named once more. */
  entered(p: Participant): void;
  /** Somebody is not, or not any more. */
  gone(p: Participant): void;
  changed(): void;
}

/** How long after a rebuild those may be missing in the lists who are still there. */
const RECOUNT = 3_000;

export class Presence {
  readonly participants = new Map<string, Participant>();
  private session = '';
  private confirmed: { members: Set<string>; callers: Set<string> } | null = null;
  private recounting: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly deps: PresenceDeps) {}

  /** Nobody is known yet; our own session is none of the participants. */
  begin(session: string): void {
    this.participants.clear();
    this.session = session;
  }

  /** Everybody is gone from the call, as far as it matters. */
  hangUp(): void {
    clearTimeout(this.recounting);
    this.confirmed = null;
    for (const p of this.participants.values()) this.deps.gone(p);
  }

  participant(session: string): Participant {
    let p = this.participants.get(session);
    if (!p) {
      p = { session, userId: '', name: '', inCall: 0, audio: undefined, video: undefined, speaking: false, camera: null, screen: null, repeats: [] };
      this.participants.set(session, p);
    }
    return p;
  }

  inCall(): Participant[] {
    return [...this.participants.values()].filter((p) => p.inCall & IN_CALL);
  }

  /** Entries of room/join. */
  joined(entries: JoinEntry[]): void {
    for (const e of entries) {
      this.confirmed?.members.add(e.sessionid);
      if (e.sessionid === this.session) this.countSoon();
      if (!e.sessionid || e.sessionid === this.session) continue;
      const p = this.participant(e.sessionid);
      p.userId = e.userid ?? '';
      p.name ||= e.user?.displayname ?? e.userid ?? '';
    }
    this.deps.changed();
  }

  /** Ids of room/leave. */
  left(sessions: string[]): void {
    for (const id of sessions) {
      const p = this.participants.get(id);
      if (!p) continue;
      this.deps.gone(p);
      this.participants.delete(id);
    }
    this.deps.changed();
  }

  /** Users of participants/update; who is missing there stays as known. */
  users(list: CallUser[]): void {
    for (const u of list) {
      this.confirmed?.callers.add(u.sessionId);
      if (!u.sessionId || u.sessionId === this.session) continue;
      const p = this.participant(u.sessionId);
      if (u.userId) p.userId = u.userId;
      p.name ||= u.displayName ?? '';
      p.inCall = Number(u.inCall) || 0;
      if (p.inCall & IN_CALL) this.deps.entered(p);
      else this.deps.gone(p);
    }
    this.deps.changed();
  }

  /** The lists that come now are complete: whom they have not named after a while is gone. */
  recount(): void {
    clearTimeout(this.recounting);
    this.confirmed = { members: new Set(), callers: new Set() };
  }

  /** What somebody says of themselves. */
  status(p: Participant, m: StatusMessage): void {
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
        this.deps.changed();
        break;
      case 'nickChanged':
        this.rename(p, nickOf(m.payload));
        break;
    }
  }

  setState(p: Participant, kind: string | undefined, on: boolean): void {
    if (kind !== 'audio' && kind !== 'video') return;
    p[kind] = on;
    if (kind === 'audio' && !on) p.speaking = false;
    this.deps.changed();
  }

  rename(p: Participant, name: string): void {
    if (!name || name === p.name) return;
    p.name = name;
    this.deps.changed();
  }

  // The list of members has begun to come; that of the call is right behind it.
  private countSoon(): void {
    const { confirmed } = this;
    clearTimeout(this.recounting);
    if (!confirmed) return;
    this.recounting = setTimeout(() => {
      this.confirmed = null;
      this.left([...this.participants.keys()].filter((id) => !confirmed.members.has(id)));
      for (const p of this.participants.values()) {
        if (confirmed.callers.has(p.session)) continue;
        p.inCall = 0;
        this.deps.gone(p);
      }
    }, RECOUNT);
  }
}
