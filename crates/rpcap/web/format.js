// Numbers and times as people read them.

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const PREFIXES = ['', 'k', 'M', 'G', 'T', 'P'];

/** A number with its thousands set apart. */
export function count(n) {
  return whole.format(n);
}

/** One of something, or many. */
export function plural(n, one, many) {
  return `${count(n)} ${n === 1 ? one : many}`;
}

/** A number of three digits, and its prefix. */
function scaled(n) {
  let power = 0;
  while (n >= 999.5 && power < PREFIXES.length - 1) {
    n /= 1000;
    power += 1;
  }
  const digits = power === 0 || n >= 99.95 ? 0 : n >= 9.995 ? 1 : 2;
  return [n.toFixed(digits), PREFIXES[power]];
}

/** Packets in a second. */
export function packets(n) {
  if (n > 0 && n < 9.95) return n.toFixed(1);
  return n < 99_999.5 ? count(n) : scaled(n).join(' ');
}

/** Bits in a second, with their unit. */
export function bits(n) {
  const [number, prefix] = scaled(n);
  return `${number} ${prefix}bit/s`;
}

/** The same for an axis, where all have the unit. */
export function short(n) {
  if (n > 0 && n < 1) return String(Number(n.toPrecision(2)));
  let power = 0;
  while (n >= 1000 && power < PREFIXES.length - 1) {
    n /= 1000;
    power += 1;
  }
  return `${Number(n.toPrecision(3))}${PREFIXES[power]}`;
}

/** Bytes, with their unit. */
export function bytes(n) {
  const [number, prefix] = scaled(n);
  return `${number} ${prefix}B`;
}

/** Milliseconds, or what there is instead. */
export function latency(ms) {
  if (ms === null || ms === undefined) return '–';
  const size = Math.abs(ms);
  if (size >= 10_000) return `${(ms / 1000).toFixed(0)} s`;
  return `${ms.toFixed(size < 10 ? 1 : 0).replace('-', '−')} ms`;
}

/** How long something has been so, in its largest unit. */
export function age(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 48 * 3600) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86_400)} d`;
}

/** A time of day. */
export function clock(date) {
  return date.toLocaleTimeString('en-GB');
}

/** A day and a time of day, from seconds since 1970. */
export function moment(seconds) {
  const date = new Date(seconds * 1000);
  const two = (n) => String(n).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${clock(date)}`;
}

/** A part of a whole, in percent; nothing where there is none. */
export function share(part, all) {
  if (part === 0 || all === 0) return '';
  const percent = (part / all) * 100;
  return percent < 0.01 ? '< 0.01 %' : `${percent.toFixed(percent < 10 ? 2 : 1)} %`;
}
