import type { ClientMessage, HelloReply, PeerData, ServerMessage } from '../src/wire';

const NAMES = ['Ada Okafor', 'Ben Sørensen', 'Cleo Martin', 'Dana Weiß', 'Emre Aydın', 'Fay Wu', 'Gus', 'Hana Sato', 'Ivo Petrov', 'Jo', 'Kim', 'Lea'];
const OWN = 'own-session';

interface MockSocket {
  onopen: (() => void) | null;
  onmessage: ((e: { data: string }) => void) | null;
  onclose: ((e: { code: number }) => void) | null;
  send(data: string): void;
  close(): void;
}

/** A node, its cluster and its other participants, in one page. */
export class MockHub {
  private current: MockSocket | null = null;
  /** Each socket is a node with connections of its own. */
  private nodes = new Map<MockSocket, Map<string, RTCPeerConnection>>();
  private streams = new Map<string, MediaStream>();
  down = false;
  private killed = false;

  constructor(
    private readonly people: number,
    private readonly screen: boolean,
  ) {}

  socket(): MockSocket {
    const s: MockSocket = { onopen: null, onmessage: null, onclose: null, send: (d) => this.receive(s, d), close: () => {} };
    setTimeout(() => {
      if (this.down) {
        s.onclose?.({ code: 1006 });
        return;
      }
      s.onopen?.();
      this.nodes.set(s, new Map());
      this.current ??= s;
      this.say(s, { type: 'welcome', welcome: { features: ['mcu', 'redirect'], nodes: [{ id: 'n2', url: location.origin }, { id: 'n1', url: 'http://127.0.0.1:9' }] } });
    }, 30);
    return s;
  }

  /** Cuts the connection and refuses new ones. */
  cut(): void {
    this.down = true;
    this.current?.onclose?.({ code: 1006 });
  }

  /** The node dies with its media; the next one takes the session up. */
  kill(): void {
    const s = this.current;
    this.current = null;
    this.killed = true;
    if (s) this.end(s);
    s?.onclose?.({ code: 1006 });
  }

  /** Wants the session at another node. */
  move(): void {
    if (this.current) this.say(this.current, { type: 'move', move: { url: `${location.origin}/spreed`, ticket: 'once', reason: 'move', deadline_ms: 8_000 } });
  }

  private end(s: MockSocket): void {
    for (const pc of this.nodes.get(s)?.values() ?? []) pc.close();
    this.nodes.delete(s);
  }

  private say(s: MockSocket, m: ServerMessage): void {
    queueMicrotask(() => s.onmessage?.({ data: JSON.stringify(m) }));
  }

  private sessions(): string[] {
    return NAMES.slice(0, this.people).map((_, i) => `other-${i}`);
  }

  private receive(s: MockSocket, frame: string): void {
    const m = JSON.parse(frame) as ClientMessage & { id?: string };
    const id = m.id ?? '';
    if (m.type === 'hello') {
      const { auth, resumeid } = m.hello as { auth?: { type?: string }; resumeid?: string };
      const hello: HelloReply = { sessionid: OWN, resumeid: 'r', server: { node: `n${this.nodes.size}` } };
      if (auth?.type === 'ticket') hello.moving = true;
      if (resumeid) hello.resumed = this.killed ? { media: false, room: 'k7n2pq9x' } : { media: true };
      this.say(s, { id, type: 'hello', hello });
      if (!hello.moving) this.current = s;
      if (hello.resumed && this.killed) this.lists(s);
      this.killed = false;
    } else if (m.type === 'ping') {
      this.say(s, { id, type: 'pong' });
    } else if (m.type === 'move') {
      const old = this.current;
      this.current = s;
      this.say(s, { id, type: 'move', move: { state: 'done', room: { roomid: 'k7n2pq9x', home: 'n1' } } });
      this.lists(s);
      if (old) this.say(old, { type: 'bye', bye: { reason: 'session_moved' } });
      if (old) setTimeout(() => this.end(old), 3_000);
    } else if (m.type === 'room') {
      this.say(s, { id, type: 'room', room: { roomid: m.room.roomid, home: 'n1' } });
      this.lists(s);
      if (this.screen) setTimeout(() => void this.offer(s, 'other-1', 'screen'), 500);
    } else if (m.type === 'message') {
      void this.media(s, m.message.recipient.sessionid ?? '', m.message.data);
    }
  }

  private lists(s: MockSocket): void {
    const entries = this.sessions().map((sessionid, i) => ({ sessionid, userid: `u${i}`, user: { displayname: NAMES[i] ?? '' } }));
    this.say(s, { type: 'event', event: { target: 'room', type: 'join', join: [{ sessionid: OWN }, ...entries] } });
    const users = this.sessions().map((sessionId) => ({ sessionId, inCall: 7 }));
    this.say(s, { type: 'event', event: { target: 'participants', type: 'update', update: { users } } });
  }

