// The cluster at a glance, its nodes, and what is wrong.
const NODES_SHOWN = 100, DENSE_FROM = 25, nodeParts = new Map();
let clusterNow = null;

const STATES = { alive: 'good', suspect: 'warn', draining: 'info', dead: 'bad' };

function figure(title) {
  const value = el('p', { class: 'value' }), note = el('p', { class: 'note' });
  const box = el('div', { class: 'figure' }, el('h3', null, title), value, note);
  at('figures').append(box);
  return { box, value, note };
}
let figures = null;
function makeFigures() {
  if (figures) return figures;
  figures = { voters: figure('Voters'), rooms: figure('Rooms'), people: figure('Sessions'), room: figure('Headroom'), out: figure('Sent'), version: figure('Version') };
  figures.dots = el('div', { class: 'dots', 'aria-hidden': 'true' });
  figures.voters.value.after(figures.dots);
  figures.meter = meter('Streams in use');
  figures.room.value.after(figures.meter.box);
  figures.spark = spark();
  figures.out.note.replaceWith(figures.spark.svg);
  return figures;
}

function showCluster(c) {
  clusterNow = c;
  nodeIDs = c.nodes.filter((n) => n.state === 'alive').map((n) => n.id);
  say(at('cluster-id'), c.cluster_id);
  const worst = c.warnings.some((w) => w.level === 'error') ? 'error' : c.warnings.some((w) => w.level === 'warning') ? 'warning' : '';
  at('verdict').className = 'pill ' + ({ error: 'bad', warning: 'warn' }[worst] || 'good');
  say(at('verdict'), { error: 'In trouble', warning: 'Needs a look' }[worst] || 'Healthy');
  at('role').hidden = false;
  say(at('role'), mayOperate ? 'may operate' : 'may look');
  at('warnings').replaceChildren(...c.warnings.map((w) => el('li', { class: w.level },
    el('strong', null, { error: 'Trouble', warning: 'Warning', info: 'Under way' }[w.level]), el('span', null, w.text),
    ...(w.do ? [el('span', { class: 'do' }, w.do)] : []))));

  const f = makeFigures(), voters = c.nodes.filter((n) => n.raft === 'voter');
  f.voters.value.replaceChildren(c.voters_alive + ' ', el('small', null, 'of ' + c.voters + ' alive'));
  f.dots.replaceChildren(...voters.map((n) => el('span', { class: 'dot ' + n.state + (n.id === c.leader ? ' leader' : ''), title: n.id + ', ' + n.state })));
  say(f.voters.note, !c.quorum ? 'no quorum' : (c.leader ? c.leader + ' leads; ' : 'no leader; ') +
    (c.failure_tolerance === 0 ? 'none more may fail' : c.failure_tolerance === 1 ? 'one more may fail' : c.failure_tolerance + ' more may fail'));
  say(f.rooms.value, number(c.rooms));
  say(f.rooms.note, 'term ' + c.term + ', index ' + number(c.applied_index) + (c.commit_index > c.applied_index ? ' of ' + number(c.commit_index) : ''));
  say(f.people.value, number(c.sessions));
  const sum = (what) => c.nodes.reduce((n, x) => n + x.load[what], 0), streams = sum('subscribers');
  say(f.people.note, count(sum('publishers'), 'publisher') + ', ' + count(streams, 'subscriber'));
  say(f.room.value, number(c.headroom));
  const used = streams + c.headroom > 0 ? streams / (streams + c.headroom) : 0;
  f.meter.set(used, Math.round(used * 100) + ' percent in use');
  say(f.room.note, 'more streams; ' + Math.round(used * 100) + ' % in use');
  const out = sum('egress_bps');
  say(f.out.value, bits(out));
  f.spark.add(out, 1000);
  const versions = [...new Set(c.nodes.filter((n) => n.state !== 'dead').map((n) => n.version))];
  say(f.version.value, versions.length === 1 ? versions[0] : 'mixed');
  f.version.value.title = versions.join(', ');
  say(f.version.note, versions.length === 1 ? 'on all nodes' : versions.join(', '));
  showNodes();
  showHomes(c.nodes);
}

