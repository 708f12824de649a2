// What is asked of the node, and what it tells.
const KEY = 'talkd.admin';
let token = '', mayOperate = false, nodeIDs = [];

async function ask(path, options) {
  const response = await fetch(path, {
    cache: 'no-store', credentials: 'omit', redirect: 'error', ...options,
    headers: { Authorization: 'Bearer ' + token, ...(options || {}).headers },
  });
  if (response.status === 401) throw new Error('refused');
  if (!response.ok) throw new Error((await response.json().catch(() => ({}))).error || response.statusText);
  return response;
}

// follow hands on the events of the node until turn is over. They come over
// fetch: EventSource could not send the token in a header.
async function follow(isOver, onFacts, onEvent, onState) {
  let last = '', wait = 500;
  while (!isOver()) {
    const stop = new AbortController();
    // The node says something every 15 s at least.
    let silence = setTimeout(() => stop.abort(), 20000);
    try {
      const response = await ask('/admin/v1/events?facts&since=0', { headers: last ? { 'Last-Event-ID': last } : {}, signal: stop.signal });
      mayOperate = response.headers.get('Talkd-Role') === 'operate';
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      onState(true);
      wait = 500;
      let rest = '';
      for (;;) {
        const { value, done } = await reader.read();
        if (done || isOver()) break;
        clearTimeout(silence);
        silence = setTimeout(() => stop.abort(), 20000);
        const blocks = (rest + value).split('\n\n');
        rest = blocks.pop();
        const events = [];
        for (const block of blocks) {
          const field = {};
          for (const line of block.split('\n')) {
            const colon = line.indexOf(': ');
            if (colon > 0) field[line.slice(0, colon)] = line.slice(colon + 2);
          }
          if (field.id) last = field.id;
          if (!field.data) continue;
          if (field.event === 'cluster') onFacts(JSON.parse(field.data));
          else events.push(JSON.parse(field.data));
        }
        if (events.length) onEvent(events);
      }
    } catch (err) {
      if (err.message === 'refused' && !isOver()) { onState(false, 'refused'); return; }
    } finally {
      clearTimeout(silence);
      stop.abort();
    }
    if (isOver()) return;
    onState(false);
    await new Promise((done) => setTimeout(done, wait));
    wait = Math.min(wait * 2, 8000);
  }
}
