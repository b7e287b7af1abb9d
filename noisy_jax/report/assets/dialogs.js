// What the page says and asks.
const amount = (number, thing) => `${count(number)} ${thing}${number === 1 ? '' : 's'}`;

/** Shows a notice until the next; in the dialog too, since what is behind it is not read out. */
function say(text) {
  for (const notice of document.querySelectorAll('.notice')) notice.textContent = text;
}

/** Asks; calls `use` with the chosen key of `answers` {key: text}, not if it is cancelled. */
function ask(question, answers, use) {
  const dialog = $('ask');
  $('question').textContent = question;
  const buttons = Object.entries(answers).map(([key, text]) => element('button', { value: key }, text));
  buttons.at(-1).classList.add('primary');
  $('answers').replaceChildren(element('button', { value: '' }, 'Cancel'), ...buttons);
  dialog.returnValue = '';
  dialog.onclose = () => { if (dialog.returnValue) use(dialog.returnValue); };
  dialog.showModal();
  buttons.at(-1).focus();
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
$('help-button').addEventListener('click', () => $('help').showModal());