function showNodes() {
  const c = clusterNow, filter = at('nodes-filter').value.trim().toLowerCase();
  at('nodes-filter').hidden = c.nodes.length <= 12 && !filter;
  const rank = { dead: 0, suspect: 1, draining: 2, alive: 3 };
  let list = c.nodes.filter((n) => !filter || [n.id, n.region, n.state, n.raft, n.version].some((t) => t.toLowerCase().includes(filter)));
  // Of many nodes those that want a look come first.
  if (list.length > NODES_SHOWN) list = list.slice().sort((a, b) => rank[a.state] - rank[b.state]);
  const shown = list.slice(0, NODES_SHOWN);
  say(at('nodes-more'), c.nodes_total > shown.length ? shown.length + ' of ' + number(c.nodes_total) + ' shown' : '');
  at('nodes').className = shown.length >= DENSE_FROM ? 'dense' : '';
  keyed(at('nodes'), nodeParts, shown, (n) => n.id, nodeCard);
}

function nodeCard(first) {
  const state = el('p', { class: 'pill' }), part = el('p', { class: 'pill soft' }), where = el('p', { class: 'where' });
  const link = el('a', { rel: 'noreferrer' });
  const cpu = meter('CPU of ' + first.id), out = meter('Bandwidth of ' + first.id), people = meter('Sessions of ' + first.id), streams = meter('Streams of ' + first.id);
  const texts = [el('span'), el('span'), el('span'), el('span')];
  const cpuLine = spark(), outLine = spark(), counts = el('p', { class: 'counts' });
  const drain = el('button', { type: 'button' }), remove = el('button', { type: 'button' }, 'Remove…'), buttons = el('div', { class: 'buttons' }, drain, remove);
  const card = el('li', { class: 'node' },
    el('div', { class: 'top' }, el('h3', null, first.id), state, part), where,
    el('div', { class: 'meters' },
      el('span', null, 'CPU'), cpu.box, texts[0], el('span', null, 'Sent'), out.box, texts[1],
      el('span', null, 'Sessions'), people.box, texts[2], el('span', null, 'Streams'), streams.box, texts[3]),
    counts,
    el('div', { class: 'sparks' },
      el('figure', null, el('figcaption', null, 'CPU, 2 min'), cpuLine.svg), el('figure', null, el('figcaption', null, 'Sent, 2 min'), outLine.svg)),
    buttons);
  let now = first, seen = null;
  drain.addEventListener('click', () => confirmDrain(now));
  remove.addEventListener('click', () => confirmRemove(now));
  return {
    nodes: [card],
    update(n) {
      now = n;
      const l = n.load, c = n.capacity;
      card.className = 'node ' + n.state;
      state.className = 'pill ' + STATES[n.state];
      say(state, n.state);
      say(part, n.id === clusterNow.leader ? 'leader' : n.raft);
      link.textContent = n.url;
      if (/^https?:\/\//.test(n.url)) link.href = n.url;
      const facts = [n.region, n.version, n.state === 'dead' ? '' : 'up ' + lasting(n.uptime_s)].filter(Boolean).join(' · ');
      where.replaceChildren(facts, link);
      cpu.set(l.cpu, Math.round(l.cpu * 100) + ' percent');
      say(texts[0], Math.round(l.cpu * 100) + ' %');
      const width = c.egress_bps || 1e9;
      out.set(l.egress_bps / width, bits(l.egress_bps));
      say(texts[1], bits(l.egress_bps) + (c.egress_bps ? ' of ' + bits(c.egress_bps) : ''));
      people.set(c.sessions ? l.sessions / c.sessions : 0, number(l.sessions));
      say(texts[2], number(l.sessions) + (c.sessions ? ' of ' + number(c.sessions) : ''));
      streams.set(l.subscribers + l.headroom > 0 ? l.subscribers / (l.subscribers + l.headroom) : 0, number(l.subscribers));
      say(texts[3], number(l.subscribers) + (l.headroom ? ', ' + number(l.headroom) + ' more' : ''));
      counts.replaceChildren(...[['rooms', l.rooms], ['publishers', l.publishers], ['in', bits(l.ingress_bps)]].map(([name, value]) =>
        el('span', null, el('b', null, typeof value === 'number' ? number(value) : value), ' ' + name)));
      if (seen !== clusterNow) { // not when only the filter changed
        seen = clusterNow;
        cpuLine.add(l.cpu, 1);
        outLine.add(l.egress_bps, 1000);
      }
      buttons.hidden = !mayOperate;
      drain.hidden = n.state === 'dead';
      say(drain, n.state === 'draining' ? 'Undrain…' : 'Drain…');
      drain.setAttribute('aria-label', (n.state === 'draining' ? 'Undrain ' : 'Drain ') + n.id);
      remove.hidden = n.state !== 'dead';
      remove.setAttribute('aria-label', 'Remove ' + n.id);
    },
  };
}
