// The policy as it was read last.

import { get } from './api.js';
import { el, section, terms, wide } from './dom.js';
import { bytes, count, moment } from './format.js';

export class Policy {
  constructor() {
    this.title = 'Policy';
    this.body = el('div', {}, el('p', { class: 'note' }, 'Reading…'));
    this.element = el('div', {}, el('h1', { tabindex: '-1' }, 'Policy'), this.body);
    this.epoch = null;
  }

  update(_, epoch) {
    if (epoch === this.epoch) return;
    this.epoch = epoch;
    this.load();
  }

  async load() {
    try {
      const policy = await get('/api/policy');
      this.body.replaceChildren(
        terms([
          ['File', el('dd', {}, el('code', {}, policy.path))],
          ['Read', el('dd', {}, moment(policy.loaded))],
        ]),
        section('Rules, as they are tried', rules(policy.rules)),
        section('Outputs', outputs(policy.outputs)),
        section('Text', wide('The text of the policy', el('pre', { class: 'policy' }, policy.text))),
        el('p', { class: 'note' }, 'The file may have been changed since. SIGHUP has the collector read it again.'));
    } catch (error) {
      this.epoch = null;
      this.body.replaceChildren(el('p', { class: 'notice' }, `The policy cannot be read: ${error.message}.`));
    }
  }

  destroy() {}
}

function list(label, names, rows) {
  return wide(label, el('table', { class: 'plain' },
    el('thead', {}, el('tr', {}, ...names.map((name) => el('th', { scope: 'col' }, name)))),
    el('tbody', {}, ...rows.map(([name, ...rest]) =>
      el('tr', {}, el('th', { scope: 'row' }, name), ...rest.map((cell) => el('td', {}, cell)))))));
}

function rules(all) {
  const rows = all.map((rule) => {
    const { capture } = rule;
    const who = [...rule.addresses, ...rule.hosts, ...rule.devices].join(', ') || 'everybody';
    const how = rule.tls ? 'TLS' : 'plain';
    if (!capture) return [rule.name, who, how, rule.action, '', '', ''];
    const from = `capture ${capture.interfaces.join(', ')}`;
    const filter = capture.filter ? el('code', {}, capture.filter) : 'all packets';
    return [rule.name, who, how, from, filter, `${capture.transport}, ${count(capture.snaplen)} B, ${capture.sampling}`,
      capture.outputs.join(', ')];
  });
  return list('Rules', ['Rule', 'For', 'Connection', 'Action', 'Filter', 'Packets', 'To'], rows);
}

function outputs(all) {
  const or = (n, text) => (n === null ? '–' : text(n));
  const rows = all.map((o) => [
    o.name, o.destination, o.merged ? 'one for all' : 'one each', or(o['file-size'], bytes),
    or(o['file-time'], (s) => `${count(s)} s`), or(o['total-size'], bytes), o.compress ? 'yes' : 'no', bytes(o.queue),
  ]);
  return list('Outputs', ['Output', 'Destination', 'Files', 'Full at', 'Or after', 'All files', 'Compressed', 'Queue'], rows);
}