  private async media(s: MockSocket, to: string, data: PeerData): Promise<void> {
    const key = `${to}/${data.roomType}`;
    const connections = this.nodes.get(s);
    if (data.type === 'offer') {
      const pc = new RTCPeerConnection();
      connections?.set(key, pc);
      pc.onicecandidate = (e) => e.candidate && this.candidate(s, to, data, e.candidate);
      await pc.setRemoteDescription({ type: 'offer', sdp: data.payload?.sdp ?? '' });
      const answer = await pc.createAnswer();
      await pc.setLocalDescription(answer);
      this.data(s, to, { type: 'answer', sid: data.sid ?? '', roomType: data.roomType ?? 'video', payload: { type: 'answer', sdp: answer.sdp ?? '' } });
    } else if (data.type === 'requestoffer') {
      await this.offer(s, to, data.roomType ?? 'video');
    } else if (data.type === 'answer') {
      await connections?.get(key)?.setRemoteDescription({ type: 'answer', sdp: data.payload?.sdp ?? '' });
    } else if (data.type === 'candidate' && data.payload?.candidate) {
      await connections?.get(key)?.addIceCandidate(data.payload.candidate);
    }
  }

  private async offer(s: MockSocket, from: string, roomType: 'video' | 'screen'): Promise<void> {
    const i = Number(from.split('-')[1]);
    const pc = new RTCPeerConnection();
    this.nodes.get(s)?.set(`${from}/${roomType}`, pc);
    const key = `${from}/${roomType}`;
    const stream = this.streams.get(key) ?? (roomType === 'screen' ? drawScreen() : drawPerson(i));
    this.streams.set(key, stream);
    for (const track of stream.getTracks()) pc.addTrack(track, stream);
    const status = pc.createDataChannel('1');
    const tell = (type: string) => status.send(JSON.stringify({ type }));
    status.onopen = () => {
      tell(i % 3 === 2 ? 'audioOff' : 'audioOn');
      tell(i % 4 === 3 ? 'videoOff' : 'videoOn');
      if (i === 0) tell('speaking');
    };
    const data: PeerData = { type: '', sid: `${from}-${roomType}`, roomType };
    pc.onicecandidate = (e) => e.candidate && this.candidate(s, from, data, e.candidate);
    const offer = await pc.createOffer();
    await pc.setLocalDescription(offer);
    this.data(s, from, { ...data, type: 'offer', payload: { type: 'offer', sdp: offer.sdp ?? '' } });
  }

  private candidate(s: MockSocket, from: string, about: PeerData, c: RTCIceCandidate): void {
    this.data(s, from, { type: 'candidate', sid: about.sid ?? '', roomType: about.roomType ?? 'video', payload: { candidate: { candidate: c.candidate, sdpMid: c.sdpMid ?? '' } } });
  }

  private data(s: MockSocket, from: string, data: PeerData): void {
    this.say(s, { type: 'message', message: { sender: { type: 'session', sessionid: from }, data: { ...data, from } } });
  }
}

function canvas(width: number, height: number, draw: (c: CanvasRenderingContext2D, t: number) => void): MediaStream {
  const el = document.createElement('canvas');
  el.width = width;
  el.height = height;
  const c = el.getContext('2d');
  let t = 0;
  setInterval(() => c && draw(c, t++), 60);
  return el.captureStream(15);
}

// Somebody in front of a wall, more or less.
function drawPerson(i: number): MediaStream {
  const hue = (i * 73 + 20) % 360;
  const stream = canvas(640, 360, (c, t) => {
    const wall = c.createLinearGradient(0, 0, 640, 360);
    wall.addColorStop(0, `hsl(${hue} 24% 78%)`);
    wall.addColorStop(1, `hsl(${hue + 40} 22% 52%)`);
    c.fillStyle = wall;
    c.fillRect(0, 0, 640, 360);
    const sway = Math.sin(t / 18 + i) * 8;
    c.fillStyle = `hsl(${hue + 180} 30% 34%)`;
    c.beginPath();
    c.ellipse(320 + sway, 390, 150, 150, 0, 0, 7);
    c.fill();
    c.fillStyle = `hsl(${22 + i * 4} 42% ${44 + ((i * 17) % 30)}%)`;
    c.beginPath();
    c.ellipse(320 + sway, 170, 62, 78, 0, 0, 7);
    c.fill();
    c.fillStyle = `hsl(${20 + i * 9} 35% ${14 + i * 5}%)`;
    c.beginPath();
    c.ellipse(320 + sway, 122, 68, 44, 0, 0, 7);
    c.fill();
  });
  stream.addTrack(hum(180 + 40 * i));
  return stream;
}

function hum(frequency: number): MediaStreamTrack {
  const context = new AudioContext();
  const out = context.createMediaStreamDestination();
  const source = new OscillatorNode(context, { frequency });
  source.connect(new GainNode(context, { gain: 0.05 })).connect(out);
  source.start();
  const [track] = out.stream.getAudioTracks();
  if (!track) throw new Error('no sound');
  return track;
}

function drawScreen(): MediaStream {
  return canvas(1280, 720, (c, t) => {
    c.fillStyle = '#fff';
    c.fillRect(0, 0, 1280, 720);
    c.fillStyle = '#17685c';
    c.fillRect(0, 0, 1280, 90);
    c.fillStyle = '#fff';
    c.font = '600 40px system-ui';
    c.fillText('Rollout plan, second quarter', 48, 60);
    for (let i = 0; i < 9; i++) {
      c.fillStyle = ['#1f7a6d', '#7fb8ae', '#d7e9e6'][i % 3] ?? '#000';
      const h = 90 + ((i * 97) % 320) + Math.sin(t / 20 + i) * 6;
      c.fillRect(90 + i * 125, 640 - h, 80, h);
    }
  });
}
