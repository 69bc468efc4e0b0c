// The last hour: packets, bits and losses in a second, under one time.

import { get } from './api.js';
import { el, say } from './dom.js';
import { bits, clock, packets, short } from './format.js';

const HOUR = 3600;
const LOST = 'lost-per-second';
const DROPPED = 'dropped-per-second';
const UNWRITTEN = 'not-written-per-second';

/** What is drawn: a title, what a number looks like, and lines: a key, a class, a name, dashes. */
const PLOTS = [
  { title: 'Packets/s', text: packets, lines: [['packets-per-second', 'line-1', '', []]] },
  { title: 'Bits/s', text: bits, lines: [['bits-per-second', 'line-2', '', []]] },
  {
    title: 'Lost/s',
    text: packets,
    lines: [
      [DROPPED, 'line-3', 'kernel', []],
      [LOST, 'line-4', 'network', [6, 3]],
      [UNWRITTEN, 'line-5', 'output', [2, 2]],
    ],
  },
];

let groups = 0;

/** Three charts of what the path of a history answers. */
export class Charts {
  constructor(path) {
    this.path = path;
    this.step = 5;
    this.points = [];
    this.since = [];
    this.epoch = null;
    this.note = el('p', { class: 'note', role: 'status' });
    this.element = el('div', { class: 'charts' });
    const sync = uPlot.sync(`group-${(groups += 1)}`);
    this.plots = PLOTS.map((plot) => new Plot(plot, sync, this.element));
    // A chart has the width of its place, which is not known before it has one.
    this.resized = new ResizeObserver(() => this.plots.forEach((plot) => plot.fit()));
    this.resized.observe(this.element);
    this.recoloured = () => this.plots.forEach((plot) => plot.redraw());
    document.addEventListener('recoloured', this.recoloured);
  }

  /** Shows a newer status: its time, and what comes in a second. */
  tick(epoch, time, rates) {
    if (epoch !== this.epoch) {
      this.epoch = epoch;
      this.load();
      return;
    }
    this.since.push(rates);
    const last = this.points.at(-1)?.time ?? -Infinity;
    if (time - last < this.step) return;
    const point = { time: Math.floor(time) };
    for (const key of Object.keys(rates)) {
      point[key] = this.since.reduce((all, each) => all + each[key], 0) / this.since.length;
    }
    this.since = [];
    this.points.push(point);
    this.draw();
  }

  async load() {
    try {
      const history = await get(this.path);
      this.step = history.step || this.step;
      this.points = history.points;
      this.since = [];
      say(this.note, '');
      this.draw();
    } catch (error) {
      // It is tried again with the next status.
      this.epoch = null;
      say(this.note, `There is no history: ${error.message}.`);
    }
  }

  draw() {
    const now = Math.max(this.points.at(-1)?.time ?? 0, Date.now() / 1000 - 2 * this.step);
    this.points = this.points.filter((point) => point.time > now - HOUR);
    this.plots.forEach((plot) => plot.draw(this.points, now));
  }

  destroy() {
    this.resized.disconnect();
    document.removeEventListener('recoloured', this.recoloured);
    this.plots.forEach((plot) => plot.chart.destroy());
  }
}

/** One of the charts. */
class Plot {
  constructor({ title, text, lines }, sync, into) {
    this.text = text;
    this.now = Date.now() / 1000;
    this.values = lines.map(() => el('b', { class: 'value' }, '–'));
    const legend = lines.map(([, line, name], i) =>
      el('span', { class: `legend ${line}` },
        el('span', { class: 'swatch', 'aria-hidden': 'true' }), name, ' ', this.values[i]));
    this.time = el('span', { class: 'when' });
    const canvas = el('div', { class: 'plot' });
    const caption = el('figcaption', {}, el('h3', {}, title), ...legend, this.time);
    this.canvas = canvas;
    this.figure = el('figure', {}, caption, canvas);
    into.append(this.figure);
    this.keys = lines.map(([key]) => key);
    const colour = (element) => () => getComputedStyle(element).color;
    const series = lines.map(([, , name, dash], i) => ({
      label: name || title,
      stroke: colour(legend[i]),
      width: 1.5,
      dash,
      points: { show: false },
    }));
    const axis = {
      stroke: colour(this.time),
      font: '11px system-ui, sans-serif',
      grid: { stroke: () => getComputedStyle(canvas).borderTopColor, width: 1 },
      ticks: { show: false },
    };
    this.chart = new uPlot({
      width: 300,
      height: 100,
      padding: [8, 18, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, sync: { key: sync.key } },
      scales: {
        x: { range: () => [this.now - HOUR, this.now] },
        // Whole packets: nothing at all is a line at the bottom of something.
        y: { range: (_, _low, high) => [0, Math.max(high * 1.1, 1)] },
      },
      axes: [
        { ...axis, size: 24, space: 60, values: (_, times) => times.map(hour) },
        { ...axis, size: 46, space: 28, values: (_, values) => values.map(short) },
      ],
      series: [{}, ...series],
      hooks: { setCursor: [() => this.tell()] },
    }, [[], ...lines.map(() => [])], canvas);
  }

  fit() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (width > 0 && (width !== this.chart.width || height !== this.chart.height)) this.chart.setSize({ width, height });
  }

  redraw() {
    this.chart.redraw(false, true);
  }

  draw(points, now) {
    this.now = now;
    const columns = this.keys.map((key) => points.map((point) => point[key]));
    this.chart.setData([points.map((point) => point.time), ...columns]);
    this.tell();
  }

  /** Says what is under the pointer, or else what is newest. */
  tell() {
    // The first time is before there is a chart.
    const { data, cursor } = this.chart ?? {};
    if (!data) return;
    const pointed = cursor.idx !== null && cursor.idx !== undefined && cursor.left >= 0;
    const at = pointed ? cursor.idx : data[0].length - 1;
    this.values.forEach((value, i) => {
      const n = data[i + 1]?.[at];
      say(value, n === undefined ? '–' : this.text(n));
    });
    say(this.time, pointed && data[0][at] ? clock(new Date(data[0][at] * 1000)) : '');
  }
}

function hour(time) {
  const date = new Date(time * 1000);
  return `${date.getHours()}:${String(date.getMinutes()).padStart(2, '0')}`;
}
