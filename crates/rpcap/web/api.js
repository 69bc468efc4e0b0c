// Requests, and what all pages know: the newest status, and whether it is new.

/** How long nothing may come before we say so, in milliseconds. */
const QUIET = 5000;
/** First and longest pause between two tries to connect, in milliseconds. */
const PAUSES = [1000, 10_000];

/** Nobody has logged in, or for too long. */
export class Unauthorized extends Error {}

/** A request; its answer, or an error in the API's words. */
export async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Error('the collector does not answer');
  }
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  const text = typeof said.error === 'string' ? said.error : `HTTP status ${response.status}`;
  if (response.status === 401 && path !== '/api/login') {
    live.close();
    live.onlogin();
    throw new Unauthorized(text);
  }
  throw new Error(text);
}

/** The JSON of an answer. */
export async function get(path) {
  return (await request(path)).json();
}

/** Asks for something to be done. */
export async function post(path, body) {
  const options = { method: 'POST' };
  if (body !== undefined) {
    options.headers = { 'Content-Type': 'application/json' };
    options.body = JSON.stringify(body);
  }
  return request(path, options);
}

/** The stream of events. */
export const live = {
  /** What came last. */
  status: null,
  /** Since when nothing comes, or null. */
  lost: null,
  /** How often it was connected: what was remembered before has a hole. */
  epoch: 0,
  /** Called with every event, and when there are none any more. */
  onchange: () => {},
  /** Called when somebody has to log in. */
  onlogin: () => {},

  source: null,
  timer: null,
  heard: 0,
  seen: new Date(),
  pause: PAUSES[0],

  open() {
    this.close();
    this.heard = performance.now();
    const source = new EventSource('/api/events');
    this.source = source;
    source.addEventListener('status', (event) => {
      if (this.source !== source) return;
      if (this.lost !== null || this.status === null) this.epoch += 1;
      this.status = JSON.parse(event.data);
      this.lost = null;
      this.pause = PAUSES[0];
      this.heard = performance.now();
      this.seen = new Date();
      this.onchange();
    });
    source.addEventListener('error', () => this.source === source && this.fail());
  },

  close() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  },

  /** Nothing comes any more: says so, finds out why, and tries again. */
  fail() {
    this.close();
    if (this.lost === null) this.lost = this.seen;
    this.onchange();
    this.timer = setTimeout(() => this.connect(), this.pause);
    this.pause = Math.min(this.pause * 2, PAUSES[1]);
  },

  /** Opens the stream, or has somebody log in: a stream does not tell that it wants a password. */
  async connect() {
    try {
      await request('/api/openapi.json', { method: 'HEAD' });
    } catch (error) {
      return error instanceof Unauthorized ? undefined : this.fail();
    }
    if (this.source === null && !document.hidden) this.open();
  },

  /** Looks whether it has become quiet. */
  watch() {
    if (this.source !== null && performance.now() - this.heard > QUIET) this.fail();
  },

  start() {
    setInterval(() => this.watch(), 1000);
    // A browser has few connections for one host: a page that nobody sees needs none.
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) {
        this.close();
      } else if (this.source === null && !document.body.classList.contains('locked')) {
        this.epoch += 1;
        this.open();
      }
    });
    this.connect();
  },
};

/** What comes in a second of all agents together. */
export function sum(agents) {
  const all = {};
  for (const { rates } of agents) {
    for (const [name, value] of Object.entries(rates)) all[name] = (all[name] ?? 0) + value;
  }
  return all;
}

/** Packets that were lost, by what lost them. */
export function losses(agent) {
  return {
    kernel: agent.dropped,
    network: agent.lost,
    output: agent['not-written'] + agent.overflowed,
  };
}
