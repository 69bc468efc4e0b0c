// Which page is shown, and what stands above all of them.

import { Agent } from './agent.js';
import { live } from './api.js';
import { put, say, show } from './dom.js';
import { clock } from './format.js';
import { login, logout } from './login.js';
import { Overview } from './overview.js';
import { Policy } from './policy.js';

const byId = (id) => document.getElementById(id);
const main = byId('main');

/** The page that is shown. */
let view = null;

function pageOf(hash) {
  const [, name, id] = hash.split('/');
  if (name === 'agent' && /^\d{1,10}$/.test(id ?? '')) return ['overview', () => new Agent(Number(id))];
  if (name === 'policy') return ['policy', () => new Policy()];
  return ['overview', () => new Overview()];
}

function route(focus) {
  if (document.body.classList.contains('locked')) return;
  const [name, make] = pageOf(location.hash);
  view?.destroy();
  view = make();
  main.replaceChildren(view.element);
  for (const link of document.querySelectorAll('nav a')) {
    if (link.dataset.page === name) put(link, 'aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  refresh();
  if (focus) {
    scrollTo(0, 0);
    view.element.querySelector('h1').focus({ preventScroll: true });
  }
}

function refresh() {
  const { status, lost } = live;
  if (status !== null && view !== null) view.update(status, live.epoch);
  document.title = view === null ? 'rpcap' : `${view.title} · rpcap`;
  put(byId('link'), 'data-live', lost === null && status !== null ? 'yes' : 'no');
  say(byId('link-text'), lost !== null ? 'not connected' : status === null ? 'connecting' : 'live');
  show(byId('lost'), lost !== null);
  if (lost !== null) {
    say(byId('lost'), `Not connected since ${clock(lost)}. What is shown is as it was then. Trying again…`);
  }
  document.body.classList.toggle('stale', lost !== null);
}

function lock() {
  if (document.body.classList.contains('locked')) return;
  document.body.classList.add('locked');
  view?.destroy();
  view = null;
  Object.assign(live, { status: null, lost: null });
  refresh();
  const form = login(() => {
    document.body.classList.remove('locked');
    route(true);
    live.connect();
  });
  main.replaceChildren(form.element);
  form.focus();
}

function themes() {
  const select = byId('theme');
  select.value = document.documentElement.dataset.theme ?? 'auto';
  const recolour = () => document.dispatchEvent(new Event('recoloured'));
  select.addEventListener('change', () => {
    const theme = select.value;
    if (theme === 'auto') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem('theme', theme);
    } catch {
      // Then it is chosen for this time only.
    }
    recolour();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', recolour);
}

live.onchange = refresh;
live.onlogin = lock;
addEventListener('hashchange', () => route(true));
document.querySelector('.skip').addEventListener('click', (event) => {
  // The part behind # says which page it is.
  event.preventDefault();
  main.focus();
});
byId('logout').addEventListener('click', logout);
show(byId('logout'), location.protocol === 'https:');
themes();
route(false);
live.start();
