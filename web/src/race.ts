import { Link, ProtocolError, type SocketFactory } from './link';

/** How much earlier than the next a node is tried. */
export const HEAD_START = 150;

/**
 * Opens connections to several nodes, each 150 ms after the one before, or as
 * soon as that has failed, and hands them out one by one in the order in which
 * they are ready. Only one at a time is in hand: a hello is never said to two
 * nodes at once, so that no two of them hold the session.
 */
export class Race {
  private readonly ready: Link[] = [];
  private started = 0;
  private opening = 0;
  private over = false;
  private failure = new ProtocolError({ code: 'unreachable' });
  private timer: ReturnType<typeof setTimeout> | undefined;
  private taker: { resolve: (link: Link) => void; reject: (err: Error) => void } | null = null;

  constructor(
    private readonly factory: SocketFactory,
    private readonly urls: string[],
  ) {}

  /** The next connection; rejects when no node is left. */
  take(): Promise<Link> {
    return new Promise((resolve, reject) => {
      this.taker = { resolve, reject };
      if (this.ready.length === 0) this.start();
      this.serve();
    });
  }

  /** Closes all that were not taken. */
  end(): void {
    this.over = true;
    this.taker = null;
    clearTimeout(this.timer);
    for (const link of this.ready) link.close();
  }

  // Nobody is started while one is in hand: most often it is the right one.
  private start(): void {
    clearTimeout(this.timer);
    const url = this.urls[this.started];
    if (url === undefined || !this.taker) return;
    this.started++;
    this.opening++;
    this.timer = setTimeout(() => this.start(), HEAD_START);
    Link.open(this.factory, url).then(
      (link) => this.opened(link),
      (err: unknown) => this.failed(err),
    );
  }

  private opened(link: Link): void {
    this.opening--;
    if (this.over) {
      link.close();
      return;
    }
    this.ready.push(link);
    link.onclose = () => this.ready.splice(this.ready.indexOf(link), 1);
    this.serve();
  }

  private failed(err: unknown): void {
    this.opening--;
    if (err instanceof ProtocolError) this.failure = err;
    this.start();
    this.serve();
  }

  private serve(): void {
    const taker = this.taker;
    if (!taker) return;
    const link = this.ready.shift();
    if (!link && (this.opening > 0 || this.started < this.urls.length)) return;
    this.taker = null;
    clearTimeout(this.timer);
    if (!link) {
      taker.reject(this.failure);
      return;
    }
    link.onclose = () => {};
    taker.resolve(link);
  }
}
