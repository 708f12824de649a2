import { decode, type ClientMessage, type ServerInfo, type ServerMessage, type WireError } from './wire';

/** What of a WebSocket is used; tests bring their own. */
export type SocketLike = Pick<WebSocket, 'onopen' | 'onmessage' | 'onclose' | 'send' | 'close'>;

export type SocketFactory = (url: string) => SocketLike;

/** A refusal by the server, or a code of our own when there is no answer. */
export class ProtocolError extends Error {
  readonly code: string;
  readonly details: WireError['details'];

  constructor(error: WireError) {
    super(error.message ?? error.code);
    this.name = 'ProtocolError';
    this.code = error.code;
    this.details = error.details;
  }
}

export const CONNECT_TIMEOUT = 5_000;
export const WELCOME_TIMEOUT = 3_000;
export const ANSWER_TIMEOUT = 12_000;

interface Waiting {
  resolve: (m: ServerMessage) => void;
  reject: (err: Error) => void;
  timer: ReturnType<typeof setTimeout>;
}

/**
 * One WebSocket from its opening to its end: pairs questions with answers.
 * It knows neither sessions nor rooms and never reconnects.
 */
export class Link {
  /** A message that answers nothing. */
  onmessage: (m: ServerMessage) => void = () => {};
  /** The end, told once, and not after close(). */
  onclose: (code: number) => void = () => {};
  welcome: ServerInfo | undefined;

  private nextID = 1;
  private ended = false;
  private frames = 0;
  private readonly waiting = new Map<string, Waiting>();

  private constructor(
    readonly url: string,
    private readonly socket: SocketLike,
  ) {}

  /** Resolves when the server has said welcome, or after 3 s without one. */
  static open(factory: SocketFactory, url: string): Promise<Link> {
    return new Promise((resolve, reject) => {
      let link: Link;
      try {
        link = new Link(url, factory(url));
      } catch (err) {
        reject(err instanceof Error ? err : new Error(String(err)));
        return;
      }
      let timer = setTimeout(() => {
        link.close();
        reject(new ProtocolError({ code: 'connect_timeout' }));
      }, CONNECT_TIMEOUT);
      const ready = () => {
        clearTimeout(timer);
        link.onmessage = () => {};
        resolve(link);
      };
      link.socket.onopen = () => {
        clearTimeout(timer);
        timer = setTimeout(ready, WELCOME_TIMEOUT);
      };
      link.onmessage = (m) => {
        if (m.type === 'welcome') ready();
      };
      link.onclose = () => {
        clearTimeout(timer);
        reject(new ProtocolError({ code: 'connection_closed' }));
      };
      link.socket.onmessage = (event) => link.receive(event.data);
      link.socket.onclose = (event) => link.end(event.code);
      // An error needs no handler: it is always followed by a close.
    });
  }

  get open(): boolean {
    return !this.ended;
  }

  /** Sends a question and waits for its answer. */
  request(m: ClientMessage, timeout = ANSWER_TIMEOUT): Promise<ServerMessage> {
    if (this.ended) return Promise.reject(new ProtocolError({ code: 'connection_closed' }));
    const id = String(this.nextID++);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.waiting.delete(id);
        reject(new ProtocolError({ code: 'answer_timeout' }));
      }, timeout);
      this.waiting.set(id, { resolve, reject, timer });
      this.socket.send(JSON.stringify({ id, ...m }));
    });
  }

  send(m: ClientMessage): void {
    if (!this.ended) this.socket.send(JSON.stringify(m));
  }

  /**
   * Asks for a sign of life. Any frame is one. Answers come in order: while a
   * question is open, which may take the server long, silence proves nothing.
   */
  alive(timeout: number): Promise<boolean> {
    if (this.ended) return Promise.resolve(false);
    const frames = this.frames;
    this.socket.send(JSON.stringify({ id: String(this.nextID++), type: 'ping' }));
    return new Promise((resolve) => {
      setTimeout(() => resolve(!this.ended && (this.frames !== frames || this.waiting.size > 0)), timeout);
    });
  }

  /** Ends the connection from our side; onclose is not called. */
  close(): void {
    this.onclose = () => {};
    this.onmessage = () => {};
    this.end(1000);
    this.socket.close();
  }

  private receive(frame: unknown): void {
    const m = decode(frame);
    if (!m || this.ended) return;
    this.frames++;
    if (m.type === 'welcome') this.welcome = m.welcome;
    const waiting = m.id === undefined ? undefined : this.waiting.get(m.id);
    if (!waiting || m.id === undefined) {
      this.onmessage(m);
      return;
    }
    this.waiting.delete(m.id);
    clearTimeout(waiting.timer);
    if (m.type === 'error') waiting.reject(new ProtocolError(m.error ?? { code: 'processing_failed' }));
    else waiting.resolve(m);
  }

  private end(code: number): void {
    if (this.ended) return;
    this.ended = true;
    for (const w of this.waiting.values()) {
      clearTimeout(w.timer);
      w.reject(new ProtocolError({ code: 'connection_closed' }));
    }
    this.waiting.clear();
    this.onclose(code);
  }
}
