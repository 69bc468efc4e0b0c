// The table of agents' interfaces: sorted, filtered, and drawn only where it is seen and has changed.

import { losses } from './api.js';
import { el, put, say, show } from './dom.js';
import { age, bits, count, latency, moment, packets, plural } from './format.js';

/** States, from the one that somebody should look at. */
export const STATES = ['gone', 'waiting', 'stopped', 'capturing'];
/** Rows stay where they are for so long after the pointer has moved over them, in milliseconds. */
const STILL = 3000;

/** A column: its key and title, what rows are sorted by, and how a cell shows it. */
const COLUMNS = [
  ['state', 'State', (a) => STATES.indexOf(a.state), (cell, a) => paintState(cell, a.state)],
  ['agent', 'Agent', (a) => `${a.agent} ${a.interface}`, paintAgent],
  ['packets', 'Packets/s', (a) => a.rates['packets-per-second'],
    (cell, a) => number(cell, packets(a.rates['packets-per-second']))],
  ['bits', 'Bits/s', (a) => a.rates['bits-per-second'],
    (cell, a) => number(cell, bits(a.rates['bits-per-second']))],
  ['delivered', 'Delivered', (a) => a.delivered, (cell, a) => number(cell, count(a.delivered))],
  ['kernel', 'Kernel loss', (a) => losses(a).kernel,
    (cell, a) => loss(cell, losses(a).kernel, a.rates['dropped-per-second'])],
  ['network', 'Network loss', (a) => losses(a).network,
    (cell, a) => loss(cell, losses(a).network, a.rates['lost-per-second'])],
  ['output', 'Output loss', (a) => losses(a).output,
    (cell, a) => loss(cell, losses(a).output, a.rates['not-written-per-second'])],
  ['latency', 'Latency', (a) => a['latency-ms'] ?? -Infinity,
    (cell, a) => number(cell, latency(a['latency-ms']))],
  ['since', 'Since', (a) => -a.since, (cell, a, now) => {
    number(cell, age(now - a.since));
    put(cell, 'title', moment(a.since));
  }],
];
/** What begins with the largest. */
const LARGEST_FIRST = ['packets', 'bits', 'delivered', 'kernel', 'network', 'output', 'latency'];

/** What a state looks like, which is never a colour alone. */
const GLYPHS = { capturing: '●', waiting: '◐', stopped: '■', gone: '✕' };

/** Shows a state. */
export function paintState(cell, state) {
  if (cell.dataset.state === state) return;
  cell.dataset.state = state;
  const glyph = el('span', { class: 'glyph', 'aria-hidden': 'true' }, GLYPHS[state] ?? '?');
  cell.replaceChildren(el('span', { class: 'state', data: { state } }, glyph, state));
}

/** An interface's name, with its number where several hosts have one address. */
export function interfaceOf(agent) {
  return agent.ordinal === 0 ? agent.interface : `${agent.interface} #${agent.ordinal + 1}`;
}

function paintAgent(cell, agent) {
  if (cell.childElementCount === 0) {
    cell.append(el('a', { href: `#/agent/${agent.id}` }), ' ', el('code'), el('small'));
  }
  const [link, device, reason] = cell.children;
  say(link, agent.agent);
  say(device, interfaceOf(agent));
  say(reason, agent.reason ?? '');
  put(cell, 'title', agent.reason ?? '');
}

function number(cell, text) {
  say(cell, text);
}

/** How many were lost, and how many are being lost. */
function loss(cell, all, rate) {
  put(cell, 'data-loss', rate > 0 ? 'now' : all > 0 ? 'some' : 'none');
  say(cell, rate > 0 ? `${count(all)} ▲ ${packets(rate)}/s` : count(all));
}

/** What the table shows, and in which order; it stays so when one comes back to it. */
const choice = { words: '', state: null, key: 'state', down: false };

export class Table {
  constructor() {
    this.rows = new Map();
    this.order = [];
    this.moved = -Infinity;
    this.now = 0;
    this.body = el('tbody', { role: 'rowgroup' });
    this.body.addEventListener('pointermove', () => (this.moved = performance.now()));
    this.heads = new Map(COLUMNS.map(([key, title]) => [key, this.head(key, title)]));
    this.count = el('p', { class: 'count', role: 'status' });
    this.none = el('p', { class: 'none' });
    const table = el('table', { class: 'agents', role: 'table', 'aria-label': 'Agents and their interfaces' },
      el('thead', { role: 'rowgroup' }, el('tr', { role: 'row' }, ...this.heads.values())), this.body);
    this.element = el('div', { class: 'fleet' }, this.tools(), table, this.none);
    this.seen = new IntersectionObserver((entries) => this.scrolled(entries), { rootMargin: '200px' });
  }

  head(key, title) {
    const button = el('button', { type: 'button', onclick: () => this.sort(key) }, title,
      el('span', { class: 'arrow', 'aria-hidden': 'true' }));
    return el('th', { scope: 'col', role: 'columnheader', class: `c-${key}` }, button);
  }

