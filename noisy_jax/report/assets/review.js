// Input: filters, pages, selection, decisions, undo, keys.
const cardOf = (target) => target.closest?.('.card') ?? null;
const placeOf = (card) => Number(card.dataset.place);
const cardAt = (number) => $('cards').querySelectorAll('.card')[number] ?? null;

/** Focuses the card of an image of the list, on whatever page it is; if the list lacks it, another. */
function focusOn(place) {
  const at = listed.indexOf(place);
  if (at >= 0 && !onPage().includes(place)) {
    page = Math.floor(at / pageSize());
    showPage();
  }
  ($('cards').querySelector(`[data-place="${place}"]`) ?? cardAt(0) ?? $('status-line')).focus();
}

function decide(chosen, kind, other) {
  say('');
  act(chosen.map((place) => [place, decisionOf(place, kind, other)]));
  refreshList();
}

/** Decides on images; 'other' first asks for the class. `after` gets whether any was undecided, and whether none is now. */
function decideOn(chosen, kind, after) {
  const finish = (other) => {
    const isNew = chosen.some(isOpen);
    decide(chosen, kind, other);
    after(isNew, isNew && sayIfAllDecided());
  };
  if (kind === 'other') chooseClass(finish);
  else finish();
}

/** Decides on the image of a card, and goes on to the next page at the end; `moves`: to the next card too. */
function decideOnCard(card, kind, moves) {
  const place = placeOf(card);
  const among = hidesDecided() ? listed : onPage();
  const following = among[among.indexOf(place) + 1];
  decideOn([place], kind, (isNew, isAllDecided) => {
    if (isNew && !isAllDecided && goOn()) focusOn(onPage().find(isOpen));
    else if ((moves && !isAllDecided) || !card.isConnected) focusOn(following ?? onPage().find(isOpen) ?? place);
  });
}

const BULK = {
  accept: () => ['Accept', 'Accept the suggested label of'],
  keep: () => ['Keep', 'Keep the given label of'],
  other: (label) => ['Set', `Set the label ${data.classes[label]} for`],
  drop: () => ['Drop', 'Drop'],
};

/** Decides on the selected images that are undecided, if that is confirmed. */
function decideOnSelected(kind) {
  const open = [...selected].filter(isOpen);
  const stay = selected.size - open.length;
  if (!open.length) {
    say('The selected images are all decided; undo decisions or change them one by one.');
    return;
  }
  const confirmed = (label) => {
    const [verb, question] = BULK[kind](label);
    const note = stay ? ` ${amount(stay, 'selected image')} decided already ${stay === 1 ? 'stays as it is' : 'stay as they are'}.` : '';
    ask(`${question} ${amount(open.length, 'undecided image')}?${note}`, { yes: `${verb} ${count(open.length)}` }, () => {
      selected.clear();
      decide(open, kind, label);
      say(`${amount(open.length, 'image')} decided.`);
      if (!sayIfAllDecided()) goOn();
      focusOn(onPage().find(isOpen));
    });
  };
  if (kind === 'other') chooseClass(confirmed);
  else confirmed();
}

/** Takes the last action back and shows what it was. */
function undo() {
  const undone = takeBack();
  if (!undone.length) {
    say('There is nothing to undo.');
    return;
  }
  refreshList();
  const shown = undone.find((place) => onPage().includes(place)) ?? undone[0];
  if ($('large').open) showLarge(undone.includes(large) ? large : shown);
  else if (listed.includes(shown)) focusOn(shown);
  say(undone.length > 1 ? `Undone: ${count(undone.length)} decisions made at once.`
    : `Undone: ${images.id[shown]} is ${badgeOf(shown) || 'undecided'}.`);
}

function select(card, isSelected) {
  if (isSelected) selected.add(placeOf(card));
  else selected.delete(placeOf(card));
  refreshAll();
}

$('cards').addEventListener('click', (event) => {
  const card = cardOf(event.target);
  const button = event.target.closest('button');
  if (!card || !button) return;
  if (button.classList.contains('enlarge')) openLarge(placeOf(card));
  else decideOnCard(card, kindOf(button), false);
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
  if (event.target.dataset.bulk) decideOnSelected(event.target.dataset.bulk);
});
$('undo').addEventListener('click', undo);
$('hide').addEventListener('change', () => {
  try {
    localStorage.setItem(hidingKey, $('hide').checked ? 'yes' : 'no');
  } catch {
    isKept = false;
  }
});
$('health').addEventListener('click', (event) => {
  if (event.target.dataset.given === undefined) return;
  resetFilters();
  if (nothingListed()) $('scope').value = 'all';
  $('given').value = event.target.dataset.given;
  list();
  $('gallery').scrollIntoView();
});

function resetFilters() {
  const isHiding = $('hide').checked; // no filter of the moment
  $('filters').reset();
  $('hide').checked = isHiding;
}

/** Shows an image regardless of the filters. */
function openImage(place) {
  resetFilters();
  $('scope').value = 'all';
  if (!isOpen(place)) $('hide').checked = false;
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

const DECISION_KEYS = { a: 'accept', k: 'keep', d: 'drop', c: 'other' };

/** The decision that a button stands for: pressed already, it takes the decision away. */
const kindOf = (button) =>
  (button.dataset.decide !== 'other' && button.getAttribute('aria-pressed') === 'true' ? 'clear' : button.dataset.decide);

function onCard(card, key) {
  const number = [...$('cards').children].indexOf(card);
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(), ArrowDown: columns() }[key];
  if (step) cardAt(number + step)?.focus();
  else if (key === 'x') select(card, !selected.has(placeOf(card)));
  else if (DECISION_KEYS[key]) decideOnCard(card, DECISION_KEYS[key], true);
  else return false;
  return true;
}

function onGallery(key, target) {
  const card = cardOf(target);
  if (key === 'u') undo();
  else if (key === 'n' || key === 'p') {
    if (turnPage(key === 'n' ? 1 : -1)) cardAt(0)?.focus();
  } else if (key === 'Enter') {
    if (target !== card) return false; // a button in the card, or anything else
    openLarge(placeOf(card));
  } else return card !== null && onCard(card, key);
  return true;
}

document.addEventListener('keydown', (event) => {
  const inField = event.target.matches?.('input:not([type=checkbox]), select, textarea');
  if (inField || event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]:not(#large)')) return;
  if (event.key === '?') $('help').showModal();
  else if (!($('large').open ? onLarge(event.key) : onGallery(event.key, event.target))) return;
  event.preventDefault();
});

changed.push(() => list());
list();
