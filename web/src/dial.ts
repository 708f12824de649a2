// One round over some nodes, the own one first, until one of them has the
// session or gives a new one.

import { ProtocolError, type Link, type SocketFactory } from './link';
import { Race } from './race';
import { apiOrigin, FEATURES, socketURL, type HelloReply, type NodeRef, type ServerInfo } from './wire';

export interface Credentials {
  /** Where the API sends us; used unless a certain node is wanted. */
  socket: string;
  auth: { url: string; params: Record<string, string> };
}

export interface DialDeps {
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

export interface Wish {
  /** The socket of the node that had the session, if one had. */
  own: string;
  nodes: NodeRef[];
  stay: boolean;
  resumeID: string;
  /** False once something else is wanted. */
  current(): boolean;
  learn(info: ServerInfo | undefined): void;
  /** The session is gone. */
  refused(): void;
}

export interface Dialled {
  link: Link;
  hello: HelloReply;
  /** The session is a new one. */
  fresh: boolean;
}

/** How many other nodes are tried in one round. */
const OTHERS = 4;
/** A node decides within a second whether it can take a session up. */
const RESUME_TIMEOUT = 2_000;
/** Answers that say nothing about the session: another node may take it up. */
const NOT_HERE = new Set(['connection_closed', 'answer_timeout', 'processing_failed', 'session_limit_exceeded', 'too_many_requests']);

/**
 * The first node that gives us a session. Nothing is waited for, not even a
 * random time: those who lose a node together come together, but spread by
 * chance over all others, and a node takes a thousand sockets in less time than
 * a person notices. It is later rounds that are spread over time.
 */
export async function dial(deps: DialDeps, wish: Wish): Promise<Dialled> {
  const seat = wish.own ? null : await deps.credentials('');
  wanted(wish);
  const own = socketURL(wish.own || (seat?.socket ?? ''), wish.stay);
  const race = new Race(deps.open, [own, ...others(own, wish, deps.random)]);
  let failure: unknown;
  try {
    for (;;) {
      const link = await race.take().catch((err: unknown) => {
        throw failure ?? err;
      });
      try {
        return await greet(deps, wish, link, link.url === own ? seat : null);
      } catch (err) {
        link.close();
        if (err instanceof FatalError || !wish.current()) throw err;
        failure = err;
      }
    }
  } finally {
    race.end();
  }
}

/** Something else has happened meanwhile. */
export function superseded(): ProtocolError {
  return new ProtocolError({ code: 'connection_closed' });
}

function wanted(wish: Wish): void {
  if (!wish.current()) throw superseded();
}

function others(own: string, { nodes, stay }: Wish, random: () => number): string[] {
  const origin = apiOrigin(own);
  const rest = nodes.filter((n) => n.url !== origin);
  const chosen: string[] = [];
  while (chosen.length < OTHERS && rest.length > 0) {
    const [node] = rest.splice(Math.floor(random() * rest.length), 1);
    if (node) chosen.push(socketURL(node.url, stay));
  }
  return chosen;
}

// Resumes if there is something to resume, else says a full hello.
async function greet(deps: DialDeps, wish: Wish, link: Link, seat: Credentials | null): Promise<Dialled> {
  wanted(wish);
  wish.learn(link.welcome);
  if (wish.resumeID) {
    const hello = await resume(link, wish.resumeID);
    wanted(wish);
    if (hello) return { link, hello, fresh: false };
    wish.resumeID = '';
    wish.refused();
  }
  const { auth } = seat ?? (await deps.credentials(apiOrigin(link.url)));
  wanted(wish);
  const { hello } = await link.request({ type: 'hello', hello: { version: '1.0', features: FEATURES, auth } });
  wanted(wish);
  if (!hello?.sessionid) throw new ProtocolError({ code: 'processing_failed' });
  return { link, hello, fresh: true };
}

// Null: the session is gone. A silence does not mean that, nor does a node
// that has troubles of its own.
async function resume(link: Link, resumeid: string): Promise<HelloReply | null> {
  try {
    const m = await link.request({ type: 'hello', hello: { version: '1.0', resumeid, features: FEATURES } }, RESUME_TIMEOUT);
    return m.hello?.sessionid ? m.hello : null;
  } catch (err) {
    if (err instanceof ProtocolError && NOT_HERE.has(err.code)) throw err;
    return null;
  }
}
