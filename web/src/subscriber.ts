import {
  addCandidate,
  candidateData,
  DISCONNECTED_GRACE,
  EarlyCandidates,
  OFFER_RETRY,
  parseStatus,
  type PeerDeps,
  type StatusMessage,
} from './peer';
import type { CandidateInit, Shed } from './wire';

/** A track that is received. */
export interface Inbound {
  readonly track: MediaStreamTrack;
  /** A picture or a sound has come out of it. */
  arrived: boolean;
  /** When the last one did, as far as sample() has seen. */
  last: number;
}

interface Received extends Inbound {
  readonly receiver: RTCRtpReceiver;
  mark: number;
}

/**
 * What one participant publishes, received: the node offers, we answer. A new
 * sid is a new connection, the same one an update.
 */
export class Subscriber {
  onchange: () => void = () => {};
  onstatus: (m: StatusMessage) => void = () => {};
  /** Packets of this kind have begun to arrive. */
  onmedia: (kind: 'audio' | 'video') => void = () => {};
  problem = false;
  /** The node sends no video as it is overloaded. */
  paused = false;

  private sid = '';
  private pc: RTCPeerConnection | null = null;
  private closed = false;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private grace: ReturnType<typeof setTimeout> | undefined;
  private early = new EarlyCandidates();
  private received: { audio: Received | null; video: Received | null } = { audio: null, video: null };
  // Descriptions are applied one after the other.
  private chain: Promise<void> = Promise.resolve();

  constructor(
    private readonly deps: PeerDeps,
    private readonly session: string,
    private readonly kind: 'video' | 'screen',
  ) {}

  inbound(kind: 'audio' | 'video'): Inbound | null {
    return this.received[kind];
  }

  /**
   * Looks at what has come since the last time. The sum that it returns changes
   * as long as something does.
   */
  sample(now: number): number {
    let sum = 0;
    for (const r of [this.received.audio, this.received.video]) {
      if (!r) continue;
      // Known without asking for statistics, which takes long for many people.
      const mark = Math.max(0, ...r.receiver.getSynchronizationSources().map((s) => s.timestamp));
      if (mark > 0 && mark !== r.mark) {
        r.mark = mark;
        r.arrived = true;
        r.last = now;
      }
      sum += r.mark;
    }
    return sum;
  }

  /** Asks for an offer, every 10 s until one comes. */
  request(): void {
    if (this.closed) return;
    clearTimeout(this.retry);
    this.deps.send({ type: 'session', sessionid: this.session }, { type: 'requestoffer', to: this.session, roomType: this.kind });
    this.retry = setTimeout(() => this.request(), OFFER_RETRY);
  }

  offer(sid: string, sdp: string): Promise<void> {
    clearTimeout(this.retry);
    this.chain = this.chain.then(() => this.apply(sid, sdp));
    return this.chain;
  }

  async candidate(sid: string, c: CandidateInit): Promise<void> {
    if (this.pc?.remoteDescription && sid === this.sid) await addCandidate(this.pc, c);
    else this.early.add(sid, c);
  }

  shed(sid: string, state: Shed['state']): void {
    if (sid === this.sid) this.paused = state === 'paused';
  }

  close(): void {
    this.closed = true;
    clearTimeout(this.retry);
    this.drop();
  }

  private async apply(sid: string, sdp: string): Promise<void> {
    if (this.closed) return;
    if (!this.pc || sid !== this.sid) this.connect(sid);
    const pc = this.pc;
    if (!pc) return;
    try {
      await pc.setRemoteDescription({ type: 'offer', sdp });
      for (const c of this.early.take(sid)) await addCandidate(pc, c);
      const answer = await pc.createAnswer();
      if (pc !== this.pc) return;
      // First, as candidates follow from setting it, and the node need not wait for that.
      this.deps.send(
        { type: 'session', sessionid: this.session },
        { type: 'answer', to: this.session, sid, roomType: this.kind, payload: { type: 'answer', sdp: answer.sdp ?? '' } },
      );
      await pc.setLocalDescription(answer);
    } catch {
      if (pc === this.pc && !this.closed) this.retry = setTimeout(() => this.request(), OFFER_RETRY);
    }
  }

  private connect(sid: string): void {
    this.drop();
    this.sid = sid;
    this.paused = false;
    const pc = (this.pc = this.deps.peer());
    // Created before the offer is applied: the offer has a section for it, and
    // some publishers' messages come over a channel that the node opens.
    if (this.kind === 'video') this.listen(pc.createDataChannel('status', { ordered: true }));
    pc.ondatachannel = (event) => this.listen(event.channel);
    pc.ontrack = (event) => this.add(event.track, event.receiver);
    pc.onicecandidate = (event) => {
      if (!event.candidate?.candidate || pc !== this.pc) return;
      this.deps.send(
        { type: 'session', sessionid: this.session },
        { type: 'candidate', to: this.session, sid, roomType: this.kind, payload: { candidate: candidateData(event.candidate) } },
      );
    };
    pc.onconnectionstatechange = () => {
      if (pc === this.pc) this.watch(pc.connectionState);
    };
  }

  private watch(state: RTCPeerConnectionState): void {
    clearTimeout(this.grace);
    if (state === 'disconnected') {
      this.grace = setTimeout(() => this.setProblem(true), DISCONNECTED_GRACE);
    } else if (state === 'failed') {
      this.setProblem(true);
      this.request();
    } else if (state === 'connected') {
      this.setProblem(false);
    }
  }

  private add(track: MediaStreamTrack, receiver: RTCRtpReceiver): void {
    const kind = track.kind === 'audio' ? 'audio' : 'video';
    this.received[kind] = { track, receiver, arrived: false, last: 0, mark: 0 };
    track.onunmute = () => this.onmedia(kind);
    if (!track.muted) this.onmedia(kind);
    this.onchange();
  }

  private listen(channel: RTCDataChannel): void {
    channel.onmessage = (event) => {
      const m = parseStatus(event.data);
      if (m) this.onstatus(m);
    };
  }

  private setProblem(problem: boolean): void {
    if (problem === this.problem) return;
    this.problem = problem;
    this.onchange();
  }

  private drop(): void {
    clearTimeout(this.grace);
    const pc = this.pc;
    this.pc = null;
    this.received = { audio: null, video: null };
    if (!pc) return;
    pc.onicecandidate = null;
    pc.onconnectionstatechange = null;
    pc.ontrack = null;
    pc.ondatachannel = null;
    pc.close();
  }
}
