import { expect, test } from 'vitest';
import { Api, ApiError } from './api';

type Answer = (url: string, init: RequestInit) => Response;

const ocs = (status: number, data: unknown, message = '') => new Response(JSON.stringify({ ocs: { meta: { message }, data } }), { status });

function api(answers: Record<string, Answer>): { api: Api; asked: string[] } {
  const asked: string[] = [];
  const fetcher = (input: RequestInfo | URL, init?: RequestInit) => {
    const url = new URL(String(input));
    asked.push(`${init?.method} ${url.origin}${url.pathname}${url.search}`);
    const answer = answers[url.origin];
    return answer ? Promise.resolve(answer(url.href, init ?? {})) : Promise.reject(new TypeError('failed to fetch'));
  };
  return { api: new Api('http://n1', fetcher), asked };
}

test('every request carries what the API asks for, and no cookies', async () => {
  let seen: RequestInit = {};
  const a = api({
    'http://n1': (_, init) => {
      seen = init;
      return ocs(200, { sessionId: 's' });
    },
  });
  await a.api.joinRoom('secret', 'ab/c', 'Ada');
  expect(a.asked).toEqual(['POST http://n1/ocs/v2.php/apps/spreed/api/v4/room/ab%2Fc/participants/active']);
  expect(seen.headers).toEqual({
    Accept: 'application/json',
    'OCS-APIRequest': 'true',
    Authorization: 'Bearer secret',
    'Content-Type': 'application/json',
  });
  expect(seen.credentials).toBe('omit');
  expect(seen.body).toBe('{"displayName":"Ada"}');
});

test('a refusal is told with status, code and text', async () => {
  const a = api({ 'http://n1': () => ocs(404, { error: 'room' }, 'no such room') });
  await expect(a.api.room('', 'x')).rejects.toMatchObject({ status: 404, code: 'room', message: 'no such room' });
  const html = api({ 'http://n1': () => new Response('<h1>Bad gateway</h1>', { status: 500 }) });
  await expect(html.api.room('', 'x')).rejects.toMatchObject({ status: 500 });
  const garbage = api({ 'http://n1': () => new Response('ok', { status: 200 }) });
  await expect(garbage.api.room('', 'x')).rejects.toBeInstanceOf(ApiError);
});

test('when the node is dead the next one is asked, and stays the first', async () => {
  const a = api({ 'http://n3': () => ocs(200, []) });
  a.api.addNodes(['http://n1', 'ws://n2/spreed', 'http://n3/']);
  await a.api.listRooms('t');
  expect(a.asked.map((s) => new URL(s.split(' ')[1] ?? '').origin)).toEqual(['http://n1', 'http://n2', 'http://n3']);
  await a.api.listRooms('t');
  expect(a.asked.at(-1)).toContain('http://n3/');
  expect(a.api.origin).toBe('http://n3');
});

test('a conversation is not created twice because an answer got lost', async () => {
  const a = api({ 'http://n2': () => ocs(201, {}) });
  a.api.addNodes(['http://n2']);
  await expect(a.api.createRoom('t', 'Team')).rejects.toMatchObject({ status: 0 });
  expect(a.asked).toHaveLength(1);
});

test('settings keep redirect=0', async () => {
  const a = api({ 'http://n1': () => ocs(200, {}) });
  await a.api.settings('t', 'abc', true);
  await a.api.settings('t', 'abc', false);
  expect(a.asked).toEqual([
    'GET http://n1/ocs/v2.php/apps/spreed/api/v3/signaling/settings?token=abc&redirect=0',
    'GET http://n1/ocs/v2.php/apps/spreed/api/v3/signaling/settings?token=abc',
  ]);
});

test('nobody is reachable', async () => {
  const a = api({});
  await expect(a.api.listRooms('t')).rejects.toMatchObject({ status: 0 });
});
