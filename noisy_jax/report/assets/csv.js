// Decisions as CSV: the file that `python -m noisy_jax.clean` reads, written and loaded back.
const COLUMNS = ['index', 'id', 'given_label', 'decision', 'label'];

// As in noisy_jax/spreadsheet.py: what a spreadsheet would run gets an apostrophe in front.
const GUARDED = /^(?:'?(?![+-][0-9]+(?:\.[0-9]+)?$)[=+\-@＝＋－＠\t\r\n]|'')/;
// A spreadsheet may take ; or a tab for the end of a cell.
const WITHIN = /([;\t])(?='*[=+\-@＝＋－＠])/g;
const WAS_WITHIN = /([;\t])'(?='*[=+\-@＝＋－＠])/g;

function safeCell(text) {
  const safe = text.replace(WITHIN, "$1'");
  return GUARDED.test(safe) ? `'${safe}` : safe;
}

function asItWas(cell) {
  const text = cell.startsWith("'") && GUARDED.test(cell.slice(1)) ? cell.slice(1) : cell;
  return text.replace(WAS_WITHIN, '$1');
}

const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
const cellOf = (value) => quoted(safeCell(String(value)));
const exactlyGiven = (place) => exact.classes[images.given[place]];

function decisionsAsCsv() {
  const rows = [...decisions.keys()]
    .sort((a, b) => images.index[a] - images.index[b])
    .map((place) => [images.index[place], exact.id[place], exactlyGiven(place), ...decisions.get(place)]);
  return [COLUMNS, ...rows].map((row) => `${row.map(cellOf).join(',')}\n`).join('');
}

$('download').addEventListener('click', () => {
  const link = element('a', { download: 'reviewed.csv' });
  link.href = URL.createObjectURL(new Blob(partsOf(decisionsAsCsv()), { type: 'text/csv' }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});

/** The rows of a CSV that are not empty, as lists of text; undefined where quotes do not fit. */
function parseCsv(saved) {
  const text = saved.replace(/^"?sep=."?\r?\n/, ''); // a line for Excel alone
  const head = text.match(/[^\r\n]+/)?.[0] ?? '';
  const separator = [';', '\t'].find((each) => head.includes(each) && !head.includes(',')) ?? ',';
  const cells = new RegExp(`(?:"([^"]*(?:""[^"]*)*)"|([^"${separator}\\r\\n]*))(${separator}|\\r?\\n|$)`, 'gy');
  const rows = [[]];
  let end = 0;
  for (const found of text.matchAll(cells)) {
    rows.at(-1).push(asItWas(found[1]?.replaceAll('""', '"') ?? found[2]));
    end = found.index + found[0].length;
    if (found[3] === '') break;
    if (found[3] !== separator) rows.push([]);
  }
  return end === text.length ? rows.filter((row) => row.join('')) : undefined;
}

/** The decision of a row, or undefined if it is none of this run. */
function decisionIn(place, kind, label = '') {
  if (kind === 'drop') return decisionOf(place, 'drop');
  const number = exact.classes.indexOf(label);
  const isEmpty = number < 0 && /^(?:na|nan)?$/i.test(label); // as R and pandas write it
  if (kind === 'keep' && (isEmpty || label === exactlyGiven(place))) return decisionOf(place, 'keep');
  return kind === 'relabel' && number >= 0 ? decisionOf(place, 'other', number) : undefined;
}

/** Decisions by place, and how many rows cannot be applied, by reason; an image is known by its id alone. */
function readRows(rows) {
  const byId = new Map();
  for (const place of places) byId.set(exact.id[place], byId.has(exact.id[place]) ? undefined : place);
  const found = new Map();
  const refused = { 'of an image that is not in this report': 0, 'with another given label': 0, 'without a decision of this run': 0 };
  const [unknown, other, broken] = Object.keys(refused);
  for (const row of rows) {
    const [, id, label, ...choice] = row;
    const place = byId.get(id);
    // A spreadsheet may leave out the separator before an empty last cell.
    if (![COLUMNS.length - 1, COLUMNS.length].includes(row.length) || found.has(place)) refused[broken] += 1;
    else if (place === undefined) refused[unknown] += 1;
    else if (label !== exactlyGiven(place)) refused[other] += 1;
    else if (!decisionIn(place, ...choice)) refused[broken] += 1;
    else found.set(place, decisionIn(place, ...choice));
  }
  return [found, refused];
}

/** Applies the decisions of a file, those that differ from what is decided here only if that is confirmed. */
function loadDecisions(name, text) {
  const rows = parseCsv(text);
  if (rows?.[0]?.join() !== COLUMNS.join()) {
    say(`${name} cannot be loaded: its first line has to be ${COLUMNS.join()}.`);
    return;
  }
  const [found, refused] = readRows(rows.slice(1));
  const changing = [...found].filter(([place, decision]) => !isSame(place, decision));
  const fresh = changing.filter(([place]) => isOpen(place));
  const load = (changes) => {
    act(changes);
    refreshList();
    const reasons = Object.entries(refused).filter(([, rowCount]) => rowCount)
      .map(([reason, rowCount]) => `${amount(rowCount, 'row')} ${reason}`);
    const same = found.size - changing.length;
    say(`${name}: ${amount(changes.length, 'decision')} loaded${same ? `, ${count(same)} were made here already` : ''}.`
      + (reasons.length ? ` Left out: ${reasons.join(', ')}.` : ''));
  };
  const differing = changing.length - fresh.length;
  if (!differing) {
    load(fresh);
    return;
  }
  const answers = { ...(fresh.length ? { new: `Load the other ${count(fresh.length)}` } : {}), all: `Replace ${count(differing)}` };
  ask(`${name} differs from ${amount(differing, 'decision')} made here. Replace ${differing === 1 ? 'it' : 'them'}?`, answers,
    (answer) => load(answer === 'all' ? changing : fresh));
}

$('load').addEventListener('click', () => $('load-file').click());
$('load-file').addEventListener('change', async () => {
  const [file] = $('load-file').files;
  if (!file) return;
  try {
    loadDecisions(shown(file.name), textOf(new Uint8Array(await file.arrayBuffer())));
  } catch {
    say(`${shown(file.name)} cannot be read.`);
  }
  $('load-file').value = ''; // so that the same file can be chosen again
});
