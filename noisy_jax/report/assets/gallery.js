// The gallery: filters, order, and the cards of one page.
const selected = new Set(); // places
let listed = []; // places, filtered and sorted
let page = 0;

for (const id of ['given', 'suggested']) {
  data.classes.forEach((name, number) => $(id).append(element('option', { value: number }, name)));
}
const nothingListed = () => data.one_group || !data.cuts.suspects[cut];
if (nothingListed()) $('scope').value = 'all';

const hidingKey = 'noisy_jax:hide_decided'; // of all reports
try {
  $('hide').checked = localStorage.getItem(hidingKey) === 'yes';
} catch {
  isKept = false;
}

const pageSize = () => Number($('size').value);
const pages = () => Math.max(1, Math.ceil(listed.length / pageSize()));
const onPage = () => listed.slice(page * pageSize(), (page + 1) * pageSize());
const fileOrder = new Intl.Collator('en', { numeric: true });

const ORDERS = {
  suspicion: (a, b) => a - b,
  least: (a, b) => b - a,
  sure: (a, b) => images.pred_prob[b] - images.pred_prob[a] || a - b,
  given: (a, b) => images.given[a] - images.given[b] || a - b,
  suggested: (a, b) => images.suggested[a] - images.suggested[b] || a - b,
  file: (a, b) => fileOrder.compare(images.id[a], images.id[b]),
};

const hidesDecided = () => $('status').value === 'open' || ($('status').value === '' && $('hide').checked);

const SCOPES = { suspects: isListed, sample: (place) => sample.has(place), all: () => true };

function matches(place) {
  const search = $('search').value.trim().toLowerCase();
  const status = $('status').value;
  return (
    SCOPES[$('scope').value](place) &&
    ($('given').value === '' || images.given[place] === Number($('given').value)) &&
    ($('suggested').value === '' || images.suggested[place] === Number($('suggested').value)) &&
    (status === '' || (decisions.get(place)?.[0] ?? 'open') === status) &&
    (isOpen(place) || !hidesDecided()) &&
    (search === '' || images.id[place].toLowerCase().includes(search))
  );
}

function filter() {
  listed = places.filter(matches).sort(ORDERS[$('sort').value]);
  for (const chosen of selected) if (!matches(chosen)) selected.delete(chosen);
}

/** Filters and sorts, then shows the first page, or that of the image at `place`. */
function list(place) {
  filter();
  page = place === undefined ? 0 : Math.max(0, Math.floor(listed.indexOf(place) / pageSize()));
  say('');
  showPage();
}

/** Shows what has been decided; images leave the list, or come back, where decided ones are hidden. */
function refreshList() {
  if (hidesDecided()) {
    filter();
    page = Math.min(page, pages() - 1);
    showPage();
  } else refreshAll();
}

const describe = (place) => `${images.id[place]}: given ${given(place)}, suggested ${suggested(place)}`;

const labelsOf = (place) => [element('span', { class: 'given' }, given(place)), element('span', { class: 'arrow' }, ' → '),
  element('strong', {}, suggested(place))];

const chancesOf = (place) => [...(data.one_group ? [] : [`given right ${chance(images.clean[place])}`, element('br')]),
  `suggested ${chance(images.pred_prob[place])}`, ...(similarTo(place).length ? [element('br'), votesOf(place)] : [])];

function pictureOf(place) {
  const picture = element('img', { src: images.image[place], alt: describe(place) });
  picture.addEventListener('load', () => {
    picture.classList.toggle('pixels', Math.max(picture.naturalWidth, picture.naturalHeight) <= 48);
  });
  return picture;
}

function makeCard(place) {
  const id = images.id[place];
  const button = (kind, text, label) =>
    element('button', { type: 'button', 'data-decide': kind, 'aria-label': label }, text);
  return element(
    'li',
    { class: 'card', tabindex: '0', 'data-place': place, 'aria-label': describe(place) },
    element('div', { class: 'picture' }, element('input', { type: 'checkbox', 'aria-label': `Select ${id}` }),
      element('button', { type: 'button', class: 'enlarge', 'aria-label': `Enlarge ${id}` }, pictureOf(place)),
      element('span', { class: 'badge' })),
    element('p', { class: 'labels' }, ...labelsOf(place)),
    element('p', { class: 'chances' }, ...chancesOf(place)),
    element('p', { class: 'file', title: id }, id),
    element('div', { class: 'choices' },
      button('accept', 'Accept', `Accept ${suggested(place)} for ${id}`), button('keep', 'Keep', `Keep ${given(place)} for ${id}`),
      button('other', 'Other…', `Another class for ${id}`), button('drop', 'Drop', `Drop ${id}`)),
  );
}

