// The standalone signaling protocol without a DOM:
//
//   Signaling ── dials, resumes, follows redirects ── Link (one WebSocket each)
//     └─ events: session → (the owner joins the room) → users, call, data
//
// A lost connection is resumed at once: at its node, and a moment later at
// others. What became of the session is told by the event "session": joining
// again is the business of the owner, since that needs the API. A server that
// wants the session at another node is obeyed by a Move, which the owner
// completes once the media are there.

import { dial, FatalError, superseded, type DialDeps } from './dial';
import { Emitter } from './emitter';
import type { SignalingEvents, SignalingState } from './events';
import { ProtocolError, type Link } from './link';
import { ABORT, Move, present } from './move';
import {
  aboutMedia,
  apiOrigin,
  nodesOf,
  type HelloReply,
  type MoveOrder,
  type NodeRef,
  type PeerData,
  type Recipient,
  type RoomReply,
  type ServerMessage,
} from './wire';

const BACKOFF_FIRST = 500;
const BACKOFF_MAX = 16_000;
const PING_EVERY = 10_000;
const PONG_TIMEOUT = 1_500;
/** What is still on its way over the link of before, when a move is done. */
const LAST_WORDS = 1_000;
const QUEUE_MAX = 200;
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
  private following = false;
  private move: Move | null = null;
  private orders = 0;
  private failures = 0;
  private run = 0;
  private doubting = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private pings: ReturnType<typeof setInterval> | undefined;
  private queue: { recipient: Recipient; data: PeerData }[] = [];

  constructor(
    private readonly deps: DialDeps,
    private stay: boolean,
  ) {
    super();
  }

  /** Begins; the outcome is told by events. */
  connect(): void {
    if (this.state !== 'idle') return;
    this.setState('connecting');
    this.pings = setInterval(() => void this.doubt(), PING_EVERY);
    void this.round();
  }

  /** The node that speaks to us. */
  get origin(): string {
    return apiOrigin(this.url);
  }

  /** Says bye and ends. */
  close(): void {
    this.finish('');
  }

  /** Asks the node for a sign of life; a connection without one is lost. */
  async doubt(): Promise<void> {
    const { link } = this;
    if (!link || this.doubting) return;
    this.doubting = true;
    const alive = await link.alive(PONG_TIMEOUT);
    this.doubting = false;
    if (!alive && link === this.link) this.lost();
  }

  /** Gives the connection up: resumes over a new one, now. */
  renew(): void {
    if (this.state === 'connected' && !this.following) this.lost();
    else if (this.state === 'reconnecting') {
      clearTimeout(this.timer);
      this.failures = 0;
      void this.round();
    }
  }

  /** Ends a move: the session is at the other node. False: it has stayed. */
  async complete(move: Move): Promise<boolean> {
    if (move !== this.move) return false;
    let room: RoomReply | undefined;
    try {
      room = await move.finish();
    } catch {
      this.abandon(move);
      return false;
    }
    if (move !== this.move) return false;
    this.move = null;
    const { link: old } = this;
    this.adopt(move.link, move.hello);
    if (room?.home) this.setPlace(this.serving, room.home);
    for (const m of move.takeEarly()) this.receive(m);
    if (old) this.hearOut(old);
    this.flush(true);
    return true;
  }

  /** The move is off, the session stays where it is. Its node hears that too, as others wait for their turn. */
  abandon(move: Move): void {
    move.abort();
    move.onclose();
    if (move !== this.move) return;
    this.move = null;
    if (this.link?.open) this.link.send(ABORT);
    else this.lost();
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
    this.following = true;
    try {
      const { link, hello } = await present(this.deps.open, url, ticket);
      if (run !== this.run) {
        link.close();
        throw superseded();
      }
      old?.close();
      this.adopt(link, hello);
    } catch (err) {
      this.following = false;
      if (run !== this.run) throw err;
      // Nobody is redirected twice for one join: the next attempt asks to stay.
      this.stay = true;
      this.lost();
      throw new ProtocolError({ code: 'redirect_failed', message: String(err) });
    }
    this.following = false;
    const link = this.link;
    if (!link) throw superseded();
    return this.enter(link, roomid, roomSession);
  }

  private async round(): Promise<void> {
    const run = ++this.run;
    try {
      const got = await dial(this.deps, {
        own: this.url,
        nodes: this.nodes,
        stay: this.stay,
        resumeID: this.resumeID,
        current: () => run === this.run,
        learn: (info) => this.learn(info),
        refused: () => (this.resumeID = ''),
      });
      if (run !== this.run) {
        got.link.close();
        return;
      }
      this.failures = 0;
      if (got.fresh) {
        this.queue = [];
        this.setPlace('', '');
      }
      this.adopt(got.link, got.hello);
      this.setState('connected');
      // A session that was taken up without a word about its media has them.
      const { media = !got.fresh, room = '' } = got.hello.resumed ?? {};
      this.flush(media);
      this.emit('session', { id: this.sessionID, fresh: got.fresh, media, inRoom: media || room !== '' });
    } catch (err) {
      if (run !== this.run) return;
      if (err instanceof FatalError) {
        this.finish(err.reason);
        return;
      }
      const reason = err instanceof ProtocolError ? err.code : 'unreachable';
      this.setState(this.sessionID ? 'reconnecting' : 'connecting', reason);
      const delay = Math.min(BACKOFF_FIRST * 2 ** this.failures++, BACKOFF_MAX);
      this.timer = setTimeout(() => void this.round(), delay * (0.5 + this.deps.random()));
    }
  }

  private adopt(link: Link, reply: HelloReply): void {
    this.link = link;
    this.url = link.url;
    this.sessionID = reply.sessionid;
    this.resumeID = reply.resumeid || this.resumeID;
    this.learn(reply.server);
    const { origin } = this;
    const serving = reply.server?.node ?? link.welcome?.node ?? this.nodes.find((n) => n.url === origin)?.id ?? '';
    this.setPlace(serving, this.home);
    link.onmessage = (m) => this.receive(m);
    link.onclose = () => {
      if (!this.following && link === this.link) this.lost();
    };
  }

  // The link of before a move may have a word of somebody on its way.
  private hearOut(link: Link): void {
    link.onclose = () => {};
    link.onmessage = (m) => {
      const said = m.type === 'message' ? m.message : undefined;
      if (m.type === 'control' || (said?.data && !aboutMedia(said.data))) this.receive(m);
    };
    setTimeout(() => link.close(), LAST_WORDS);
  }

  private async obey(order: MoveOrder): Promise<void> {
    const turn = ++this.orders;
    const before = this.move;
    this.move = null; // its node knows that it is off
    if (before) this.abandon(before);
    let move: Move;
    try {
      move = await Move.begin(this.deps.open, order);
    } catch {
      if (turn === this.orders) this.link?.send(ABORT);
      return;
    }
    if (turn !== this.orders || this.state !== 'connected' || !move.hello.moving) {
      move.abort();
      return;
    }
    this.move = move;
    this.emit('moving', move);
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
        this.dismissed(m.bye?.reason ?? '');
        break;
      case 'move':
        if (m.move?.url && m.move.ticket) void this.obey({ ...m.move, url: m.move.url, ticket: m.move.ticket });
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
      case 'media/shed':
        if (e?.shed) this.emit('shed', e.shed);
        break;
      case 'roomlist/disinvite':
        this.emit('removed', e?.disinvite?.reason ?? '');
        break;
    }
  }

  private dismissed(reason: string): void {
    if (this.following || this.move?.finishing) return;
    if (TAKEN_OVER.has(reason)) {
      this.finish('taken_over');
      return;
    }
    // A session that was moved is only somewhere else.
    if (reason !== 'session_moved') this.resumeID = '';
    this.lost();
  }

  private lost(): void {
    this.link?.close();
    this.link = null;
    if (this.state === 'closed') return;
    if (this.move) {
      // The session is on its way: the other node is the nearest to take it up.
      if (!this.move.finishing) this.move.onhurry();
      return;
    }
    this.failures = 0;
    this.setState('reconnecting');
    clearTimeout(this.timer);
    void this.round();
  }

  private finish(reason: string): void {
    if (this.state === 'closed') return;
    this.run++;
    this.orders++;
    clearTimeout(this.timer);
    clearInterval(this.pings);
    if (!reason) this.link?.send({ type: 'bye', bye: {} });
    this.move?.abort();
    this.link?.close();
    this.move = this.link = null;
    this.setState('closed', reason);
  }

  // What belonged to connections that are gone is not said.
  private flush(media: boolean): void {
    const queued = this.queue;
    this.queue = [];
    for (const q of queued) if (media || !aboutMedia(q.data)) this.send(q.recipient, q.data);
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
