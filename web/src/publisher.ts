import {
  addCandidate,
  candidateData,
  EarlyCandidates,
  OFFER_RETRY,
  type PeerDeps,
  type StatusMessage,
} from './peer';
import type { CandidateInit, PeerData } from './wire';

export interface PublisherOptions {
  kind: 'video' | 'screen';
  session: string;
  nick: string;
  audio: MediaStreamTrack | null;
  video: MediaStreamTrack | null;
  maxBitrate: number;
}

/**
 * The own camera and microphone, or the own screen: one connection to the own
 * node. Both sections are always there, so that unmuting is replaceTrack and
 * nothing else. Without an answer the offer is made anew every 10 s.
 */
export class Publisher {
  /** The status channel is open. */
  onopen: () => void = () => {};
  /** The connection failed; a new one is on its way. */
  onfailed: () => void = () => {};
  onproblem: (problem: boolean) => void = () => {};

  sid = '';
  private pc: RTCPeerConnection | null = null;
  private channel: RTCDataChannel | null = null;
  private answered = false;
  private closed = false;
  private lastSID = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private early = new EarlyCandidates();
  private senders: { audio: RTCRtpSender | null; video: RTCRtpSender | null } = { audio: null, video: null };

  constructor(
    private readonly deps: PeerDeps,
    private readonly options: PublisherOptions,
  ) {}

  get connected(): boolean {
    return this.pc?.connectionState === 'connected';
  }

  /** Makes a connection and offers it; an earlier one is given up. */
  async start(): Promise<void> {
    if (this.closed) return;
    this.drop();
    // The time, as other clients have it, but never the same twice.
    this.lastSID = Math.max(this.lastSID + 1, this.deps.now());
    const sid = (this.sid = String(this.lastSID));
    const { kind, audio, video, maxBitrate, session, nick } = this.options;
    const pc = (this.pc = this.deps.peer());
    this.watch(pc);
    if (kind === 'video') {
      const channel = (this.channel = pc.createDataChannel('status', { ordered: true }));
      channel.onopen = () => this.onopen();
    }
    this.senders = { audio: null, video: null };
    if (kind === 'video' || audio) {
      this.senders.audio = pc.addTransceiver(audio ?? 'audio', { direction: 'sendonly' }).sender;
    }
    this.senders.video = pc.addTransceiver(video ?? 'video', {
      direction: 'sendonly',
      sendEncodings: [{ maxBitrate, maxFramerate: 30 }],
    }).sender;
    this.timer = setTimeout(() => void this.start(), OFFER_RETRY);
    try {
      const offer = await pc.createOffer();
      if (pc !== this.pc) return;
      // First, as candidates follow from setting it, and the node need not wait for that. An answer waits for its turn.
      this.say({ type: 'offer', sid, payload: { type: 'offer', sdp: offer.sdp ?? '', nick } }, session);
      await pc.setLocalDescription(offer);
    } catch {
      // The timer tries again.
    }
  }

  async answer(sid: string, sdp: string): Promise<void> {
    const pc = this.pc;
    if (!pc || sid !== this.sid || this.answered) return;
    this.answered = true;
    clearTimeout(this.timer);
    try {
      await pc.setRemoteDescription({ type: 'answer', sdp });
    } catch {
      if (pc === this.pc) this.timer = setTimeout(() => void this.start(), OFFER_RETRY);
      return;
    }
    if (pc !== this.pc) return;
    for (const c of this.early.take(sid)) await addCandidate(pc, c);
  }

  async candidate(sid: string, c: CandidateInit): Promise<void> {
    if (sid && sid !== this.sid) return;
    if (this.pc?.remoteDescription) await addCandidate(this.pc, c);
    else this.early.add(sid || this.sid, c);
  }

  /** Sends this track from now on; null sends nothing. */
  async replace(kind: 'audio' | 'video', track: MediaStreamTrack | null): Promise<void> {
    this.options[kind] = track;
    await this.senders[kind]?.replaceTrack(track);
  }

  /** Says something to everybody who listens, over the data channel. */
  status(m: StatusMessage): void {
    if (this.channel?.readyState === 'open') this.channel.send(JSON.stringify(m));
  }

  close(): void {
    this.closed = true;
    this.drop();
  }

  private watch(pc: RTCPeerConnection): void {
    pc.onicecandidate = (event) => {
      if (!event.candidate?.candidate || pc !== this.pc) return;
      const payload = { candidate: candidateData(event.candidate) };
      this.say({ type: 'candidate', sid: this.sid, payload }, this.options.session);
    };
    pc.onconnectionstatechange = () => {
      if (pc !== this.pc) return;
      this.onproblem(pc.connectionState === 'disconnected' || pc.connectionState === 'failed');
      if (pc.connectionState === 'failed') {
        this.onfailed();
        void this.start();
      }
    };
  }

  private say(data: PeerData, to: string): void {
    const extra: PeerData = { ...data, to, roomType: this.options.kind };
    if (this.options.kind === 'screen') extra.broadcaster = this.options.session;
    this.deps.send({ type: 'session', sessionid: to }, extra);
  }

  private drop(): void {
    clearTimeout(this.timer);
    this.answered = false;
    this.early = new EarlyCandidates();
    this.channel = null;
    const pc = this.pc;
    this.pc = null;
    if (pc) {
      pc.onicecandidate = null;
      pc.onconnectionstatechange = null;
      pc.close();
    }
  }
}
