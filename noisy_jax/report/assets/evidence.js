// What helps to decide on an image: the images most similar to it, and typical ones of its classes. They are places of
// the gallery or, from its length on, of data.others.
const beside = (column, place) => (place < places.length ? images[column][place] : data.others[column][place - places.length]);

/** Where the file of an image is; null where the data has none. */
const fileOf = (place) => urlOf(pathOf(place < places.length ? exact.id[place] : exact.others[place - places.length]));

const similarTo = (place) => data.similar[place];

/** Which label most of the similar images have, and how many. */
function votesOf(place) {
  const votes = new Map();
  for (const other of similarTo(place)) {
    const label = beside('given', other);
    votes.set(label, (votes.get(label) ?? 0) + 1);
  }
  const most = Math.max(...votes.values());
  const [first, ...ties] = [...votes.keys()].filter((label) => votes.get(label) === most).map((label) => data.classes[label]);
  const others = ties.length > 1 ? ', others as many' : ties.map((name) => `, ${most} ${name}`).join('');
  return `similar images: ${most} of ${similarTo(place).length} ${first}${others}`;
}

/** A row of small images with their labels; `place` is that of the image they are shown for. */
function besideRow(title, others, place) {
  const figures = others.map((other) => {
    const [label, id] = [beside('given', other), beside('id', other)];
    const kind = label === images.given[place] ? 'given' : label === images.suggested[place] ? 'suggested' : '';
    const picture = element('img', { src: beside('image', other), alt: `${id}: ${data.classes[label]}`, title: id });
    picture.addEventListener('load', () => picture.classList.toggle('pixels', picture.naturalWidth <= 48));
    const url = fileOf(other);
    const linked = url === null ? picture : element('a', { href: url, target: '_blank', rel: 'noopener' }, picture);
    return element('figure', {}, linked, element('figcaption', { class: kind }, data.classes[label]));
  });
  return others.length ? [element('h4', {}, title), element('div', { class: 'beside' }, ...figures)] : [];
}

const evidenceOn = (place) => [
  ...besideRow('Most similar images, as they are labelled', similarTo(place), place),
  ...[...new Set([images.given[place], images.suggested[place]])].flatMap((label) =>
    besideRow(`Typical images of ${data.classes[label]}`, data.typical[label] ?? [], place)),
];
