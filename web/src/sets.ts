// The media of a call, wherever they come from. There is one set of connections
// and, while the media go from one node to another, a second one beside it:
//
//   rebuild: the node is gone        former: last pictures ─ current
//   warm, then switchOver: a move    current ── next         former ─ current
//
// Each track is taken from the newest set in which it has brought something, so
// nothing jumps: the old one is shown until the new one can be.

import { MediaSet, TRACKS, type Kind, type MediaSetOwner, type Own } from './mediaset';
import type { PeerDeps } from './peer';
import { Watch } from './watch';

/** What is to be received, and which of its tracks should bring something. */
export interface Wanted {
  session: string;
  kind: Kind;
  on(track: 'audio' | 'video'): boolean;
}

export interface SetsOwner extends MediaSetOwner {
  wanted(): Wanted[];
  /** Something may have arrived. */
  sampled(): void;
  /** Nothing arrives any more. */
  stalled(): void;
}

const BEAT = 250;
/** While sets are exchanged. The old one goes on meanwhile, so nobody sees the difference, but it costs. */
const QUICK_BEAT = 50;
/**
 * A set that is warmed begins one connection in each step, or more of many so that all are begun in so many steps, and
 * one that was left ends them in the same way: nobody waits for that, and doing all at once, as everybody else who
 * moves does, takes the time that what flows needs.
 */
const STEP = 100;
const STEPS = 20;
/** How long ago a track must have brought something to be waited for. */
const FLOWING = 1_000;
/** After a move others still receive what we send to the old node, for as long as that forwards. */
const LINGER_MOVED = 3_000;
/** After a rebuild the last pictures stay until the new ones come, or do not. */
const LINGER_REBUILT = 8_000;

