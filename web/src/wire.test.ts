import { expect, test } from 'vitest';
import { apiOrigin, decode, nodesOf, socketURL } from './wire';

test('URLs of nodes', () => {
  expect(socketURL('https://n1.example/', false)).toBe('wss://n1.example/spreed');
  expect(socketURL('https://n1.example/standalone-signaling', true)).toBe('wss://n1.example/standalone-signaling/spreed?redirect=0');
  expect(socketURL('wss://n1.example/spreed', false)).toBe('wss://n1.example/spreed');
  expect(apiOrigin('wss://n1.example:8443/spreed')).toBe('https://n1.example:8443');
  expect(apiOrigin('javascript:alert(1)')).toBe('');
  expect(apiOrigin('nonsense')).toBe('');
  expect(nodesOf({ nodes: [{ id: 'a', url: 'x' }, { url: 'http://b' }, { id: 'c', url: 'http://c/' }] })).toEqual([{ id: 'c', url: 'http://c' }]);
  expect(decode('{"type":1}')).toBeNull();
  expect(decode(null)).toBeNull();
});
