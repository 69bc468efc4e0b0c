// Elements. Text from elsewhere becomes text and nothing else: there is no other way in here.

/** An element. `on…` are listeners, `data` its data-*, others attributes; `false` and `null` are none. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'data') Object.assign(element.dataset, value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Gives an element another text, if it is another. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows an element or not. */
export function show(element, shown) {
  if (element.hidden === shown) element.hidden = !shown;
}

/** Gives an attribute another value, if it is another. */
export function put(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** A part of a page that has a heading. */
export function section(title, ...children) {
  return el('section', { class: 'panel' }, el('h2', {}, title), ...children);
}

/** A list of terms and what is said of them. */
export function terms(pairs) {
  const list = el('dl', { class: 'terms' });
  for (const [name, value] of pairs) list.append(el('div', {}, el('dt', {}, name), value));
  return list;
}

/** Something wide, which scrolls by itself and by keyboard. */
export function wide(label, child) {
  return el('div', { class: 'wide', role: 'region', 'aria-label': label, tabindex: '0' }, child);
}

let dialogs = 0;

/** Asks before something is done; whether it is to be done. */
export function confirm(title, text, yes, danger) {
  const id = `dialog-${(dialogs += 1)}`;
  return new Promise((resolve) => {
    const dialog = el('dialog', { 'aria-labelledby': id });
    dialog.append(
      el('form', { method: 'dialog' },
        el('h2', { id }, title),
        el('p', {}, text),
        el('div', { class: 'actions' },
          el('button', { value: 'no', class: 'plain' }, 'Cancel'),
          el('button', { value: 'yes', class: danger ? 'danger' : 'primary' }, yes))),
    );
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(dialog.returnValue === 'yes');
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
