// What happened, what is under way, and what somebody orders.
const KEPT = 2000, SHOWN = 300, events = [], running = new Map(), opParts = new Map();

const isOp = (e) => Boolean(e.op);
const isMove = (e) => e.kind === 'home_assigned' && Boolean(e.from);
const isRoutine = (e) => e.kind === 'home_released' || e.kind === 'home_assigned' && !e.from;
const CHOICES = {
  notable: (e) => !isRoutine(e) && e.phase !== 'progress',
  moves: (e) => isMove(e) || e.kind === 'move',
  nodes: (e) => /^(node|leader|voter|quorum|failover|version|drain)_/.test(e.kind),
  ops: isOp,
  all: () => true,
};

// mark is a sign and its colour; the words say the same.
function mark(e) {
  if (e.phase === 'failed' || /(_dead|_lost)$/.test(e.kind)) return ['✕', 'bad'];
  if (/_suspect$|^failover_started|^lagged/.test(e.kind)) return ['!', 'warn'];
  if (e.phase === 'done' || /(_alive|_ready|_joined|_regained|_elected|_promoted|failover_done)$/.test(e.kind)) return ['✓', 'good'];
  if (isMove(e) || isOp(e)) return ['→', 'info'];
  return ['·', 'soft'];
}

function addEvents(list) {
  for (const e of list) {
    events.push(e);
    if (e.op) {
      if (e.phase === 'done' || e.phase === 'failed') running.delete(e.op);
      else running.set(e.op, { ...e, most: Math.max(1, (running.get(e.op) || {}).most || 0, e.left ? e.left.rooms + e.left.sessions : 0) });
    }
  }
  if (events.length > KEPT) events.splice(0, events.length - KEPT);
  showFeed();
  keyed(at('ops'), opParts, [...running.values()], (e) => e.op, opPart);
  // What just happened is read out; what is history is not.
  const news = list.filter((e) => CHOICES.notable(e) && Date.now() - new Date(e.at) < 10000);
  if (news.length) say(at('announce'), news.slice(-3).map((e) => e.detail).join('. '));
  if (list.some((e) => e.room || e.kind.startsWith('failover') || e.kind === 'drain')) roomsSoon(400);
}

function showFeed() {
  const wanted = CHOICES[at('feed-what').value], list = events.filter(wanted).slice(-SHOWN).reverse();
  at('feed').replaceChildren(...list.map((e) => {
    const [sign, colour] = mark(e);
    return el('li', null, clock(e.at), el('i', { class: 'mark ' + colour, 'aria-hidden': 'true' }, sign),
      el('p', null, (e.op ? e.kind.replace('_', ' ') + (e.phase === 'progress' ? '' : ' ' + e.phase) + ': ' : '') + (e.detail || e.kind.replace('_', ' ')), ' ',
        el('span', { class: 'kind' }, e.epoch ? 'epoch ' + e.epoch : '')));
  }));
  at('no-events').hidden = list.length > 0;
}

function opPart() {
  const text = el('p'), bar = meter('Progress'), li = el('li', null, text, bar.box);
  return {
    nodes: [li],
    update(e) {
      say(text, e.kind.replace('_', ' ') + ': ' + e.detail);
      bar.box.hidden = !e.left;
      if (e.left) {
        const left = e.left.rooms + e.left.sessions;
        bar.set(1 - left / e.most, left + ' left');
        bar.box.className = 'meter';
      }
    },
  };
}

// Orders: each is confirmed, and says what will happen.
let order = null;
function confirmOrder(what) {
  order = what;
  say(at('ask-title'), what.title);
  say(at('ask-text'), what.text);
  say(at('ask-yes'), what.yes);
  at('ask-yes').className = what.danger ? 'danger' : 'primary';
  say(at('ask-refused'), '');
  at('ask-choice').hidden = !what.nodes;
  at('ask-node').replaceChildren(...(what.nodes || []).map((id) => el('option', null, id)));
  at('ask-yes').disabled = false;
  at('ask').showModal();
  at('ask-no').focus();
}
async function sendOrder(event) {
  event.preventDefault();
  at('ask-yes').disabled = true;
  try {
    await ask(order.path, { method: order.method || 'POST', headers: { 'Content-Type': 'application/json' }, body: order.nodes ? JSON.stringify({ node: at('ask-node').value }) : '{}' });
    at('ask').close();
  } catch (err) {
    say(at('ask-refused'), err.message);
  }
  at('ask-yes').disabled = false;
}
function confirmDrain(n) {
  const path = '/admin/v1/nodes/' + encodeURIComponent(n.id);
  if (n.state === 'draining') {
    confirmOrder({ title: 'Take ' + n.id + ' back?', text: n.id + ' takes rooms and people again. What has left it stays where it is.', yes: 'Undrain ' + n.id, path: path + '/undrain' });
    return;
  }
  confirmOrder({
    title: 'Drain ' + n.id + '?', yes: 'Drain ' + n.id, path: path + '/drain',
    text: count(n.load.rooms, 'room') + ' and ' + count(n.load.sessions, 'session') + ' leave ' + n.id + ' for other nodes, and no new ones come. Calls go on. You can take it back.',
  });
}
function confirmRemove(n) {
  confirmOrder({
    title: 'Remove ' + n.id + ' for good?', yes: 'Remove ' + n.id, danger: true, method: 'DELETE', path: '/admin/v1/nodes/' + encodeURIComponent(n.id),
    text: n.id + ' does not belong to the cluster any more and cannot come back with its data directory: a machine in its place joins with a new token. If it only is down, start it again instead.',
  });
}
function confirmMove(r) {
  confirmOrder({
    title: 'Move room ' + r.id + '?', yes: 'Move the room', nodes: nodeIDs.filter((id) => id !== r.home), path: '/admin/v1/rooms/' + encodeURIComponent(r.id) + '/move',
    text: 'Another node becomes its home instead of ' + r.home + '. People who are on ' + r.home + ' follow if their clients can; nobody is interrupted.',
  });
}
