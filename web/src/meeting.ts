// One visit to one conversation: the glue between API, signaling and call.
//
//   join() → credentials (participants/active, settings) → session
//          → room (redirect followed by Signaling) → call → media
//
// A new session, for whatever reason, runs the same path again on whichever
// node answers. One that was resumed keeps its media or, when their node is
// gone, makes them anew; one that moves has them at both nodes for a while.

import { ApiError, type Api } from './api';
import { Call } from './call';
import { FatalError, type Credentials } from './dial';
import { Emitter } from './emitter';
import { ProtocolError, type SocketFactory } from './link';
import type { Move } from './move';
import type { PeerDeps } from './peer';
import { Signaling } from './protocol';
import { IN_CALL, WITH_AUDIO, WITH_VIDEO } from './wire';

/** Where the guest's token of a conversation is kept. */
export interface GuestStore {
  get(room: string): string;
  set(room: string, token: string): void;
}

export interface MeetingDeps {
  api: Api;
  open: SocketFactory;
  peer(ice: RTCIceServer[]): RTCPeerConnection;
  newStream(): MediaStream;
  random(): number;
  guests: GuestStore;
}

export interface MeetingOptions {
  room: string;
  /** The account's token, "" for a guest. */
  account: string;
  name: string;
  /** ?redirect=0: stay on this node. */
  stay: boolean;
}

export type Phase = 'joining' | 'call' | 'over';

const RETRY_DELAY = 2_000;

export class Meeting extends Emitter<{ change: null; muted: null }> {
  phase: Phase = 'joining';
  /** Why it is over, or what hinders joining: a key of the texts. */
  reason = '';
  title = '';
  readonly call: Call;
  readonly signaling: Signaling;

