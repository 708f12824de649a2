const THRESHOLD = 0.015; // RMS of full scale, about -36 dBFS: above breathing, below talking
const ATTACK = 2; // loud samples in a row
const RELEASE = 700; // ms of quiet

/** Decides from levels, given some twenty times a second, whether somebody speaks. */
export class SpeakingDetector {
  speaking = false;
  private loud = 0;
  private lastLoud = 0;

  push(level: number, now: number): boolean {
    if (level >= THRESHOLD) {
      this.loud++;
      this.lastLoud = now;
      if (this.loud >= ATTACK) this.speaking = true;
    } else {
      this.loud = 0;
      if (now - this.lastLoud >= RELEASE) this.speaking = false;
    }
    return this.speaking;
  }

  reset(): void {
    this.speaking = false;
    this.loud = 0;
  }
}

/** Root mean square of samples between -1 and 1. */
export function rms(samples: Float32Array): number {
  let sum = 0;
  for (const s of samples) sum += s * s;
  return samples.length > 0 ? Math.sqrt(sum / samples.length) : 0;
}
