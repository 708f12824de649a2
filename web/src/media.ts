// The own devices: camera, microphone, screen. The owner of every local track;
// others are given tracks to send but never stop them.

import { Emitter } from './emitter';
import { loadPrefs, savePrefs } from './prefs';
import { rms, SpeakingDetector } from './speaking';

export type DeviceProblem = '' | 'denied' | 'missing' | 'busy' | 'insecure';

export interface LocalMediaEvents {
  change: null;
  /** Level of the microphone, 0 to 1, some twenty times a second. */
  level: number;
  speaking: boolean;
}

const SAMPLE_INTERVAL = 50;

export class LocalMedia extends Emitter<LocalMediaEvents> {
  micOn: boolean;
  camOn: boolean;
  micID: string;
  camID: string;
  mic: MediaStreamTrack | null = null;
  cam: MediaStreamTrack | null = null;
  screen: MediaStreamTrack | null = null;
  /** The own picture for self view; null without one. */
  preview: MediaStream | null = null;
  micProblem: DeviceProblem = '';
  camProblem: DeviceProblem = '';
  mics: MediaDeviceInfo[] = [];
  cams: MediaDeviceInfo[] = [];

  private context: AudioContext | null = null;
  private source: MediaStreamAudioSourceNode | null = null;
  private meter: ReturnType<typeof setInterval> | undefined;
  private readonly detector = new SpeakingDetector();
  private readonly listDevices = () => void this.refresh();
  private closed = false;

  constructor() {
    super();
    const prefs = loadPrefs();
    this.micOn = prefs.micOn;
    this.camOn = prefs.camOn;
    this.micID = prefs.mic;
    this.camID = prefs.cam;
  }

  /** Opens what was on the last time. */
  async open(): Promise<void> {
    navigator.mediaDevices?.addEventListener('devicechange', this.listDevices);
    if (this.micOn) await this.openMic();
    if (this.camOn) await this.openCam();
    await this.refresh();
  }

  async setMic(on: boolean): Promise<void> {
    this.micOn = on;
    savePrefs({ micOn: on });
    this.emit('change', null);
    // The muted microphone stays open, so that unmuting takes no time.
    if (on && !this.mic) await this.openMic();
    if (!on) this.detector.reset();
    this.emit('change', null);
    await this.refresh();
  }

  async setCam(on: boolean): Promise<void> {
    this.camOn = on;
    savePrefs({ camOn: on });
    if (on) await this.openCam();
    else this.closeCam();
    this.emit('change', null);
    await this.refresh();
  }

  async chooseMic(id: string): Promise<void> {
    this.micID = id;
    savePrefs({ mic: id });
    if (this.micOn) await this.openMic();
    this.emit('change', null);
  }

  async chooseCam(id: string): Promise<void> {
    this.camID = id;
    savePrefs({ cam: id });
    if (this.camOn) await this.openCam();
    this.emit('change', null);
  }

  /** Asks for a screen; false when the person changed their mind. */
  async startScreen(): Promise<boolean> {
    try {
      const stream = await navigator.mediaDevices.getDisplayMedia({
        video: { frameRate: { ideal: 15, max: 30 }, width: { max: 1920 }, height: { max: 1080 } },
        audio: false,
      });
      const track = stream.getVideoTracks()[0];
      if (!track || this.closed) {
        track?.stop();
        return false;
      }
      track.contentHint = 'detail';
      // The browser has a button of its own to stop.
      track.onended = () => this.stopScreen();
      this.screen = track;
      this.emit('change', null);
      return true;
    } catch {
      return false;
    }
  }

  stopScreen(): void {
    if (!this.screen) return;
    this.screen.onended = null;
    this.screen.stop();
    this.screen = null;
    this.emit('change', null);
  }

  /** Browsers start sound only after a click; call this from one. */
  wake(): void {
    if (this.context?.state === 'suspended') void this.context.resume();
  }

