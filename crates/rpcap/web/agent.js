// One interface of an agent: its ledger, and what can be done with it.

import { post, request } from './api.js';
import { Charts } from './charts.js';
import { confirm, el, put, say, section, show, terms } from './dom.js';
import { age, bits, bytes, count, latency, moment, packets, plural, share } from './format.js';
import { interfaceOf, paintState } from './table.js';

/** The ledger: what each number is the sum of. */
const SUMS = [
  [['received', 'received by the filter'], ['dropped', 'dropped by the kernel', 'bad'], ['captured', 'captured']],
  [['captured', 'captured'], ['unsent', 'sampled out or withheld'], ['sent', 'sent']],
  [['sent', 'sent'], ['lost', 'lost in the network', 'bad'], ['delivered', 'delivered']],
  [['given', 'for outputs'], ['not-written', 'not written', 'bad'], ['overflowed', 'overflowed', 'bad'],
    ['written', 'written']],
];

/** What else an agent counts. */
const ASIDE = [
  ['bytes', 'bytes delivered', bytes],
  ['if-dropped', 'dropped by the interface, before the filter', count],
  ['datagrams-lost', 'datagrams lost', count],
  ['malformed', 'datagrams that made no sense', count],
  ['refused', 'datagrams refused: forged, or come again', count],
  ['captures', 'captures', count],
  ['uncertain', 'captures whose agent did not tell its counts at the end', count],
  ['broken', 'captures whose counts contradict each other', count],
];

export class Agent {
  constructor(id) {
    this.id = id;
    this.path = `/api/agents/${id}`;
    this.title = `Agent ${id}`;
    this.agent = null;
    this.charts = new Charts(`${this.path}/history`);
    this.heading = el('h1', { tabindex: '-1' }, this.title);
    this.state = el('span', { class: 'badge' });
    this.since = el('span', { class: 'note' });
    this.reason = el('p', { class: 'reason', hidden: true });
    this.button = el('button', { type: 'button', class: 'plain', disabled: true, onclick: () => this.order() }, 'Stop');
    this.told = el('p', { class: 'notice', role: 'alert', hidden: true });
    this.about = this.list([
      'Packets/s', 'Bits/s', 'Latency', 'Filter', 'Rule', 'Transport', 'Snaplen', 'Address', 'Connection',
    ]);
    this.outputs = el('div', { class: 'list' });
    this.sums = SUMS.map((sum) => this.sum(sum));
    this.aside = new Map(ASIDE.map(([key]) => [key, el('dd', { class: 'num' }, '–')]));
    this.hint = el('p', { class: 'note' });
    this.download = new Download(this.path);
    const ledger = section('Ledger', el('ul', { class: 'sums' }, ...this.sums.map(({ element }) => element)), this.hint,
      terms(ASIDE.map(([key, name]) => [name, this.aside.get(key)])));
    this.body = el('div', { class: 'stack' }, this.charts.element, this.charts.note,
      el('div', { class: 'split' }, ledger, el('div', { class: 'stack' },
        section('Download', this.download.element),
        section('Capture', this.about.element),
        section('Outputs', this.outputs))));
    this.element = el('div', {},
      el('p', { class: 'crumbs' }, el('a', { href: '#/' }, '← All agents')),
      el('div', { class: 'title' }, this.heading, this.state, this.since, this.button),
      this.reason, this.told, this.body);
  }

  list(names) {
    const values = names.map(() => el('dd', {}, '–'));
    return { values, element: terms(names.map((name, i) => [name, values[i]])) };
  }

  sum(sum) {
    const parts = sum.map(([key, name, kind]) => {
      const value = el('b', { class: 'num', data: { term: key } }, '–');
      const part = el('small');
      const element = el('span', { class: 'term', data: { kind: kind ?? 'plain' } }, value, el('span', {}, name, part));
      return { key, kind, value, part, element };
    });
    const children = parts.flatMap(({ element }, i) =>
      [i === 0 ? null : el('span', { class: 'op' }, i === 1 ? '=' : '+'), element]);
    const check = el('span', { class: 'check' });
    return { parts, check, element: el('li', {}, ...children.filter(Boolean), check) };
  }

  update(status, epoch) {
    const agent = status.agents.find(({ id }) => id === this.id);
    show(this.body, agent !== undefined);
    show(this.state, agent !== undefined);
    show(this.since, agent !== undefined);
    show(this.button, agent !== undefined);
    if (!agent) {
      show(this.reason, true);
      say(this.reason, 'There is no such agent. Numbers are given anew when the collector is started again.');
      return;
    }
    this.agent = agent;
    this.title = `${agent.agent} ${interfaceOf(agent)}`;
    say(this.heading, this.title);
    paintState(this.state, agent.state);
    say(this.since, `for ${age(status.time - agent.since)}`);
    put(this.since, 'title', moment(agent.since));
    show(this.reason, Boolean(agent.reason));
    say(this.reason, agent.reason ?? '');
    put(this.element, 'data-state', agent.state);
    say(this.button, agent.paused ? 'Start' : 'Stop');
    this.button.disabled = false;
    this.charts.tick(epoch, status.time, agent.rates);
    const { rates } = agent;
    this.fill(this.about, [
      packets(rates['packets-per-second']), bits(rates['bits-per-second']), latency(agent['latency-ms']),
      agent.filter || 'none: all packets', agent.rule ?? '–', agent.transport ?? '–',
      agent.snaplen === null ? '–' : plural(agent.snaplen, 'byte', 'bytes'), agent.address, agent.peer,
    ]);
    this.ledger(agent);
    this.fates(agent.outputs);
    this.download.enable(agent.state === 'capturing');
  }

