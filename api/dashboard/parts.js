// Small parts: elements, figures for people, meters and sparklines.
const at = (id) => document.getElementById(id);

// el makes an element; what is in it is always text, never markup.
function el(tag, props, ...content) {
  const e = document.createElement(tag);
  for (const [key, value] of Object.entries(props || {})) {
    if (key === 'class') e.className = value;
    else if (key in e) e[key] = value;
    else e.setAttribute(key, value);
  }
  e.append(...content);
  return e;
}

// keyed keeps one part per key in a parent, in the order of the list, so that
// what somebody has the focus on is not replaced under their hands.
function keyed(parent, parts, list, key, make) {
  const wanted = new Set();
  let before = parent.firstChild;
  for (const item of list) {
    const k = key(item);
    wanted.add(k);
    let part = parts.get(k);
    if (!part) parts.set(k, part = make(item));
    part.update(item);
    for (const node of part.nodes) {
      if (node === before) before = before.nextSibling;
      else parent.insertBefore(node, before);
    }
  }
  for (const [k, part] of parts) {
    if (wanted.has(k)) continue;
    for (const node of part.nodes) node.remove();
    parts.delete(k);
  }
}

function say(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

function bits(n) {
  for (const unit of ['bit/s', 'kbit/s', 'Mbit/s']) {
    if (n < 999.5) return Number(n.toPrecision(3)) + ' ' + unit;
    n /= 1000;
  }
  return Number(n.toPrecision(3)) + ' Gbit/s';
}
const number = (n) => n.toLocaleString('en');
const count = (n, thing) => number(n) + ' ' + thing + (n === 1 ? '' : 's');
function lasting(seconds) {
  const h = Math.floor(seconds / 3600);
  if (h >= 48) return Math.floor(h / 24) + ' d';
  if (h > 0) return h + ' h ' + Math.floor(seconds / 60) % 60 + ' min';
  return seconds >= 60 ? Math.floor(seconds / 60) + ' min' : Math.round(seconds) + ' s';
}
function clock(text) {
  const t = new Date(text), old = Date.now() - t > 20 * 3600 * 1000;
  return el('time', { dateTime: text, title: t.toLocaleString() }, old ? t.toLocaleDateString() : t.toLocaleTimeString());
}

// meter is a share that is looked at, and read out.
function meter(label) {
  const fill = el('i'), box = el('span', { class: 'meter', role: 'meter', 'aria-label': label, 'aria-valuemin': '0', 'aria-valuemax': '100' }, fill);
  return {
    box,
    set(share, text) {
      const percent = Math.round(Math.min(1, Math.max(0, share)) * 100);
      fill.style.width = percent + '%';
      box.className = 'meter' + (share >= .9 ? ' bad' : share >= .75 ? ' warn' : '');
      box.setAttribute('aria-valuenow', percent);
      box.setAttribute('aria-valuetext', text);
    },
  };
}

// spark is the course of a figure over the last two minutes.
const SPARK_POINTS = 60;
function spark() {
  const svg = at('spark').content.firstElementChild.cloneNode(true), line = svg.querySelector('polyline'), area = svg.querySelector('path');
  const values = [];
  return {
    svg,
    values,
    add(value, least) {
      values.push(value);
      if (values.length > SPARK_POINTS) values.shift();
      const top = Math.max(least, ...values), step = 100 / (SPARK_POINTS - 1), from = 100 - step * (values.length - 1);
      const points = values.map((v, i) => (from + i * step).toFixed(1) + ',' + (23 - 21 * v / top).toFixed(1));
      line.setAttribute('points', points.join(' '));
      area.setAttribute('d', 'M' + from.toFixed(1) + ',24 L' + points.join(' ') + ' L100,24 Z');
    },
  };
}
