// The standalone signaling protocol without a DOM:
//
//   Signaling ── dials, resumes, follows redirects ── Link (one WebSocket each)
//     └─ events: session → (the owner joins the room) → users, call, data
//
// A lost connection is resumed at its node first; when that node does not
// answer, the other nodes of the cluster are tried in turn. A new session is
// told by the event "session": joining again is the business of the owner,
// since that needs the API.

import { Emitter } from './emitter';
import { Link, ProtocolError, type SocketFactory } from './link';
import {
  apiOrigin,
  nodesOf,
  socketURL,
  type CallUser,
  type HelloReply,
  type JoinEntry,
  type NodeRef,
  type PeerData,
  type Recipient,
  type RoomReply,
  type Sender,
  type ServerMessage,
} from './wire';

export interface Credentials {
  /** Where the API sends us; used unless a certain node is wanted. */
  socket: string;
  auth: { url: string; params: Record<string, string> };
}

export interface SignalingDeps {
  open: SocketFactory;
  /**
   * Fresh credentials for a full hello. origin is the node to ask, or "" for
   * any. A FatalError ends the attempts.
   */
  credentials(origin: string): Promise<Credentials>;
  random(): number;
}

/** An error that trying again does not mend. */
export class FatalError extends Error {
  constructor(readonly reason: string) {
    super(reason);
    this.name = 'FatalError';
  }
}

export type SignalingState = 'idle' | 'connecting' | 'connected' | 'reconnecting' | 'closed';

export interface SignalingEvents {
  state: { state: SignalingState; reason: string };
  /** A session is there. fresh: it is a new one and in no room. */
  session: { id: string; fresh: boolean };
  nodes: NodeRef[];
  /** The serving node or the home of the room changed. */
  place: { serving: string; home: string };
  joined: JoinEntry[];
  left: string[];
  users: CallUser[];
  /** The call was ended for everybody. */
  ended: null;
  removed: string;
  data: { sender: Sender; data: PeerData };
  control: { sender: Sender; data: PeerData };
}

const BACKOFF_FIRST = 1_000;
const BACKOFF_MAX = 16_000;
const QUICK_RETRY = 300;
const QUEUE_MAX = 200;
const FEATURES = ['redirect'];
/** Reasons of a bye after which coming back would throw out somebody else: oneself. */
const TAKEN_OVER = new Set(['room_session_reconnected', 'session_resumed']);

export class Signaling extends Emitter<SignalingEvents> {
  state: SignalingState = 'idle';
  sessionID = '';
  serving = '';
  home = '';
  nodes: NodeRef[] = [];

  private link: Link | null = null;
  private resumeID = '';
  /** The socket of the node that holds the session. */
  private url = '';
  private moving = false;
  private failures = 0;
  private run = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private queue: { recipient: Recipient; data: PeerData }[] = [];

  constructor(
    private readonly deps: SignalingDeps,
    private stay: boolean,
  ) {
    super();
  }

  /** Begins; the outcome is told by events. */
  connect(): void {
    if (this.state !== 'idle') return;
    this.setState('connecting');
    void this.attempt(0);
  }

  /** Says bye and ends. */
  close(): void {
    this.finish('');
  }

  /** Doubts the connection: resumes over a new one, now. */
  renew(): void {
    if (this.state === 'connected' && !this.moving) this.lost();
    else if (this.state === 'reconnecting') {
      clearTimeout(this.timer);
      this.failures = 0;
      void this.attempt(0);
    }
  }

  /** Enters a room, on the node that the cluster chooses. */
  async join(roomid: string, roomSession: string): Promise<RoomReply> {
    const link = this.link;
    if (!link) throw new ProtocolError({ code: 'connection_closed' });
    try {
      return await this.enter(link, roomid, roomSession);
    } catch (err) {
      const details = err instanceof ProtocolError && err.code === 'redirect' ? err.details : undefined;
      if (!details?.url || !details.ticket) throw err;
      return this.follow(details.url, details.ticket, roomid, roomSession);
    }
  }

  /** Says something to others. While reconnecting it waits, bounded; a new session drops it. */
  send(recipient: Recipient, data: PeerData): void {
    if (this.link && this.state === 'connected') {
      this.link.send({ type: 'message', message: { recipient, data } });
    } else if (this.state !== 'closed' && this.queue.length < QUEUE_MAX) {
      this.queue.push({ recipient, data });
    }
  }