  fill({ values }, texts) {
    texts.forEach((text, i) => say(values[i], text));
  }

  ledger(told) {
    // Each output has its own copy of what was delivered.
    const given = told.outputs.reduce((sum, o) => sum + o.given + o.split, 0);
    const agent = { ...told, given };
    for (const { parts, check } of this.sums) {
      const [all, ...rest] = parts;
      for (const { key, kind, value, part, element } of parts) {
        say(value, count(agent[key]));
        if (kind === 'bad') {
          put(element, 'data-loss', agent[key] > 0 ? 'some' : 'none');
          const percent = share(agent[key], agent[all.key]);
          say(part, percent && ` (${percent})`);
        }
      }
      const missing = agent[all.key] - rest.reduce((sum, { key }) => sum + agent[key], 0);
      put(check, 'data-holds', missing === 0 ? 'yes' : 'no');
      say(check, missing === 0 ? '✓ adds up' : `≠ differs by ${count(Math.abs(missing))}`);
    }
    say(this.hint, agent.state === 'capturing'
      ? 'Agents tell their counts every ten seconds; the ledger is exact when a capture has ended.'
      : '');
    for (const [key, , text] of ASIDE) say(this.aside.get(key), text(agent[key]));
  }

  fates(outputs) {
    const text = JSON.stringify(outputs);
    if (text === this.outputsShown) return;
    this.outputsShown = text;
    const rows = outputs.map((o) => el('tr', {},
      el('th', { scope: 'row' }, o.output),
      ...['given', 'split', 'written', 'not-written', 'overflowed'].map((key) => el('td', { class: 'num' }, count(o[key])))));
    const names = ['Output', 'Given', 'Split', 'Written', 'Not written', 'Overflowed'];
    this.outputs.replaceChildren(outputs.length === 0 ? el('p', { class: 'none' }, 'None.') : el('table', { class: 'plain' },
      el('thead', {}, el('tr', {}, ...names.map((name) => el('th', { scope: 'col' }, name)))),
      el('tbody', {}, ...rows)));
  }

  /** Starts or stops it, if that is meant. */
  async order() {
    const stop = !this.agent.paused;
    const name = this.title;
    const meant = stop
      ? await confirm(`Stop capturing from ${name}?`,
        'Nothing is captured from it until it is started again, also when it comes back.', 'Stop', true)
      : await confirm(`Start capturing from ${name}?`, 'It is captured from as the policy says.', 'Start', false);
    if (!meant) return;
    this.button.disabled = true;
    show(this.told, false);
    try {
      await post(`${this.path}/${stop ? 'stop' : 'start'}`);
    } catch (error) {
      say(this.told, `It cannot be ${stop ? 'stopped' : 'started'}: ${error.message}.`);
      show(this.told, true);
      this.button.disabled = false;
    }
  }

  destroy() {
    this.charts.destroy();
    this.download.destroy();
  }
}

/** What comes for some seconds, as a file. */
class Download {
  constructor(path) {
    this.path = path;
    this.running = null;
    this.seconds = el('input', { type: 'number', min: '1', max: '3600', value: '10', required: true, inputmode: 'numeric' });
    this.filter = el('input', { type: 'text', maxlength: '4096', spellcheck: 'false', autocomplete: 'off', autocapitalize: 'off', placeholder: 'all that is captured' });
    this.button = el('button', { class: 'primary', disabled: true }, 'Capture and download');
    this.said = el('p', { class: 'note', role: 'status' });
    this.element = el('form', { class: 'download', onsubmit: (event) => this.submit(event) },
      el('label', {}, 'Seconds', this.seconds),
      el('label', { class: 'grow' }, 'Only packets that pass (optional)', this.filter),
      this.button, this.said);
  }

  enable(capturing) {
    this.capturing = capturing;
    this.button.disabled = !capturing || this.running !== null;
    if (!capturing && this.running === null) say(this.said, 'Nothing is captured from it now.');
    else if (this.said.textContent === 'Nothing is captured from it now.') say(this.said, '');
  }

  async submit(event) {
    event.preventDefault();
    const query = new URLSearchParams({ seconds: this.seconds.value });
    const filter = this.filter.value.trim();
    if (filter) query.set('filter', filter);
    const url = `${this.path}/capture?${query}`;
    this.button.disabled = true;
    this.said.dataset.bad = 'no';
    // The browser stores the file as it comes, but would not show why there is none: so it is asked for
    // once to see that it begins, and then again.
    const probe = new AbortController();
    try {
      await request(url, { signal: probe.signal });
      probe.abort();
    } catch (error) {
      this.said.dataset.bad = 'yes';
      say(this.said, `No file: ${error.message}.`);
      this.button.disabled = !this.capturing;
      return;
    }
    const link = el('a', { href: url, download: '', hidden: true });
    document.body.append(link);
    link.click();
    link.remove();
    this.count(Number(this.seconds.value));
  }

  /** Says how long it takes; a reader of the screen hears of the beginning and of the end. */
  count(seconds) {
    const end = performance.now() + seconds * 1000;
    say(this.said, `Capturing for ${plural(seconds, 'second', 'seconds')}: the browser stores the file.`);
    this.running = setInterval(() => {
      const left = Math.ceil((end - performance.now()) / 1000);
      say(this.button, left > 0 ? `${left} s left` : 'Capture and download');
      if (left > 0) return;
      this.destroy();
      say(this.said, 'The file is complete.');
      this.button.disabled = !this.capturing;
    }, 250);
  }

  destroy() {
    clearInterval(this.running);
    this.running = null;
  }
}