function badgeOf(place) {
  const [decision, label] = decisions.get(place) ?? [];
  return { relabel: `→ ${classShown(label ?? '')}`, keep: 'kept', drop: 'dropped' }[decision] ?? '';
}

/** Marks the button of the decision on an image. */
function showKind(buttons, place) {
  const [decision, label] = decisions.get(place) ?? [];
  const kind = decision === 'relabel' && label !== exact.classes[images.suggested[place]] ? 'other'
    : { relabel: 'accept', keep: 'keep', drop: 'drop' }[decision];
  for (const button of buttons.querySelectorAll('[data-decide]')) {
    button.setAttribute('aria-pressed', String(button.dataset.decide === kind));
  }
}

/** Updates a card to its selection and decision. */
function refresh(card) {
  const place = Number(card.dataset.place);
  card.dataset.decision = decisions.get(place)?.[0] ?? '';
  card.querySelector('.badge').textContent = badgeOf(place);
  showKind(card, place);
  card.querySelector('input').checked = selected.has(place);
  card.classList.toggle('selected', selected.has(place));
}

function refreshAll() {
  $('cards').querySelectorAll('.card').forEach(refresh);
  const undecided = listed.filter(isOpen).length;
  $('status-line').textContent =
    `${count(listed.length)} images, ${count(undecided)} undecided` + (selected.size ? `, ${count(selected.size)} selected` : '');
  $('select-all').textContent = `Select all ${count(listed.length)}`;
  for (const button of $('bulk').children) button.disabled = selected.size === 0;
  $('undo').disabled = past.length === 0;
  $('download').textContent = `Download decisions (${count(decisions.size)})`;
  $('download').disabled = decisions.size === 0;
}

function showPage() {
  const before = new Map([...$('cards').querySelectorAll('.card')].map((card) => [placeOf(card), card]));
  $('cards').replaceChildren(...onPage().map((place) => before.get(place) ?? makeCard(place)));
  if (!listed.length) {
    const hidden = hidesDecided() && decisions.size ? ' Decided images are hidden.' : '';
    $('cards').append(element('li', { class: 'empty' }, `No image matches these filters.${hidden}`));
  }
  $('page-line').textContent = `page ${count(page + 1)} of ${count(pages())}`;
  $('previous').disabled = page === 0;
  $('next').disabled = page + 1 >= pages();
  const [suspects, here] = [data.cuts.suspects[cut], places.filter(isListed).length];
  $('note').textContent = [
    suspects > here ? `This page has the ${count(places.length)} most suspicious images; ${count(suspects - here)} more `
      + `likely label errors are in labels.csv only (--config.report.gallery=${suspects} shows them).` : '',
    isKept ? 'Decisions stay in this browser until you download them.'
      : 'This browser does not keep decisions: download them before you close the page.',
  ].filter(Boolean).join(' ');
  refreshAll();
}

function turnPage(by) {
  const to = Math.min(Math.max(page + by, 0), pages() - 1);
  if (to === page) return false;
  page = to;
  say('');
  showPage();
  return true;
}

/** Whether the listed images are all decided; then it says so. */
function sayIfAllDecided() {
  if (listed.some(isOpen)) return false;
  const others = places.filter(isOpen).length;
  say(others ? `Everything in this list is decided; ${amount(others, 'other image')} in this report ${others === 1 ? 'is' : 'are'} not.`
    : 'Every image in this report is decided. Download the decisions to use them.');
  return true;
}

/** Turns to the next page with undecided images, after the last the first, if those shown are decided. */
function goOn() {
  if (onPage().some(isOpen)) return false;
  const from = page;
  const later = listed.findIndex((place, number) => number >= (from + 1) * pageSize() && isOpen(place));
  page = Math.floor((later < 0 ? listed.findIndex(isOpen) : later) / pageSize());
  showPage();
  say(`Page ${count(from + 1)} is decided. This is page ${count(page + 1)} of ${count(pages())}.`);
  return true;
}