  private async enter(link: Link, roomid: string, sessionid: string): Promise<RoomReply> {
    let room: RoomReply | undefined;
    try {
      room = (await link.request({ type: 'room', room: { roomid, sessionid } })).room;
    } catch (err) {
      if (!(err instanceof ProtocolError) || err.code !== 'already_joined') throw err;
      room = err.details?.room;
    }
    const entered: RoomReply = room ?? { roomid };
    this.setPlace(this.serving, entered.home ?? this.home);
    return entered;
  }

  // The session moves to the node that the ticket names. Until its hello has
  // succeeded the old connection stays, and its end means nothing.
  private async follow(url: string, ticket: string, roomid: string, roomSession: string): Promise<RoomReply> {
    const run = this.run;
    const old = this.link;
    this.moving = true;
    try {
      const link = await Link.open(this.deps.open, socketURL(url, false));
      let reply: HelloReply | undefined;
      try {
        reply = (
          await link.request({
            type: 'hello',
            hello: { version: '1.0', features: FEATURES, auth: { type: 'ticket', params: { ticket } } },
          })
        ).hello;
        if (!reply?.sessionid) throw new ProtocolError({ code: 'processing_failed' });
        if (run !== this.run) throw new ProtocolError({ code: 'connection_closed' });
      } catch (err) {
        link.close();
        throw err;
      }
      old?.close();
      this.adopt(link, reply);
    } catch (err) {
      this.moving = false;
      if (run !== this.run) throw err;
      // Nobody is redirected twice for one join: the next attempt asks to stay.
      this.stay = true;
      this.lost();
      throw new ProtocolError({ code: 'redirect_failed', message: String(err) });
    }
    this.moving = false;
    const link = this.link;
    if (!link) throw new ProtocolError({ code: 'connection_closed' });
    return this.enter(link, roomid, roomSession);
  }

  // One attempt after the other. n counts since the connection was lost: the
  // own node twice, then every other node, then again from the start.
  private async attempt(n: number): Promise<void> {
    const run = ++this.run;
    const candidates = this.candidates();
    const target = candidates[n % candidates.length] ?? '';
    try {
      const fresh = await this.attach(target, run);
      if (run !== this.run) return;
      this.failures = 0;
      this.setState('connected');
      if (!fresh) this.flush();
      this.emit('session', { id: this.sessionID, fresh });
    } catch (err) {
      if (run !== this.run) return;
      if (err instanceof FatalError) {
        this.finish(err.reason);
        return;
      }
      const next = n + 1;
      let delay = QUICK_RETRY;
      if (next % candidates.length === 0) {
        delay = Math.min(BACKOFF_FIRST * 2 ** this.failures++, BACKOFF_MAX);
      }
      const reason = err instanceof ProtocolError ? err.code : 'unreachable';
      this.setState(this.sessionID ? 'reconnecting' : 'connecting', reason);
      this.timer = setTimeout(() => void this.attempt(next), delay * (0.5 + this.deps.random()));
    }
  }

  private candidates(): string[] {
    const own = this.url;
    const origin = apiOrigin(own);
    const others = this.nodes.filter((n) => n.url !== origin).map((n) => socketURL(n.url, this.stay));
    return own ? [own, own, ...others] : ['', ...others];
  }

  // Resumes if there is something to resume, else says a full hello. Tells
  // whether the session is a new one.
  private async attach(target: string, run: number): Promise<boolean> {
    const checked = (link?: Link) => {
      if (run === this.run) return;
      link?.close();
      throw new ProtocolError({ code: 'connection_closed' });
    };
    let credentials: Credentials | null = null;
    if (!target) {
      credentials = await this.deps.credentials('');
      checked();
    }
    const url = socketURL(target || (credentials?.socket ?? ''), this.stay);
    const link = await Link.open(this.deps.open, url);
    checked(link);
    try {
      this.learn(link.welcome);
      if (this.resumeID) {
        const reply = await this.resume(link);
        checked(link);
        if (reply) {
          this.adopt(link, reply);
          return false;
        }
      }
      credentials ??= await this.deps.credentials(apiOrigin(url));
      checked(link);
      const m = await link.request({
        type: 'hello',
        hello: { version: '1.0', features: FEATURES, auth: credentials.auth },
      });
      checked(link);
      if (!m.hello?.sessionid) throw new ProtocolError({ code: 'processing_failed' });
      this.queue = [];
      this.setPlace('', '');
      this.adopt(link, m.hello);
      return true;
    } catch (err) {
      link.close();
      throw err;
    }
  }

