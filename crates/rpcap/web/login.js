// The password, where the page is to be had from elsewhere.

import { live, post } from './api.js';
import { el, say } from './dom.js';

/** Asks for the password; calls `done` once somebody is let in. */
export function login(done) {
  const password = el('input', { type: 'password', autocomplete: 'current-password', required: true });
  const button = el('button', { class: 'primary' }, 'Log in');
  const said = el('p', { class: 'note', role: 'alert' });
  const form = el('form', {
    class: 'login panel',
    onsubmit: async (event) => {
      event.preventDefault();
      button.disabled = true;
      say(said, '');
      try {
        await post('/api/login', { password: password.value });
        done();
      } catch (error) {
        said.dataset.bad = 'yes';
        say(said, `Not logged in: ${error.message}.`);
        password.select();
      } finally {
        button.disabled = false;
      }
    },
  }, el('h1', { tabindex: '-1' }, 'Log in'), el('label', {}, 'Password', password), button, said);
  return { element: form, focus: () => password.focus() };
}

/** Leaves, and has the next one log in. */
export async function logout() {
  await post('/api/logout').catch(() => {});
  live.close();
  live.onlogin();
}
