// One image large, in a dialog that steps through the list.
let large = -1; // its place

/** The thumbnail, and the file instead as soon as it has loaded. */
function showPicture(place) {
  const picture = pictureOf(place);
  const file = fileOf(place);
  $('large-picture').replaceChildren(picture);
  const source = (text) => $('large-source').replaceChildren(
    text, ...(file === null ? [] : [' ', element('a', { href: file, target: '_blank', rel: 'noopener' }, 'Open the file')]));
  source(file === null ? 'Thumbnail, the only picture in this report.' : 'Thumbnail.');
  if (file === null) return;
  const original = new Image();
  const isCurrent = () => large === place && picture.isConnected;
  original.addEventListener('load', () => {
    if (!isCurrent()) return;
    picture.src = file;
    source(`Original, ${original.naturalWidth} × ${original.naturalHeight} pixels.`);
  });
  original.addEventListener('error', () => { if (isCurrent()) source('Thumbnail: the browser cannot show the original from here.'); });
  original.src = file;
}

/** Shows an image, and the page of the gallery that it is on behind it. */
function showLarge(place) {
  large = place;
  showPicture(place);
  const at = listed.indexOf(place);
  if (at >= 0 && Math.floor(at / pageSize()) !== page) {
    page = Math.floor(at / pageSize());
    showPage();
  }
  $('large-id').textContent = images.id[place];
  $('large-labels').replaceChildren(...labelsOf(place));
  $('large-chances').replaceChildren(...chancesOf(place));
  $('large-evidence').replaceChildren(...evidenceOn(place));
  refreshLarge();
}

function refreshLarge() {
  const at = listed.indexOf(large);
  const decision = badgeOf(large) || 'undecided';
  $('large-state').textContent = at < 0 ? decision : `${count(at + 1)} of ${count(listed.length)}, ${decision}`;
  showKind($('large-choices'), large);
}

function openLarge(place) {
  say('');
  showLarge(place);
  $('large').showModal();
  $('large').focus();
}

function step(by) {
  const next = listed[listed.indexOf(large) + by];
  if (next === undefined) say(`This is the ${by > 0 ? 'last' : 'first'} image of the list.`);
  else {
    say('');
    showLarge(next);
  }
}

/** Decides, and goes on to the next image, at the end of the list to the first undecided one. */
function decideLarge(kind) {
  const next = listed[listed.indexOf(large) + 1];
  decideOn([large], kind, (_, isAllDecided) => {
    const left = listed.filter(isOpen);
    if (kind === 'clear' || isAllDecided) refreshLarge();
    else if (next !== undefined) showLarge(next);
    else if (left.length) {
      showLarge(left[0]);
      say(`The list is at its end; ${amount(left.length, 'image')} of it ${left.length === 1 ? 'is' : 'are'} undecided. This is the first.`);
    } else refreshLarge();
  });
}

const LARGE = { close: () => $('large').close(), previous: () => step(-1), next: () => step(1), undo: () => undo() };
const LARGE_KEYS = { ArrowLeft: 'previous', ArrowRight: 'next', u: 'undo' };

function onLarge(key) {
  if (LARGE_KEYS[key]) LARGE[LARGE_KEYS[key]]();
  else if (DECISION_KEYS[key]) decideLarge(DECISION_KEYS[key]);
  else return false;
  return true;
}

$('large').addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (button?.dataset.decide) decideLarge(kindOf(button));
  else if (button) LARGE[button.dataset.large]();
});
$('large').addEventListener('close', () => {
  $('large-picture').replaceChildren();
  $('large-evidence').replaceChildren();
  if (listed.some(isOpen)) say('');
  focusOn(large);
});