  // Any refusal means that the session is gone; a silence does not.
  private async resume(link: Link): Promise<HelloReply | null> {
    try {
      const m = await link.request({ type: 'hello', hello: { version: '1.0', resumeid: this.resumeID } });
      if (m.hello?.sessionid) return m.hello;
    } catch (err) {
      if (err instanceof ProtocolError && (err.code === 'connection_closed' || err.code === 'answer_timeout')) throw err;
    }
    this.resumeID = '';
    return null;
  }

  private adopt(link: Link, reply: HelloReply): void {
    this.link = link;
    this.url = link.url;
    this.sessionID = reply.sessionid;
    this.resumeID = reply.resumeid;
    this.learn(reply.server);
    const origin = apiOrigin(link.url);
    const serving = reply.server?.node ?? link.welcome?.node ?? this.nodes.find((n) => n.url === origin)?.id ?? '';
    this.setPlace(serving, this.home);
    link.onmessage = (m) => this.receive(m);
    link.onclose = () => {
      if (!this.moving) this.lost();
    };
  }

  private receive(m: ServerMessage): void {
    switch (m.type) {
      case 'message':
        if (m.message?.sender && m.message.data) this.emit('data', m.message);
        break;
      case 'control':
        if (m.control?.sender && m.control.data) this.emit('control', m.control);
        break;
      case 'bye':
        if (this.moving) break;
        if (TAKEN_OVER.has(m.bye?.reason ?? '')) this.finish('taken_over');
        else {
          this.resumeID = '';
          this.lost();
        }
        break;
      case 'event':
        this.receiveEvent(m);
        break;
      case 'room':
        if (m.room?.home) this.setPlace(this.serving, m.room.home);
        break;
      case 'welcome':
        this.learn(m.welcome);
        break;
    }
  }

  private receiveEvent(m: ServerMessage): void {
    const e = m.event;
    switch (`${e?.target}/${e?.type}`) {
      case 'room/join':
        this.emit('joined', e?.join ?? []);
        break;
      case 'room/leave':
        this.emit('left', e?.leave ?? []);
        break;
      case 'room/update':
        if (e?.update?.home) this.setPlace(this.serving, e.update.home);
        break;
      case 'participants/update':
        if (e?.update?.all && e.update.incall === 0) this.emit('ended', null);
        else if (e?.update?.users) this.emit('users', e.update.users);
        break;
      case 'roomlist/disinvite':
        this.emit('removed', e?.disinvite?.reason ?? '');
        break;
    }
  }

  private lost(): void {
    this.link?.close();
    this.link = null;
    if (this.state === 'closed') return;
    this.failures = 0;
    this.setState('reconnecting');
    clearTimeout(this.timer);
    void this.attempt(0);
  }

  private finish(reason: string): void {
    if (this.state === 'closed') return;
    this.run++;
    clearTimeout(this.timer);
    if (!reason) this.link?.send({ type: 'bye', bye: {} });
    this.link?.close();
    this.link = null;
    this.setState('closed', reason);
  }

  private flush(): void {
    const queued = this.queue;
    this.queue = [];
    for (const q of queued) this.send(q.recipient, q.data);
  }

  private learn(info: Parameters<typeof nodesOf>[0]): void {
    const nodes = nodesOf(info);
    if (nodes.length === 0) return;
    this.nodes = nodes;
    this.emit('nodes', nodes);
  }

  private setPlace(serving: string, home: string): void {
    if (serving === this.serving && home === this.home) return;
    this.serving = serving;
    this.home = home;
    this.emit('place', { serving, home });
  }

  private setState(state: SignalingState, reason = ''): void {
    this.state = state;
    this.emit('state', { state, reason });
  }
}
