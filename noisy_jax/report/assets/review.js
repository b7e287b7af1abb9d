// Input: filters, pages, selection, decisions, keys.
const cardOf = (target) => target.closest?.('.card') ?? null;
const placeOf = (card) => Number(card.dataset.place);
const cardAt = (number) => $('cards').querySelectorAll('.card')[number] ?? null;

/** Applies a decision to places; 'other' first asks for the class. */
function decideOn(chosen, kind, after = () => {}) {
  const finish = (other) => {
    decide(chosen, kind, other);
    refreshAll();
    after();
  };
  if (kind === 'other') chooseClass(finish);
  else finish();
}

function chooseClass(use) {
  const dialog = $('choose');
  const fill = () => {
    const search = $('choose-search').value.trim().toLowerCase();
    const found = data.classes.map((name, number) => [name, number]).filter(([name]) => name.toLowerCase().includes(search));
    $('choose-class').replaceChildren(...found.map(([name, number]) => element('option', { value: number }, name)));
    $('choose-class').selectedIndex = 0;
  };
  $('choose-search').value = '';
  $('choose-search').oninput = fill;
  fill();
  dialog.returnValue = '';
  dialog.onclose = () => {
    if (dialog.returnValue === 'ok' && $('choose-class').value !== '') use(Number($('choose-class').value));
  };
  dialog.showModal();
}
// By default Enter presses the first button of the form, which cancels.
$('choose').addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.target.tagName === 'BUTTON') return;
  event.preventDefault();
  $('choose').close('ok');
});
$('choose-class').addEventListener('dblclick', () => $('choose').close('ok'));

function select(card, isSelected) {
  if (isSelected) selected.add(placeOf(card));
  else selected.delete(placeOf(card));
  refreshAll();
}

$('cards').addEventListener('click', (event) => {
  const card = cardOf(event.target);
  const kind = event.target.dataset.decide;
  if (!card || !kind) return;
  const isUndo = event.target.getAttribute('aria-pressed') === 'true' && kind !== 'other';
  decideOn([placeOf(card)], isUndo ? 'undo' : kind);
});
$('cards').addEventListener('change', (event) => select(cardOf(event.target), event.target.checked));

// The change event of the search fires when a click leaves it, and would replace the clicked card.
$('filters').addEventListener('change', (event) => { if (event.target !== $('search')) list(); });
$('search').addEventListener('input', () => list());
$('filters').addEventListener('submit', (event) => event.preventDefault());
$('previous').addEventListener('click', () => turnPage(-1));
$('next').addEventListener('click', () => turnPage(1) && $('gallery').scrollIntoView());
$('select-page').addEventListener('click', () => { onPage().forEach((place) => selected.add(place)); refreshAll(); });
$('select-all').addEventListener('click', () => { listed.forEach((place) => selected.add(place)); refreshAll(); });
$('select-none').addEventListener('click', () => { selected.clear(); refreshAll(); });
$('bulk').addEventListener('click', (event) => {
  if (event.target.dataset.bulk) decideOn([...selected], event.target.dataset.bulk);
});
$('help-button').addEventListener('click', () => $('help').showModal());
$('health').addEventListener('click', (event) => {
  if (event.target.dataset.given === undefined) return;
  $('filters').reset();
  if (data.one_group) $('scope').value = 'all';
  $('given').value = event.target.dataset.given;
  list();
  $('gallery').scrollIntoView();
});

/** Shows an image regardless of the filters. */
function openImage(place) {
  $('filters').reset();
  $('scope').value = 'all';
  list(place);
  const card = $('cards').querySelector(`[data-place="${place}"]`);
  card.focus({ preventScroll: true });
  card.scrollIntoView({ block: 'center' });
}

function columns() {
  const cards = [...$('cards').children];
  const first = cards[0].offsetTop;
  const next = cards.findIndex((card) => card.offsetTop > first);
  return next < 0 ? cards.length : next;
}

const DECISION_KEYS = { a: 'accept', k: 'keep', d: 'drop', u: 'undo', c: 'other' };

function onCard(card, key) {
  const number = [...$('cards').children].indexOf(card);
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(), ArrowDown: columns() }[key];
  if (step) cardAt(number + step)?.focus();
  else if (key === 'x') select(card, !selected.has(placeOf(card)));
  else if (DECISION_KEYS[key]) decideOn([placeOf(card)], DECISION_KEYS[key], () => (cardAt(number + 1) ?? card).focus());
  else return false;
  return true;
}

document.addEventListener('keydown', (event) => {
  const inField = event.target.matches?.('input:not([type=checkbox]), select, textarea');
  if (inField || event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
  const card = cardOf(event.target);
  let used = true;
  if (event.key === '?') $('help').showModal();
  else if (event.key === 'n' || event.key === 'p') {
    if (turnPage(event.key === 'n' ? 1 : -1)) cardAt(0)?.focus();
  } else used = card !== null && onCard(card, event.key);
  if (used) event.preventDefault();
});

changed.push(() => list());
list();