  tools() {
    const filter = el('input', {
      type: 'search', placeholder: 'Filter: name, address, interface, rule…', 'aria-label': 'Filter agents',
      spellcheck: 'false', autocomplete: 'off', oninput: () => {
        choice.words = filter.value;
        this.arrange(true);
      },
    });
    filter.value = choice.words;
    this.states = STATES.toReversed().map((state) => {
      const button = el('button', {
        type: 'button', class: 'tile', onclick: () => {
          choice.state = choice.state === state ? null : state;
          this.arrange(true);
        },
      }, el('span', { class: 'n' }, '–'), el('span'));
      paintState(button.lastChild, state);
      return [state, button];
    });
    // Cards have no headings that could be pressed.
    const by = el('select', { onchange: () => this.sort(by.value) });
    for (const [key, title] of COLUMNS) by.append(el('option', { value: key }, title));
    this.by = by;
    const sort = el('label', { class: 'sort' }, 'Sort by ', by);
    return el('div', { class: 'tools' }, filter, sort, this.count);
  }

  /** The buttons that show the agents of one state. */
  tiles() {
    return this.states.map(([, button]) => button);
  }

  sort(key) {
    if (choice.key === key) choice.down = !choice.down;
    else Object.assign(choice, { key, down: LARGEST_FIRST.includes(key) });
    this.arrange(true);
  }

  scrolled(entries) {
    for (const { target, isIntersecting } of entries) {
      const row = this.rows.get(Number(target.dataset.id));
      if (!row) continue;
      row.seen = isIntersecting;
      if (isIntersecting) this.paint(row);
    }
  }

  /** Shows newer numbers. */
  update(agents, now) {
    this.now = now;
    const ids = new Set();
    const many = Object.fromEntries(STATES.map((state) => [state, 0]));
    for (const agent of agents) {
      ids.add(agent.id);
      many[agent.state] += 1;
      const row = this.rows.get(agent.id) ?? this.add(agent);
      row.agent = agent;
      if (row.seen) this.paint(row);
    }
    for (const [id, row] of this.rows) {
      if (ids.has(id)) continue;
      this.seen.unobserve(row.tr);
      row.tr.remove();
      this.rows.delete(id);
    }
    for (const [state, button] of this.states) {
      say(button.firstChild, count(many[state]));
      put(button, 'data-none', String(many[state] === 0));
    }
    this.arrange(false);
  }

  add(agent) {
    const cells = COLUMNS.map(([key, title]) =>
      el('td', { role: 'cell', class: `c-${key}`, data: { label: title } }));
    const tr = el('tr', { role: 'row', data: { id: agent.id } }, ...cells);
    const row = { tr, cells, agent, seen: false };
    this.rows.set(agent.id, row);
    this.seen.observe(tr);
    // So that the browser's own search finds it before it is seen.
    paintAgent(cells[1], agent);
    return row;
  }

  paint({ tr, cells, agent }) {
    put(tr, 'data-state', agent.state);
    COLUMNS.forEach(([, , , paint], i) => paint(cells[i], agent, this.now));
  }

  /** Puts rows in order and leaves out what is not asked for; `asked`: somebody wants another. */
  arrange(asked) {
    const words = choice.words.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = [...this.rows.values()].filter(({ agent }) => matches(agent, words));
    const held = performance.now() - this.moved < STILL || this.body.contains(document.activeElement);
    const shown = new Set(this.order);
    const same = wanted.length === shown.size && wanted.every((row) => shown.has(row));
    if (asked || !held || !same) {
      const [, , value] = COLUMNS.find(([key]) => key === choice.key);
      wanted.sort(({ agent: a }, { agent: b }) => compare(value(a), value(b), choice.down) || name(a, b));
      this.place(wanted);
    }
    for (const [key, head] of this.heads) {
      const down = choice.down ? 'descending' : 'ascending';
      put(head, 'aria-sort', key === choice.key ? down : 'none');
    }
    for (const [state, button] of this.states) put(button, 'aria-pressed', String(state === choice.state));
    if (this.by.value !== choice.key) this.by.value = choice.key;
    const all = this.rows.size;
    const some = wanted.length === all ? '' : `${count(wanted.length)} of `;
    say(this.count, `${some}${plural(all, 'interface', 'interfaces')}`);
    show(this.none, wanted.length === 0);
    say(this.none, all === 0 ? 'No agent has called yet.' : 'No agent is like that.');
  }

  /** Moves only what is at another place. */
  place(rows) {
    const kept = new Set(rows);
    const focus = document.activeElement;
    for (const row of this.order) if (!kept.has(row)) row.tr.remove();
    let at = this.body.firstChild;
    for (const { tr } of rows) {
      if (tr === at) at = at.nextSibling;
      else this.body.insertBefore(tr, at);
    }
    this.order = rows;
    // What is moved loses it.
    if (focus !== document.activeElement && this.body.contains(focus)) focus.focus({ preventScroll: true });
  }

  destroy() {
    this.seen.disconnect();
  }
}

function matches(agent, words) {
  if (choice.state !== null && agent.state !== choice.state) return false;
  if (words.length === 0) return true;
  const { address, peer, state, reason, rule } = agent;
  const text = [agent.agent, agent.interface, address, peer, state, reason, rule].join(' ').toLowerCase();
  return words.every((word) => text.includes(word));
}

/** 2 comes before 10. */
const names = new Intl.Collator('en', { numeric: true });

function compare(a, b, down) {
  const order = typeof a === 'string' ? names.compare(a, b) : a - b;
  return (down ? -order : order) || 0;
}

function name(a, b) {
  return compare(`${a.agent} ${a.interface}`, `${b.agent} ${b.interface}`, false);
}
