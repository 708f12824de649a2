// The slice of the Talk API that the client needs. Every node answers alike
// and accepts the tokens of the others: requests go to the node of the page
// until that one does not answer, then to the next.

import { apiOrigin } from './wire';

export interface Account {
  token: string;
  userId: string;
  displayName: string;
}

export interface Conversation {
  token: string;
  name?: string;
  displayName?: string;
  type?: number;
  sessionId?: string;
  guestToken?: string;
  hasCall?: boolean;
  participantType?: number;
  canDeleteConversation?: boolean;
  lastActivity?: number;
}

export interface IceServer {
  urls: string[];
  username?: string;
  credential?: string;
}

export interface SignalingSettings {
  server: string;
  helloAuthParams: { '1.0': Record<string, string> };
  stunservers?: IceServer[];
  turnservers?: IceServer[];
}

/** An answer that is a refusal; status 0: no node answers. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly code = '',
  ) {
    super(message);
    this.name = 'ApiError';
  }
}

type Params = Record<string, string | number>;

interface Call {
  method: 'GET' | 'POST' | 'DELETE';
  path: string;
  params?: Params;
  token: string;
  keepalive?: boolean;
  /** Done twice it makes two: not sent again when the first answer is lost. */
  once?: boolean;
}

const TIMEOUT = 10_000;
const TALK = '/ocs/v2.php/apps/spreed/api';

export class Api {
  /** The node that is asked first. */
  origin: string;
  private origins: string[];

  constructor(
    readonly page: string,
    private readonly fetcher: typeof fetch = (input, init) => fetch(input, init),
  ) {
    this.origin = page;
    this.origins = [page];
  }

  /** Other nodes that may be asked when the first does not answer. */
  addNodes(urls: string[]): void {
    for (const url of urls) {
      const origin = apiOrigin(url);
      if (origin && !this.origins.includes(origin) && this.origins.length < 64) this.origins.push(origin);
    }
  }

  /** From now on this node is asked first. */
  prefer(url: string): void {
    const origin = apiOrigin(url);
    if (!origin) return;
    this.addNodes([origin]);
    this.origin = origin;
  }

  logIn(user: string, password: string): Promise<Account> {
    return this.send({ method: 'POST', path: '/ocs/v2.php/apps/talkd/api/v1/session', params: { user, password }, token: '' });
  }

  logOut(token: string): Promise<unknown> {
    return this.send({ method: 'DELETE', path: '/ocs/v2.php/apps/talkd/api/v1/session', token });
  }

  listRooms(token: string): Promise<Conversation[]> {
    return this.send({ method: 'GET', path: `${TALK}/v4/room`, token });
  }

  createRoom(token: string, roomName: string): Promise<Conversation> {
    return this.send({ method: 'POST', path: `${TALK}/v4/room`, params: { roomType: 3, roomName }, token, once: true });
  }

  room(token: string, room: string): Promise<Conversation> {
    return this.send({ method: 'GET', path: `${TALK}/v4/room/${enc(room)}`, token });
  }

  deleteRoom(token: string, room: string): Promise<unknown> {
    return this.send({ method: 'DELETE', path: `${TALK}/v4/room/${enc(room)}`, token });
  }

  joinRoom(token: string, room: string, displayName: string): Promise<Conversation> {
    const params: Params = displayName ? { displayName } : {};
    return this.send({ method: 'POST', path: `${TALK}/v4/room/${enc(room)}/participants/active`, params, token });
  }

  leaveRoom(token: string, room: string, keepalive = false): Promise<unknown> {
    return this.send({ method: 'DELETE', path: `${TALK}/v4/room/${enc(room)}/participants/active`, token, keepalive });
  }

  nameGuest(token: string, room: string, displayName: string): Promise<unknown> {
    return this.send({ method: 'POST', path: `${TALK}/v1/guest/${enc(room)}/name`, params: { displayName }, token });
  }

  settings(token: string, room: string, stay: boolean): Promise<SignalingSettings> {
    const query = `?token=${enc(room)}${stay ? '&redirect=0' : ''}`;
    return this.send({ method: 'GET', path: `${TALK}/v3/signaling/settings${query}`, token });
  }

  joinCall(token: string, room: string, flags: number, sessionId: string): Promise<unknown> {
    return this.send({ method: 'POST', path: `${TALK}/v4/call/${enc(room)}`, params: { flags, sessionId }, token });
  }

  leaveCall(token: string, room: string, sessionId: string, keepalive = false): Promise<unknown> {
    const query = sessionId ? `?sessionId=${enc(sessionId)}` : '';
    return this.send({ method: 'DELETE', path: `${TALK}/v4/call/${enc(room)}${query}`, token, keepalive });
  }

  // A node that cannot be reached is skipped for the next; the first that
  // answers, whatever it says, is asked from then on.
  private async send<T>(call: Call): Promise<T> {
    const order = [this.origin, ...this.origins.filter((o) => o !== this.origin)];
    for (const origin of order) {
      let response: Response;
      try {
        response = await this.fetcher(origin + call.path, this.init(call));
      } catch {
        if (call.once || call.keepalive) break;
        continue;
      }
      if ((response.status === 502 || response.status === 503) && !call.once && origin !== order.at(-1)) continue;
      this.origin = origin;
      return parse<T>(response);
    }
    throw new ApiError(0, 'unreachable');
  }

  private init(call: Call): RequestInit {
    const headers: Record<string, string> = { Accept: 'application/json', 'OCS-APIRequest': 'true' };
    if (call.token) headers.Authorization = `Bearer ${call.token}`;
    const init: RequestInit = { method: call.method, headers, credentials: 'omit', cache: 'no-store' };
    if (call.params) {
      headers['Content-Type'] = 'application/json';
      init.body = JSON.stringify(call.params);
    }
    if (call.keepalive) init.keepalive = true;
    else init.signal = AbortSignal.timeout(TIMEOUT);
    return init;
  }
}

async function parse<T>(response: Response): Promise<T> {
  let body: { ocs?: { meta?: { message?: string }; data?: unknown } } = {};
  try {
    body = (await response.json()) as typeof body;
  } catch {
    if (response.ok) throw new ApiError(response.status, 'malformed');
  }
  const data = body.ocs?.data;
  if (response.ok) return data as T;
  const code = typeof data === 'object' && data !== null && 'error' in data ? String(data.error) : '';
  throw new ApiError(response.status, body.ocs?.meta?.message ?? '', code);
}

function enc(s: string): string {
  return encodeURIComponent(s);
}
