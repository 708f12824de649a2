// Opening and leaving the page.
let run = 0;
function start(candidate) {
  token = candidate;
  sessionStorage.setItem(KEY, token);
  events.length = 0;
  running.clear();
  const turn = ++run, isOver = () => turn !== run;
  say(at('refused'), '');
  void follow(isOver, (c) => {
    at('login').hidden = true;
    const first = at('board').hidden;
    at('board').hidden = false;
    showCluster(c);
    if (first) firstPage();
  }, addEvents, (live, why) => {
    if (isOver()) return;
    if (why === 'refused') { forget('This node refuses the token.'); return; }
    if (!live && at('board').hidden) {
      at('login').hidden = false;
      say(at('refused'), 'The node does not answer; asking again.');
    }
    at('live').className = 'pill ' + (live ? 'good' : 'bad');
    say(at('live'), live ? 'live' : 'no answer, what you see is old');
  });
}
function forget(why) {
  run++;
  roomsAsked++;
  clearTimeout(roomsTimer);
  token = '';
  sessionStorage.removeItem(KEY);
  at('board').hidden = true;
  at('login').hidden = false;
  say(at('refused'), why);
  at('token').value = '';
  at('token').focus();
}
function fromFragment() {
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  // The token must not stay in the history.
  if (given) history.replaceState(null, '', location.pathname);
  return given;
}

at('login').addEventListener('submit', (e) => { e.preventDefault(); start(at('token').value.trim()); });
at('forget').addEventListener('click', () => forget(''));
at('nodes-filter').addEventListener('input', showNodes);
let typed = 0;
at('rooms-search').addEventListener('input', () => { clearTimeout(typed); typed = setTimeout(firstPage, 250); });
at('rooms-home').addEventListener('change', firstPage);
at('rooms-sort').addEventListener('change', firstPage);
at('rooms-first').addEventListener('click', firstPage);
at('rooms-back').addEventListener('click', () => { if (pages.length > 1) pages.pop(); void loadRooms(); });
at('rooms-next').addEventListener('click', () => { if (nextPage) { pages.push(nextPage); void loadRooms(); } });
at('feed-what').addEventListener('change', showFeed);
at('ask-no').addEventListener('click', () => at('ask').close());
at('ask').querySelector('form').addEventListener('submit', (e) => void sendOrder(e));
window.addEventListener('hashchange', () => { const given = fromFragment(); if (given) start(given); });
const known = fromFragment() || sessionStorage.getItem(KEY);
if (known) start(known); else forget('');
