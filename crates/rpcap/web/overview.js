// All agents at a glance.

import { losses, sum } from './api.js';
import { Charts } from './charts.js';
import { el, say, section, terms } from './dom.js';
import { bits, bytes, count, packets } from './format.js';
import { Table } from './table.js';

/** Why packets were lost, and what the sums are called. */
const CAUSES = [
  ['kernel', 'by kernels', 'dropped-per-second'],
  ['network', 'in the network', 'lost-per-second'],
  ['output', 'by outputs', 'not-written-per-second'],
];

export class Overview {
  constructor() {
    this.title = 'Agents';
    this.table = new Table();
    this.charts = new Charts('/api/history');
    const figure = (name) => {
      const value = el('span', { class: 'n' }, '–');
      return [value, el('div', { class: 'tile' }, value, el('span', {}, name))];
    };
    const [packetsNow, packetsTile] = figure('packets/s');
    const [bitsNow, bitsTile] = figure('arriving');
    this.packets = packetsNow;
    this.bits = bitsNow;
    this.lost = el('span', { class: 'n' }, '–');
    this.causes = el('span');
    const lostTile = el('div', { class: 'tile lost-tile' }, this.lost, this.causes);
    this.tile = lostTile;
    const tiles = el('div', { class: 'tiles' }, ...this.table.tiles(), packetsTile, bitsTile, lostTile);
    this.collector = el('div', { class: 'panels' });
    this.element = el('div', {},
      el('h1', { class: 'unseen', tabindex: '-1' }, 'Agents'),
      tiles, this.charts.element, this.charts.note, this.table.element, this.collector);
    this.shown = '';
  }

  update(status, epoch) {
    const { agents, time } = status;
    const rates = sum(agents);
    this.charts.tick(epoch, time, { ...NOTHING, ...rates });
    this.table.update(agents, time);
    say(this.packets, packets(rates['packets-per-second'] ?? 0));
    say(this.bits, bits(rates['bits-per-second'] ?? 0));
    const all = { kernel: 0, network: 0, output: 0 };
    for (const agent of agents) {
      for (const [cause, n] of Object.entries(losses(agent))) all[cause] += n;
    }
    const lost = CAUSES.filter(([cause]) => all[cause] > 0);
    const losing = CAUSES.reduce((n, [, , rate]) => n + (rates[rate] ?? 0), 0);
    const number = count(all.kernel + all.network + all.output);
    say(this.lost, losing > 0 ? `${number} ▲ ${packets(losing)}/s` : number);
    say(this.causes, lost.length === 0
      ? 'packets lost'
      : `lost: ${lost.map(([cause, name]) => `${count(all[cause])} ${name}`).join(', ')}`);
    this.tile.dataset.loss = losing > 0 ? 'now' : lost.length > 0 ? 'some' : 'none';
    this.rest(status);
  }

  /** What concerns no agent that is captured from; drawn anew when it has changed. */
  rest({ outputs, waiting, connections, datagrams, forgotten }) {
    const parts = [outputs, waiting, connections, datagrams, forgotten];
    const shown = JSON.stringify(parts);
    if (shown === this.shown) return;
    this.shown = shown;
    const list = (names, rows) =>
      el('table', { class: 'plain' },
        el('thead', {}, el('tr', {}, ...names.map((name) => el('th', { scope: 'col' }, name)))),
        el('tbody', {}, ...rows.map((row) => el('tr', {}, ...row.map((cell) => el('td', {}, cell))))));
    const numbers = (object, names) =>
      terms(Object.entries(names).map(([key, name]) => [name, el('dd', { class: 'num' }, count(object[key]))]));
    const panels = [];
    if (waiting.length > 0) {
      const rows = waiting.map(({ peer, reason }) => [peer, reason]);
      panels.push(section('Connected, and nothing to capture', list(['From', 'Why'], rows)));
    }
    const destinations = outputs.map((o) => [o.name, o.destination, bytes(o['queued-bytes'])]);
    panels.push(section('Outputs', outputs.length > 0
      ? list(['Name', 'Destination', 'Waiting'], destinations)
      : el('p', { class: 'none' }, 'None runs: nothing is captured.')));
    panels.push(section('Connections of agents', numbers({ ...connections, forgotten }, {
      accepted: 'accepted', rejected: 'turned away by the policy', surplus: 'turned away for want of room',
      failed: 'failed', forgotten: 'interfaces forgotten',
    })));
    panels.push(section('Datagrams', numbers(datagrams, {
      datagrams: 'received', unknown: 'of no capture', late: 'of a capture that is over',
      truncated: 'longer than any can be', dropped: 'dropped by this host',
    })));
    this.collector.replaceChildren(...panels);
  }

  destroy() {
    this.table.destroy();
    this.charts.destroy();
  }
}

/** What comes when nobody sends. */
const NOTHING = {
  'packets-per-second': 0,
  'bits-per-second': 0,
  'lost-per-second': 0,
  'dropped-per-second': 0,
  'not-written-per-second': 0,
};
