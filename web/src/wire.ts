// Messages of the standalone signaling protocol 1.0 as far as this client
// speaks it. What comes from the server is read defensively: every field may
// be absent.

/** A node of the cluster; url is the origin of its API, without a path. */
export interface NodeRef {
  id: string;
  url: string;
}

export interface ServerInfo {
  version?: string;
  features?: string[];
  nodes?: { id?: string; url?: string }[];
  /** The id of the node that speaks. */
  node?: string;
}

export interface HelloReply {
  sessionid: string;
  resumeid: string;
  userid?: string;
  server?: ServerInfo;
  /**
   * The session was taken up again. media: its connections are as they were;
   * without them it is at another node, which names the room it is in, if any.
   */
  resumed?: { media?: boolean; room?: string };
  /** The session stays where it is until we say that the move is done. */
  moving?: boolean;
}

/** Another node is to take over: where it is, and the ticket for one hello there. */
export interface MoveOrder {
  roomid?: string;
  url: string;
  ticket: string;
  reason?: string;
  deadline_ms?: number;
}

export interface RoomReply {
  roomid: string;
  properties?: { name?: string; displayName?: string };
  bandwidth?: { maxstreambitrate?: number; maxscreenbitrate?: number };
  /** The node that is the home of the room. */
  home?: string;
}

export interface JoinEntry {
  sessionid: string;
  userid?: string;
  user?: { displayname?: string };
  roomsessionid?: string;
}

/** An entry of participants/update. */
export interface CallUser {
  sessionId: string;
  inCall: number;
  userId?: string;
  displayName?: string;
  internal?: boolean;
}

export interface Sender {
  type: string;
  sessionid: string;
  userid?: string;
}

export interface CandidateInit {
  candidate: string;
  sdpMid: string;
  sdpMLineIndex?: number;
}

/** What participants say to each other, and to the media part of their node. */
export interface PeerData {
  type: string;
  to?: string;
  from?: string;
  sid?: string;
  roomType?: 'video' | 'screen';
  broadcaster?: string;
  payload?: {
    type?: string;
    sdp?: string;
    nick?: string;
    name?: string;
    candidate?: CandidateInit;
  };
  action?: string;
  peerId?: string;
}

export interface WireError {
  code: string;
  message?: string;
  details?: { roomid?: string; url?: string; ticket?: string; room?: RoomReply };
}

/** What an overloaded node does to the video that a connection receives. */
export interface Shed {
  sessionid: string;
  roomType: 'video' | 'screen';
  sid: string;
  state: 'none' | 'lowered' | 'paused';
}

export interface EventMessage {
  target: string;
  type: string;
  join?: JoinEntry[];
  leave?: string[];
  update?: {
    roomid?: string;
    users?: CallUser[];
    incall?: number;
    all?: boolean;
    home?: string;
    properties?: RoomReply['properties'];
  };
  disinvite?: { roomid?: string; reason?: string };
  shed?: Shed;
}

export interface ServerMessage {
  id?: string;
  type: string;
  welcome?: ServerInfo;
  hello?: HelloReply;
  room?: RoomReply;
  error?: WireError;
  bye?: { reason?: string };
  message?: { sender: Sender; data: PeerData };
  control?: { sender: Sender; data: PeerData };
  event?: EventMessage;
  move?: Partial<MoveOrder> & { state?: string; room?: RoomReply };
}

export interface Recipient {
  type: 'session' | 'room' | 'call';
  sessionid?: string;
}

export type ClientMessage =
  | { type: 'hello'; hello: object }
  | { type: 'bye'; bye: object }
  | { type: 'ping' }
  | { type: 'move'; move: { state: 'done' | 'abort' } }
  | { type: 'room'; room: { roomid: string; sessionid?: string } }
  | { type: 'message'; message: { recipient: Recipient; data: PeerData } };

/** What we ask of a server that knows it, in every hello. */
export const FEATURES = ['redirect', 'resume-media', 'move', 'shed'];

const ABOUT_MEDIA = new Set(['offer', 'answer', 'candidate', 'endOfCandidates', 'requestoffer', 'sendoffer']);

/** Tells whether data belong to connections, and so to one link and no other. */
export function aboutMedia(data: PeerData): boolean {
  return ABOUT_MEDIA.has(data.type);
}

/** Bits of inCall. */
export const IN_CALL = 1;
export const WITH_AUDIO = 2;
export const WITH_VIDEO = 4;

/** Reads one frame; null when it is no message. */
export function decode(frame: unknown): ServerMessage | null {
  if (typeof frame !== 'string') return null;
  try {
    const m: unknown = JSON.parse(frame);
    if (typeof m === 'object' && m !== null && typeof (m as ServerMessage).type === 'string') {
      return m as ServerMessage;
    }
  } catch {
    // Not JSON: as good as silence.
  }
  return null;
}

/** The origin of a node's API, whichever way its URL is written; "" if it is none. */
export function apiOrigin(url: string): string {
  try {
    const u = new URL(url);
    if (u.protocol === 'ws:') return `http://${u.host}`;
    if (u.protocol === 'wss:') return `https://${u.host}`;
    return u.protocol === 'http:' || u.protocol === 'https:' ? u.origin : '';
  } catch {
    return '';
  }
}

/**
 * The WebSocket of a node. A URL that already names the endpoint is kept, one
 * of a server gets "/spreed". stay asks not to be redirected.
 */
export function socketURL(url: string, stay: boolean): string {
  const u = new URL(url.replace(/^http/, 'ws'));
  if (!u.pathname.endsWith('/spreed')) u.pathname = `${u.pathname.replace(/\/$/, '')}/spreed`;
  if (stay) u.searchParams.set('redirect', '0');
  return u.href;
}

/** The nodes a server names, as origins; entries that are none are left out. */
export function nodesOf(info: ServerInfo | undefined): NodeRef[] {
  return (info?.nodes ?? []).flatMap((n) => {
    const url = apiOrigin(n.url ?? '');
    return n.id && url ? [{ id: n.id, url }] : [];
  });
}
