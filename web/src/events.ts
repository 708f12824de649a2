// What signaling tells those who listen.

import type { Move } from './move';
import type { CallUser, JoinEntry, NodeRef, PeerData, Sender, Shed } from './wire';

export type SignalingState = 'idle' | 'connecting' | 'connected' | 'reconnecting' | 'closed';

export interface SignalingEvents {
  state: { state: SignalingState; reason: string };
  /**
   * A session is there. fresh: it is a new one. media: its connections are as
   * they were. inRoom: and so is its place in the room.
   */
  session: { id: string; fresh: boolean; media: boolean; inRoom: boolean };
  /** Another node is to take over: warm the connections there, then complete or abort it. */
  moving: Move;
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
  /** The node leaves out video of somebody, or no longer does. */
  shed: Shed;
}
