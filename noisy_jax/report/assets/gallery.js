// The gallery: filters, order, and the cards of one page.
const selected = new Set(); // places
let listed = []; // places, filtered and sorted
let page = 0;

for (const id of ['given', 'suggested']) {
  data.classes.forEach((name, number) => $(id).append(element('option', { value: number }, name)));
}
if (data.one_group) $('scope').value = 'all';

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

function matches(place) {
  const search = $('search').value.trim().toLowerCase();
  const status = $('status').value;
  return (
    ($('scope').value === 'all' || isSuspect(images.clean[place])) &&
    ($('given').value === '' || images.given[place] === Number($('given').value)) &&
    ($('suggested').value === '' || images.suggested[place] === Number($('suggested').value)) &&
    (status === '' || (decisions.get(place)?.[0] ?? 'open') === status) &&
    (search === '' || images.id[place].toLowerCase().includes(search))
  );
}

/** Filters and sorts, then shows the first page, or that of the image at `place`. */
function list(place) {
  listed = places.filter(matches).sort(ORDERS[$('sort').value]);
  for (const chosen of selected) if (!matches(chosen)) selected.delete(chosen);
  page = place === undefined ? 0 : Math.max(0, Math.floor(listed.indexOf(place) / pageSize()));
  showPage();
}

function makeCard(place) {
  const [given, suggested] = [data.classes[images.given[place]], data.classes[images.suggested[place]]];
  const id = images.id[place];
  const picture = element('img', { src: images.image[place], alt: `${id}: given ${given}, suggested ${suggested}` });
  picture.addEventListener('load', () => {
    picture.classList.toggle('pixels', Math.max(picture.naturalWidth, picture.naturalHeight) <= 48);
  });
  const button = (kind, text, label) =>
    element('button', { type: 'button', 'data-decide': kind, 'aria-label': label }, text);
  return element(
    'li',
    { class: 'card', tabindex: '0', 'data-place': place, 'aria-label': `${id}: given ${given}, suggested ${suggested}` },
    element('div', { class: 'picture' }, picture, element('input', { type: 'checkbox', 'aria-label': `Select ${id}` }),
      element('span', { class: 'badge' })),
    element('p', { class: 'labels' }, element('span', { class: 'given' }, given), element('span', { class: 'arrow' }, ' → '),
      element('strong', {}, suggested)),
    element('p', { class: 'chances' }, ...(data.one_group ? [] : [`given right ${chance(images.clean[place])}`, element('br')]),
      `suggested ${chance(images.pred_prob[place])}`),
    element('p', { class: 'file', title: id }, id),
    element('div', { class: 'choices' },
      button('accept', 'Accept', `Accept ${suggested} for ${id}`), button('keep', 'Keep', `Keep ${given} for ${id}`),
      button('other', 'Other…', `Another class for ${id}`), button('drop', 'Drop', `Drop ${id}`)),
  );
}

/** Updates a card to its selection and decision. */
function refresh(card) {
  const place = Number(card.dataset.place);
  const [decision, label] = decisions.get(place) ?? ['', ''];
  const kind = decision === 'relabel' && label !== data.classes[images.suggested[place]] ? 'other'
    : { relabel: 'accept', keep: 'keep', drop: 'drop' }[decision];
  card.dataset.decision = decision;
  card.querySelector('.badge').textContent = { relabel: `→ ${label}`, keep: 'kept', drop: 'dropped' }[decision] ?? '';
  for (const button of card.querySelectorAll('[data-decide]')) {
    button.setAttribute('aria-pressed', String(button.dataset.decide === kind));
  }
  card.querySelector('input').checked = selected.has(place);
  card.classList.toggle('selected', selected.has(place));
}

function refreshAll() {
  $('cards').querySelectorAll('.card').forEach(refresh);
  const undecided = listed.filter((place) => !decisions.has(place)).length;
  $('status-line').textContent =
    `${count(listed.length)} images, ${count(undecided)} undecided` + (selected.size ? `, ${count(selected.size)} selected` : '');
  $('select-all').textContent = `Select all ${count(listed.length)}`;
  for (const button of $('bulk').children) button.disabled = selected.size === 0;
  $('download').textContent = `Download decisions (${count(decisions.size)})`;
  $('download').disabled = decisions.size === 0;
}

function showPage() {
  $('cards').replaceChildren(...onPage().map(makeCard));
  if (!listed.length) $('cards').append(element('li', { class: 'empty' }, 'No image matches these filters.'));
  $('page-line').textContent = `page ${count(page + 1)} of ${count(pages())}`;
  $('previous').disabled = page === 0;
  $('next').disabled = page + 1 >= pages();
  const [suspects, here] = [data.cuts.suspects[cut], places.filter((place) => isSuspect(images.clean[place])).length];
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
  showPage();
  return true;
}
