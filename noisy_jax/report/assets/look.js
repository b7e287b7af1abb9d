// The images of the section on the data: one large, in a dialog of its own, since the list may lack it.
for (const [name, id] of [['with-data-issues', 'data-issues'], ['with-training', 'training']]) {
  for (const link of document.querySelectorAll(`.${name}`)) link.hidden = !$(id);
}

for (const picture of document.querySelectorAll('#data-issues img')) {
  picture.classList.toggle('pixels', Math.max(picture.naturalWidth, picture.naturalHeight) <= 48);
}

const placeOfRow = new Map(images.index.map((row, place) => [row, place]));
let looked; // place in the list of the image that is looked at, if it is there

function look(button) {
  const picture = button.querySelector('img').cloneNode();
  const { file, about, row, path } = button.dataset;
  const url = path === undefined ? null : urlOf(path);
  looked = row === undefined ? undefined : placeOfRow.get(Number(row));
  $('look-picture').replaceChildren(picture);
  $('look-id').textContent = file;
  $('look-about').textContent = about;
  $('look-decide').hidden = looked === undefined;
  $('look-source').replaceChildren(...(url === null ? [] : [element('a', { href: url, target: '_blank', rel: 'noopener' }, 'Open the file')]));
  $('look').showModal();
  $('look').focus();
  if (url === null) return;
  const original = new Image();
  original.addEventListener('load', () => {
    if (!picture.isConnected) return;
    picture.classList.toggle('pixels', Math.max(original.naturalWidth, original.naturalHeight) <= 48);
    picture.src = url;
  });
  original.src = url;
}

$('data-issues')?.addEventListener('click', (event) => {
  const button = event.target.closest('.look');
  if (button) look(button);
});
$('look-close').addEventListener('click', () => $('look').close());
$('look-decide').addEventListener('click', () => {
  $('look').close();
  openLarge(looked);
});
