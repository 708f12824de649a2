// The client against a server that lives in the same page: the API answers
// from memory, and "others" send pictures drawn here over real connections.
// For looking at screens without a cluster: npm run dev, then
//   /dev/mock.html?as=login|home|empty|guest|member&people=4&screen=1
// It is no part of the build.

import { MockHub } from './hub';

const query = new URLSearchParams(location.search);
const as = query.get('as') ?? 'member';
const hub = new MockHub(Number(query.get('people') ?? 4), query.get('screen') === '1');

const rooms = [
  { token: 'k7n2pq9x', displayName: 'Weekly planning', hasCall: true, lastActivity: 9 },
  { token: 'b4mz81tw', displayName: 'Customer workshop Hamburg', lastActivity: 8 },
  { token: 'r5c0ydle', displayName: 'Support rota', lastActivity: 7 },
  { token: 'w9x3aahf', displayName: 'Über die neue Niederlassung und was sonst noch anliegt, mit sehr langem Namen', lastActivity: 6 },
];

function answer(status: number, data: unknown): Response {
  return new Response(JSON.stringify({ ocs: { meta: { message: '' }, data } }), { status });
}

window.fetch = async (input, init) => {
  const url = new URL(String(input));
  const path = `${init?.method ?? 'GET'} ${url.pathname}`;
  if (path.endsWith('/session')) {
    const body = JSON.parse(String(init?.body)) as { password: string };
    return body.password === 'wrong' ? answer(401, []) : answer(200, { token: 't', userId: 'mara', displayName: 'Mara Lindqvist' });
  }
  if (path.endsWith('GET /ocs/v2.php/apps/spreed/api/v4/room')) return answer(200, as === 'empty' ? [] : rooms);
  if (path.endsWith('/participants/active')) return answer(200, { ...rooms[0], sessionId: 'talk-1', guestToken: 'g' });
  if (path.includes('/signaling/settings')) {
    return answer(200, { server: location.origin, helloAuthParams: { '1.0': { userid: 'mara', ticket: 'x' } }, stunservers: [], turnservers: [] });
  }
  if (/\/v4\/room\/\w+$/.test(url.pathname)) return answer(200, rooms[0]);
  return answer(200, []);
};

const RealSocket = window.WebSocket;
window.WebSocket = new Proxy(RealSocket, {
  construct: (target, args: [string]) => (args[0].includes('/spreed') ? (hub.socket() as object) : new target(...args)),
});
Object.assign(window, { hub });

if (as === 'login' || as === 'guest') localStorage.removeItem('talkd.account');
else localStorage.setItem('talkd.account', JSON.stringify({ token: 't', userId: 'mara', displayName: 'Mara Lindqvist' }));
const path = as === 'guest' || as === 'member' ? '/call/k7n2pq9x' : '/';
history.replaceState(null, '', path);
await import('../src/main');