  private roomSession = '';
  private bearer: string;
  private ice: RTCIceServer[] = [];
  private inRoom = false;
  private entering = 0;
  private retry: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly deps: MeetingDeps,
    private readonly options: MeetingOptions,
  ) {
    super();
    this.bearer = options.account || deps.guests.get(options.room);
    this.signaling = new Signaling(
      { open: deps.open, credentials: (origin) => this.credentials(origin), random: () => deps.random() },
      options.stay,
    );
    this.call = new Call({
      peer: () => deps.peer(this.ice),
      newStream: () => deps.newStream(),
      now: () => Date.now(),
      send: (to, data) => this.signaling.send(to, data),
    });
    this.wire();
  }

  get name(): string {
    return this.options.name;
  }

  get reconnecting(): boolean {
    return this.phase === 'call' && (this.signaling.state !== 'connected' || !this.inRoom || this.call.problem);
  }

  join(): void {
    this.signaling.connect();
  }

  /** Leaves; the requests go out also while the page is closing. */
  leave(closing = false): void {
    if (this.phase === 'over') return;
    const { api } = this.deps;
    const { room } = this.options;
    this.end('');
    if (!this.roomSession) return;
    // Best effort: the node notices by itself that somebody is gone.
    const gone = api.leaveCall(this.bearer, room, this.roomSession, closing);
    void gone.catch(() => {}).then(() => (closing ? undefined : api.leaveRoom(this.bearer, room).catch(() => {})));
  }

  private wire(): void {
    const { signaling, call } = this;
    const changed = () => this.emit('change', null);
    signaling.on('state', ({ state, reason }) => {
      if (state === 'closed' && this.phase !== 'over') this.end(reason || 'lost');
      else this.reason = reason;
      changed();
    });
    signaling.on('nodes', (nodes) => this.deps.api.addNodes(nodes.map((n) => n.url)));
    signaling.on('place', changed);
    signaling.on('session', ({ id, fresh, media, inRoom }) => {
      if (fresh) call.begin(id, this.options.name);
      else if (!media) this.deps.api.prefer(signaling.origin);
      this.inRoom &&= inRoom;
      if (!this.inRoom) void this.enter();
      else if (!media) {
        call.presence.recount();
        call.rebuild();
      }
      changed();
    });
    signaling.on('moving', (move) => void this.move(move));
    signaling.on('joined', (list) => call.presence.joined(list));
    signaling.on('left', (list) => call.presence.left(list));
    signaling.on('users', (list) => call.presence.users(list));
    signaling.on('ended', () => this.end('ended'));
    signaling.on('removed', () => this.end('removed'));
    signaling.on('data', ({ sender, data }) => call.receive(sender, data));
    signaling.on('shed', (shed) => call.shed(shed));
    signaling.on('control', ({ data }) => call.receiveControl(data));
    call.on('change', changed);
    call.on('muted', () => this.emit('muted', null));
    // Media that stop may be the first sign that the node is gone, long before
    // the connection to it notices.
    call.on('broken', () => void signaling.doubt());
  }

  // The media are made at the other node first; then everything goes there.
  private async move(move: Move): Promise<void> {
    const { call, signaling } = this;
    move.ondata = ({ sender, data }) => call.receiveNext(sender, data);
    move.onclose = () => call.abandon();
    move.onhurry = () => call.hurry();
    let there = false;
    const send: PeerDeps['send'] = (to, data) => (there ? signaling.send(to, data) : move.send(to, data));
    if (!(await call.warm(send, move.limit))) signaling.abandon(move);
    else if (await signaling.complete(move)) {
      there = true;
      call.presence.recount();
      call.switchOver();
      this.deps.api.prefer(signaling.origin);
    }
  }

  // Fresh credentials for a full hello: a place in the conversation first,
  // then the ticket for it.
  private async credentials(origin: string): Promise<Credentials> {
    const { api } = this.deps;
    const { room, stay, account } = this.options;
    if (origin) api.prefer(origin);
    try {
      const joined = await this.takeSeat();
      this.roomSession = joined.sessionId ?? '';
      this.title = joined.displayName ?? joined.name ?? '';
      if (joined.guestToken && !account) {
        this.bearer = joined.guestToken;
        this.deps.guests.set(room, joined.guestToken);
      }
      const settings = await api.settings(this.bearer, room, stay);
      this.ice = [...(settings.stunservers ?? []), ...(settings.turnservers ?? [])];
      return {
        socket: settings.server,
        auth: {
          url: `${api.origin}/ocs/v2.php/apps/spreed/api/v3/signaling/backend`,
          params: settings.helloAuthParams['1.0'],
        },
      };
    } catch (err) {
      throw fatal(err, account);
    }
  }

  private async takeSeat() {
    const { api, guests } = this.deps;
    const { room, account, name } = this.options;
    try {
      return await api.joinRoom(this.bearer, room, account ? '' : name);
    } catch (err) {
      // A guest's token may be too old; then one comes as a new guest.
      if (account || !this.bearer || !(err instanceof ApiError) || (err.status !== 401 && err.status !== 404)) throw err;
      this.bearer = '';
      guests.set(room, '');
      return api.joinRoom('', room, name);
    }
  }

  private async enter(): Promise<void> {
    const turn = ++this.entering;
    clearTimeout(this.retry);
    const { room } = this.options;
    this.call.presence.recount();
    try {
      const reply = await this.signaling.join(room, this.roomSession);
      if (turn !== this.entering || this.phase === 'over') return;
      this.call.limit(reply.bandwidth?.maxstreambitrate, reply.bandwidth?.maxscreenbitrate);
      this.call.listen();
      await this.deps.api.joinCall(this.bearer, room, IN_CALL | WITH_AUDIO | WITH_VIDEO, this.roomSession);
      if (turn !== this.entering) return;
      this.inRoom = true;
      this.phase = 'call';
      this.reason = '';
      this.call.enter();
      this.emit('change', null);
    } catch (err) {
      if (turn !== this.entering) return;
      this.failed(err);
    }
  }

  private failed(err: unknown): void {
    const cause = fatal(err, this.options.account);
    if (cause instanceof FatalError) {
      this.end(cause.reason);
      return;
    }
    this.reason = err instanceof ProtocolError ? err.code : 'unreachable';
    this.emit('change', null);
    // Without a connection the next session event calls enter again.
    this.retry = setTimeout(() => {
      if (this.signaling.state === 'connected' && !this.inRoom) void this.enter();
    }, RETRY_DELAY);
  }

  private end(reason: string): void {
    if (this.phase === 'over') return;
    this.phase = 'over';
    this.reason = reason;
    this.entering++;
    clearTimeout(this.retry);
    this.call.leave();
    this.signaling.close();
    this.emit('change', null);
  }
}

// What trying again does not mend.
function fatal(err: unknown, account: string): unknown {
  if (err instanceof ApiError) {
    if (err.status === 401) return new FatalError(account ? 'logged_out' : 'not_found');
    if (err.status === 403 || err.status === 404) return new FatalError('not_found');
    if (err.status === 429) return new FatalError('too_many');
    if (err.status >= 400 && err.status < 500 && err.status !== 408 && err.status !== 409) return new FatalError('refused');
  }
  if (err instanceof ProtocolError && err.code === 'no_such_room') return new FatalError('not_found');
  return err;
}
