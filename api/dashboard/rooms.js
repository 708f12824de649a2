// The rooms, a page at a time: there may be hundreds of thousands.
const PAGE = 25, roomParts = new Map(), openRooms = new Set();
let pages = [''], roomsTimer = 0, roomsAsked = 0;

const WHY = { new: 'placed when it began', anew: 'the home before was silent', move: 'an operator moved it', drain: 'the home before drains' };

function showHomes(nodes) {
  const select = at('rooms-home'), ids = nodes.map((n) => n.id), have = [...select.options].slice(1).map((o) => o.value);
  if (ids.join() === have.join()) return;
  const chosen = select.value;
  select.replaceChildren(el('option', { value: '' }, 'any home'), ...ids.map((id) => el('option', { value: id }, 'home ' + id)));
  if (ids.includes(chosen)) select.value = chosen;
}

// soon asks for the rooms again in a moment, once for many events.
function roomsSoon(delay) {
  clearTimeout(roomsTimer);
  roomsTimer = setTimeout(() => { if (document.hidden) roomsSoon(2000); else void loadRooms(); }, delay);
}

async function loadRooms() {
  const turn = ++roomsAsked, q = new URLSearchParams({ limit: PAGE, sort: at('rooms-sort').value });
  if (at('rooms-search').value.trim()) q.set('q', at('rooms-search').value.trim());
  if (at('rooms-home').value) q.set('home', at('rooms-home').value);
  if (pages[pages.length - 1]) q.set('after', pages[pages.length - 1]);
  try {
    const page = await (await ask('/admin/v1/rooms?' + q)).json();
    if (turn === roomsAsked) showRooms(page, q.has('q') || q.has('home'));
  } catch { /* the stream of events tells that the node is gone */ }
  if (turn === roomsAsked) roomsSoon(4000);
}

let nextPage = '';
function showRooms(page, filtered) {
  nextPage = page.next || '';
  keyed(at('rooms'), roomParts, page.rooms, (r) => r.id, roomRows);
  at('rooms-table').hidden = page.rooms.length === 0;
  at('no-rooms').hidden = page.rooms.length > 0;
  say(at('no-rooms'), filtered ? 'No such room.' : 'Nobody is in a room.');
  const from = (pages.length - 1) * PAGE;
  say(at('rooms-page'), page.rooms.length ? number(from + 1) + '–' + number(from + page.rooms.length) + ' of ' + number(page.total) : '');
  at('rooms-first').disabled = at('rooms-back').disabled = pages.length === 1;
  at('rooms-next').disabled = !nextPage;
  at('rooms-next').parentElement.hidden = pages.length === 1 && !nextPage;
}

function roomRows(first) {
  const open = el('button', { type: 'button', class: 'open', 'aria-expanded': 'false' }, first.id), cells = {};
  const row = el('tr', null, el('td', null, open));
  for (const [name, label, numeric] of [['home', 'home'], ['why', ''], ['since', 'since'], ['people', 'people', true], ['where', 'on'], ['relayed', 'relayed', true]]) {
    cells[name] = el('td', { 'data-label': label, class: name + (numeric ? ' n' : '') });
    row.append(cells[name]);
  }
  const detail = el('td', { colSpan: 7, class: 'detail' }), more = el('tr', { hidden: true }, detail);
  let now = first;
  const fill = () => detail.replaceChildren(...roomDetail(now));
  const toggle = (on) => {
    open.setAttribute('aria-expanded', on);
    more.hidden = !on;
    if (on) { openRooms.add(now.id); fill(); } else openRooms.delete(now.id);
  };
  open.addEventListener('click', () => toggle(more.hidden));
  if (openRooms.has(first.id)) toggle(true);
  return {
    nodes: [row, more],
    update(r) {
      now = r;
      say(cells.home, r.home);
      say(cells.why, WHY[r.reason] || WHY.new);
      if (!cells.since.firstChild) cells.since.append(clock(r.created));
      say(cells.people, number(r.edges.reduce((n, e) => n + e.sessions, 0)));
      cells.where.replaceChildren(...(r.edges.length ? r.edges.map((e) =>
        el('span', { class: 'chip' + (e.node === r.home ? ' home' : ''), title: e.node === r.home ? 'home' : 'edge' }, e.node + ' · ' + e.sessions)) : ['–']));
      const tracks = r.relays.reduce((n, l) => n + l.tracks, 0);
      cells.relayed.className = 'n relayed' + (tracks ? '' : ' none');
      say(cells.relayed, tracks ? count(tracks, 'track') : '–');
      // Not while somebody works in it.
      if (!more.hidden && !more.contains(document.activeElement)) fill();
    },
  };
}

function roomDetail(r) {
  const lines = (head, rows) => el('table', null, el('thead', null, el('tr', null, ...head.map((h) => el('th', { scope: 'col' }, h)))),
    el('tbody', null, ...rows.map((cells) => el('tr', null, ...cells.map((c) => el('td', null, c))))));
  const parts = [el('div', { class: 'two' },
    el('div', null, el('h4', null, 'Edges'), r.edges.length
      ? lines(['node', 'sessions', 'publishers', 'subscribers'], r.edges.map((e) => [e.node, e.sessions, e.publishers, e.subscribers]))
      : el('p', { class: 'soft' }, 'Nobody is in it right now.')),
    el('div', null, el('h4', null, 'Relays between nodes'), r.relays.length
      ? lines(['way', 'tracks', 'rate', 'lost'], r.relays.map((l) => [l.from + ' → ' + l.to, l.tracks, bits(l.bps), number(l.lost)]))
      : el('p', { class: 'soft' }, 'Nothing is relayed.')),
    el('div', null, el('h4', null, 'Placement'), el('p', null, 'epoch ' + number(r.epoch)), el('p', { class: 'soft' }, WHY[r.reason] || WHY.new)))];
  if (mayOperate) {
    const move = el('button', { type: 'button', 'aria-label': 'Move room ' + r.id }, 'Move to another node…');
    move.disabled = !nodeIDs.some((id) => id !== r.home);
    move.addEventListener('click', () => confirmMove(r));
    parts.push(move);
  }
  return parts;
}

function firstPage() {
  pages = [''];
  void loadRooms();
}