  close(): void {
    this.closed = true;
    navigator.mediaDevices?.removeEventListener('devicechange', this.listDevices);
    this.stopScreen();
    this.closeCam();
    this.closeMic();
    void this.context?.close();
    this.context = null;
  }

  private async openMic(): Promise<void> {
    const got = await capture({
      audio: { ...exact(this.micID), echoCancellation: true, noiseSuppression: true, autoGainControl: true },
    });
    this.micProblem = got.problem;
    this.closeMic();
    const track = got.stream?.getAudioTracks()[0] ?? null;
    if (this.closed) {
      track?.stop();
      return;
    }
    this.mic = track;
    if (!track) this.micOn = false;
    else {
      track.onended = () => {
        this.micProblem = 'missing';
        void this.setMic(false);
      };
      this.measure(track);
    }
    this.emit('change', null);
  }

  private async openCam(): Promise<void> {
    const got = await capture({
      video: {
        ...exact(this.camID),
        width: { ideal: 640, max: 1280 },
        height: { ideal: 360, max: 720 },
        frameRate: { ideal: 30, max: 30 },
      },
    });
    this.camProblem = got.problem;
    this.closeCam();
    const track = got.stream?.getVideoTracks()[0] ?? null;
    if (this.closed || !this.camOn) {
      track?.stop();
      return;
    }
    this.cam = track;
    this.preview = got.stream;
    if (!track) this.camOn = false;
    else
      track.onended = () => {
        this.camProblem = 'missing';
        void this.setCam(false);
      };
    this.emit('change', null);
  }

  private closeMic(): void {
    clearInterval(this.meter);
    this.source?.disconnect();
    this.source = null;
    if (this.mic) {
      this.mic.onended = null;
      this.mic.stop();
    }
    this.mic = null;
  }

  private closeCam(): void {
    if (this.cam) {
      this.cam.onended = null;
      this.cam.stop();
    }
    this.cam = null;
    this.preview = null;
  }

  private measure(track: MediaStreamTrack): void {
    this.context ??= new AudioContext();
    this.wake();
    const analyser = this.context.createAnalyser();
    analyser.fftSize = 1024;
    this.source = this.context.createMediaStreamSource(new MediaStream([track]));
    this.source.connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    this.meter = setInterval(() => {
      analyser.getFloatTimeDomainData(samples);
      const level = this.micOn ? rms(samples) : 0;
      // Ears hear in ratios: a root spreads the quiet levels over the meter.
      this.emit('level', Math.min(1, Math.sqrt(level) * 1.6));
      const was = this.detector.speaking;
      const now = this.micOn && this.detector.push(level, Date.now());
      if (now !== was) this.emit('speaking', now);
    }, SAMPLE_INTERVAL);
  }

  private async refresh(): Promise<void> {
    try {
      const all = await navigator.mediaDevices.enumerateDevices();
      this.mics = all.filter((d) => d.kind === 'audioinput' && d.deviceId);
      this.cams = all.filter((d) => d.kind === 'videoinput' && d.deviceId);
    } catch {
      this.mics = this.cams = [];
    }
    this.emit('change', null);
  }
}

// A device that is gone is no reason to have none: ideal, not exact.
function exact(id: string): MediaTrackConstraints {
  return id ? { deviceId: { ideal: id } } : {};
}

async function capture(want: MediaStreamConstraints): Promise<{ stream: MediaStream | null; problem: DeviceProblem }> {
  if (!navigator.mediaDevices) return { stream: null, problem: 'insecure' };
  try {
    return { stream: await navigator.mediaDevices.getUserMedia(want), problem: '' };
  } catch (err) {
    const name = err instanceof DOMException ? err.name : '';
    if (name === 'NotAllowedError' || name === 'SecurityError') return { stream: null, problem: 'denied' };
    if (name === 'NotReadableError' || name === 'AbortError') return { stream: null, problem: 'busy' };
    return { stream: null, problem: 'missing' };
  }
}
