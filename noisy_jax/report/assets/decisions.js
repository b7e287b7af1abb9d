// Decisions on images, which this browser keeps and downloads as CSV.
const images = data.gallery; // by column; an image is a place in them
const places = images.index.map((_, place) => place);
const decisions = new Map(); // place -> [decision, label]
const storageKey = `noisy_jax:${data.run}`;
let isKept = true; // whether this browser stores decisions

/** Calls `visit` for each place with the stored decisions by index, also of images that this page does not show. */
function withStored(visit) {
  try {
    const stored = JSON.parse(localStorage.getItem(storageKey) ?? '{}');
    for (const place of places) visit(place, stored);
    localStorage.setItem(storageKey, JSON.stringify(stored));
  } catch {
    isKept = false;
  }
}

function readDecision(place, stored) {
  const found = stored[images.index[place]];
  if (found && (found[0] === 'drop' || data.classes.includes(found[1]))) decisions.set(place, found);
}

function keepDecision(place, stored) {
  if (decisions.has(place)) stored[images.index[place]] = decisions.get(place);
  else delete stored[images.index[place]];
}

/** Decides on images: 'accept', 'keep', 'drop', 'undo', or 'other' with the number of a class. */
function decide(chosen, kind, other) {
  for (const place of chosen) {
    const given = images.given[place];
    const label = { accept: images.suggested[place], keep: given, other }[kind];
    if (kind === 'undo') decisions.delete(place);
    else if (kind === 'drop') decisions.set(place, ['drop', '']);
    else decisions.set(place, [label === given ? 'keep' : 'relabel', data.classes[label]]);
  }
  withStored(keepDecision);
}

const quoted = (value) => (/[",\r\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : String(value));

function decisionsAsCsv() {
  const rows = [...decisions.keys()]
    .sort((a, b) => images.index[a] - images.index[b])
    .map((place) => [images.index[place], images.id[place], data.classes[images.given[place]], ...decisions.get(place)]);
  return [['index', 'id', 'given_label', 'decision', 'label'], ...rows]
    .map((row) => `${row.map(quoted).join(',')}\n`)
    .join('');
}

$('download').addEventListener('click', () => {
  const link = element('a', { download: 'reviewed.csv' });
  link.href = URL.createObjectURL(new Blob([decisionsAsCsv()], { type: 'text/csv' }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});

withStored(readDecision);
