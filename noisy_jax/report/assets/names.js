// Names as the page shows them: what cannot be seen, or turns the text around it, as an escape sequence, and of long classes
// both ends. The CSV and the addresses of files have them exactly. As in Python, a byte of a name that is not UTF-8 is a lone
// surrogate.
const UNSEEN = /[\p{Cc}\p{Cs}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;
const LONE = /\p{Cs}/u;
const byteOf = (lone) => lone.charCodeAt(0) % 256;
const hex = (number, digits) => number.toString(16).padStart(digits, '0');

function escaped(letter) {
  const code = LONE.test(letter) ? byteOf(letter) : letter.charCodeAt(0);
  const known = { '\t': '\\t', '\n': '\\n', '\r': '\\r' }[letter];
  return known ?? (code < 256 ? `\\x${hex(code, 2)}` : `\\u${hex(code, 4)}`);
}

const shown = (name) => name.replace(UNSEEN, escaped);

const exact = { classes: data.classes, id: data.gallery.id, others: data.others.id };
const LONGEST = 80;
function shortened(name) {
  const letters = [...name];
  return letters.length <= LONGEST ? name : [...letters.slice(0, LONGEST / 2 - 1), '…', ...letters.slice(-LONGEST / 2)].join('');
}

const classShown = (name) => shown(shortened(name));
data.classes = data.classes.map(classShown);
for (const table of [data.gallery, data.others, data.map ?? { id: [] }]) table.id = table.id.map(shown);

const SEQUENCES = /[\x00-\x7f]+|[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}|[^]/g;

/** The parts of a file that holds this text. */
const partsOf = (text) => text.split(/(\p{Cs})/u).map((part) => (LONE.test(part) ? Uint8Array.of(byteOf(part)) : part));

/** The text of a file. */
function textOf(bytes) {
  const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join('').replace(SEQUENCES, (found) => {
    try {
      return utf8.decode(Uint8Array.from(found, (each) => each.charCodeAt(0)));
    } catch {
      return Array.from(found, (each) => String.fromCharCode(0xdc00 + each.charCodeAt(0))).join('');
    }
  }).replace(/^\ufeff/, '');
}

/** A path as part of a URL. */
const pathOf = (name) => Array.from(name, (each) => (LONE.test(each) ? `%${hex(byteOf(each), 2)}`
  : each === '/' ? each : encodeURIComponent(each))).join('');

/** Where the file at a path, as part of a URL, is; null where the data has none. */
const urlOf = (path) => (data.originals === null ? null
  : path.startsWith('/') ? `file://${path.replace(/^\/+/, '/')}` : data.originals + path); // two slashes name a host
