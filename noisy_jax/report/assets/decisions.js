// Decisions on images, which this browser keeps, and the history that undoes them.
const images = data.gallery; // by column; an image is a place in them
const places = images.index.map((_, place) => place);
const decisions = new Map(); // place -> [decision, exact label]
const past = []; // an entry per action: [place, decision before it or undefined] of each image that it changed
const storageKey = `noisy_jax:${data.run}`;
let isKept = true; // whether this browser stores decisions

const isOpen = (place) => !decisions.has(place);
const isListed = (place) => isSuspect(images.clean[place]);
const given = (place) => data.classes[images.given[place]];
const suggested = (place) => data.classes[images.suggested[place]];

/** Calls `visit` for each place with the stored decisions by index, also of images that this page does not show. */
function withStored(chosen, visit) {
  try {
    const stored = JSON.parse(localStorage.getItem(storageKey) ?? '{}');
    for (const place of chosen) visit(place, stored);
    localStorage.setItem(storageKey, JSON.stringify(stored));
  } catch {
    isKept = false;
  }
}

function readDecision(place, stored) {
  const found = stored[images.index[place]];
  if (found && (found[0] === 'drop' || exact.classes.includes(found[1]))) decisions.set(place, found);
}

function keepDecision(place, stored) {
  if (decisions.has(place)) stored[images.index[place]] = decisions.get(place);
  else delete stored[images.index[place]];
}

/** The decision 'accept', 'keep', 'drop', 'other' with the number of a class, or undefined for 'clear'. */
function decisionOf(place, kind, other) {
  if (kind === 'clear') return undefined;
  if (kind === 'drop') return ['drop', ''];
  const label = { accept: images.suggested[place], keep: images.given[place], other }[kind];
  return [label === images.given[place] ? 'keep' : 'relabel', exact.classes[label]];
}

function set(changes) {
  for (const [place, decision] of changes) {
    if (decision) decisions.set(place, decision);
    else decisions.delete(place);
  }
  withStored(changes.map(([place]) => place), keepDecision);
  showEstimate();
}

const isSame = (place, decision) => String(decisions.get(place)) === String(decision);

/** Makes [place, decision] pairs one action; what is so already is no part of it. */
function act(changes) {
  const changing = changes.filter(([place, decision]) => !isSame(place, decision));
  if (!changing.length) return;
  past.push(changing.map(([place]) => [place, decisions.get(place)]));
  set(changing);
}

/** Takes the last action back; returns the places that it had changed. */
function takeBack() {
  const before = past.pop() ?? [];
  set(before);
  return before.map(([place]) => place);
}

withStored(places, readDecision);