export class Sets {
  /** The media are being made anew and not there yet. */
  rebuilding = false;
  current: MediaSet;
  private next: { set: MediaSet; until: number; due: number; ready: boolean; decide: (ready: boolean) => void } | null = null;
  private former: { set: MediaSet; until: number; each: number } | null = null;
  private watch = new Watch();
  private beat: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly deps: PeerDeps,
    private readonly own: Own,
    private readonly owner: SetsOwner,
  ) {
    this.current = this.make(deps.send);
  }

  /** From the newest to the oldest. */
  all(): MediaSet[] {
    return [this.next?.set, this.current, this.former?.set].filter((s) => !!s);
  }

  /** Those that are to have what there is from now on. */
  living(): MediaSet[] {
    return this.next ? [this.current, this.next.set] : [this.current];
  }

  /** The track to show, if one is to be shown now; blank: nothing is shown yet. */
  track(session: string, kind: Kind, track: 'audio' | 'video', blank: boolean): MediaStreamTrack | undefined {
    const sets = this.all();
    const there = sets.map((s) => s.inbound(session, kind, track)).filter((i) => !!i);
    const arrived = there.find((i) => i.arrived);
    // Once there is nothing else, one that is silent is as good.
    return (arrived ?? (blank || sets.length === 1 ? there.at(-1) : undefined))?.track;
  }

  /** All tracks of one kind that somebody's can be taken from. */
  tracks(session: string, kind: Kind, track: 'audio' | 'video'): MediaStreamTrack[] {
    return this.all().flatMap((s) => s.inbound(session, kind, track)?.track ?? []);
  }

  publish(): void {
    this.current.publish();
    this.tick();
  }

  /** The node that had the media is gone: everything anew, over the link that there is now. */
  rebuild(): void {
    this.abandon();
    const { current: lost } = this;
    this.retire(LINGER_REBUILT);
    this.current = this.make(this.deps.send);
    // What costs nothing comes first, then the node works while we do; what nobody waits for is last.
    this.request(this.current);
    this.current.publish();
    lost.unpublish();
    this.rebuilding = true;
    this.tick();
  }

  /**
   * Makes everything anew over another link, beside what is there. True when it
   * flows, so far as it can within the limit; false if it cannot, or the attempt
   * was given up.
   */
  warm(send: PeerDeps['send'], limit: number): Promise<boolean> {
    this.abandon();
    return new Promise((decide) => {
      const set = this.make(send);
      const now = this.deps.now();
      this.next = { set, until: now + limit, due: now + STEP, ready: false, decide };
      set.publish();
      this.tick();
    });
  }

  /** What is there must do. */
  hurry(): void {
    if (!this.next) return;
    this.next.until = 0;
    this.tick();
  }

  /** The set that warm has made, while it is warming. */
  get warming(): MediaSet | null {
    return this.next?.set ?? null;
  }

  switchOver(): void {
    if (!this.next) return;
    const { set } = this.next;
    this.next = null;
    this.retire(LINGER_MOVED);
    this.current = set;
    this.request(set); // what it did not come to
    this.tick();
  }

  /** What was warmed is not wanted: everything is as before. */
  abandon(): void {
    if (!this.next) return;
    const { set, decide } = this.next;
    this.next = null;
    set.close();
    decide(false);
    this.owner.changed();
  }

  close(): void {
    clearTimeout(this.beat);
    this.abandon();
    for (const set of this.all()) set.close();
  }

  private make(send: PeerDeps['send']): MediaSet {
    return new MediaSet({ ...this.deps, send }, this.own, {
      ...this.owner,
      broken: (set) => {
        if (set === this.current) this.owner.broken(set);
      },
    });
  }

  // Asks for what a set has not asked for yet: all, or what is due in one of some steps.
  private request(set: MediaSet, steps = 1): void {
    const wanted = this.owner.wanted();
    const missing = wanted.filter(({ session, kind }) => !set.has(session, kind));
    for (const { session, kind } of missing.slice(0, Math.ceil(wanted.length / steps))) set.request(session, kind);
  }

  private retire(linger: number): void {
    this.former?.set.close();
    this.current.retire();
    this.former = { set: this.current, until: this.deps.now() + linger, each: Math.ceil(this.current.size / STEPS) };
    this.watch = new Watch();
  }

  // Looks at what has arrived, and decides what is to be decided.
  private tick(): void {
    clearTimeout(this.beat);
    const now = this.deps.now();
    const { next, former, current } = this;
    next?.set.sample(now);
    former?.set.sample(now);
    if (this.watch.feel(current.sample(now), now)) this.owner.stalled();
    if (next && !next.ready) {
      const late = now >= next.until;
      if (!late && now >= next.due) {
        next.due = now + STEP;
        this.request(next.set, STEPS);
      }
      next.ready = next.set.published && (late || !this.lacks(next.set, current, now - FLOWING));
      if (next.ready) next.decide(true);
      else if (late) this.abandon();
    }
    if (former && now >= former.until) this.dismiss(former, now);
    this.owner.sampled();
    if (this.rebuilding && (!this.former || (current.published && !this.lacks(current, this.former.set, 0)))) {
      this.rebuilding = false;
      this.owner.changed();
    }
    this.beat = setTimeout(() => this.tick(), this.next || this.former ? QUICK_BEAT : BEAT);
  }

  // Ends what was left, in steps.
  private dismiss(former: { set: MediaSet; until: number; each: number }, now: number): void {
    former.until = now + STEP;
    former.set.unpublish();
    former.set.shrink(former.each);
    if (former.set.size > 0) return;
    this.former = null;
    former.set.close();
  }

  // Whether a set still waits for something that another one has brought since.
  private lacks(set: MediaSet, other: MediaSet, since: number): boolean {
    return this.owner.wanted().some(({ session, kind, on }) =>
      TRACKS.some((track) => {
        const had = other.inbound(session, kind, track);
        return had?.arrived === true && had.last >= since && on(track) && !set.inbound(session, kind, track)?.arrived;
      }),
    );
  }
}
