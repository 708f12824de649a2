// A session on its way to another node:
//
//   move (first link) → second link, hello with the ticket → media over both
//     → done (second link) → the second link is the only one
//
// Until done is answered the first link carries everything but what belongs to
// the new connections; ending the second link before that changes nothing.

import { Link, ProtocolError, type SocketFactory } from './link';
import { aboutMedia, FEATURES, socketURL, type ClientMessage, type HelloReply, type MoveOrder, type PeerData, type Recipient, type RoomReply, type Sender, type ServerMessage } from './wire';

/** Longer than this no move takes, whatever the server allows. */
export const MOVE_TIMEOUT = 8_000;
const DONE_TIMEOUT = 4_000;

/** The session stays where it is. */
export const ABORT: ClientMessage = { type: 'move', move: { state: 'abort' } };

/** Goes to another node with a ticket. */
export async function present(open: SocketFactory, url: string, ticket: string): Promise<{ link: Link; hello: HelloReply }> {
  const link = await Link.open(open, socketURL(url, false));
  try {
    const m = await link.request({
      type: 'hello',
      hello: { version: '1.0', features: FEATURES, auth: { type: 'ticket', params: { ticket } } },
    });
    if (!m.hello?.sessionid) throw new ProtocolError({ code: 'processing_failed' });
    return { link, hello: m.hello };
  } catch (err) {
    link.close();
    throw err;
  }
}

export class Move {
  /** What comes about the new connections. */
  ondata: (m: { sender: Sender; data: PeerData }) => void = () => {};
  /** The second link has ended: the move is off. */
  onclose: () => void = () => {};
  /** The first link has ended: what is there now must do. */
  onhurry: () => void = () => {};
  finishing = false;

  private early: ServerMessage[] = [];

  private constructor(
    readonly link: Link,
    readonly hello: HelloReply,
    /** How long the new connections may take, in ms. */
    readonly limit: number,
  ) {
    link.onmessage = (m) => this.receive(m);
    link.onclose = () => this.onclose();
  }

  static async begin(open: SocketFactory, order: MoveOrder): Promise<Move> {
    const { link, hello } = await present(open, order.url, order.ticket);
    return new Move(link, hello, Math.min(order.deadline_ms || MOVE_TIMEOUT, MOVE_TIMEOUT));
  }

  send(recipient: Recipient, data: PeerData): void {
    this.link.send({ type: 'message', message: { recipient, data } });
  }

  /** From now on the session is at the new node, if it agrees. */
  async finish(): Promise<RoomReply | undefined> {
    this.finishing = true;
    return (await this.link.request({ type: 'move', move: { state: 'done' } }, DONE_TIMEOUT)).move?.room;
  }

  abort(): void {
    this.link.send(ABORT);
    this.link.close();
  }

  /** What the new node said about the room before its answer to done. */
  takeEarly(): ServerMessage[] {
    return this.early.splice(0);
  }

  // The room speaks on the first link until the end: here it would be double. What
  // the node does to the new connections counts when they do.
  private receive(m: ServerMessage): void {
    if (m.type === 'message' && m.message?.sender && m.message.data && aboutMedia(m.message.data)) this.ondata(m.message);
    else if (this.finishing || m.event?.target === 'media') this.early.push(m);
  }
}
