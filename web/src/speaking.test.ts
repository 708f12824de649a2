import { expect, test } from 'vitest';
import { rms, SpeakingDetector } from './speaking';

test('one click is no speech, two loud samples are, and a pause between words does not end it', () => {
  const d = new SpeakingDetector();
  expect(d.push(0.2, 0)).toBe(false);
  expect(d.push(0.001, 50)).toBe(false);
  expect(d.push(0.2, 100)).toBe(false);
  expect(d.push(0.2, 150)).toBe(true);
  expect(d.push(0.001, 500)).toBe(true);
  expect(d.push(0.001, 849)).toBe(true);
  expect(d.push(0.001, 850)).toBe(false);
});

test('root mean square', () => {
  expect(rms(new Float32Array([0.5, -0.5]))).toBeCloseTo(0.5);
  expect(rms(new Float32Array())).toBe(0);
});
