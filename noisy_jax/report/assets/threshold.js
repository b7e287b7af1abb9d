// The data, the threshold with its effects, and sortable tables.
const data = JSON.parse(document.getElementById('data').textContent);
const $ = (id) => document.getElementById(id);
const changed = []; // called after the threshold has moved

function percent(value) {
  if (value > 0 && value < 0.0005) return '<\u00a00.1\u00a0%';
  if (value >= 0.9995 && value < 1) return '>\u00a099.9\u00a0%';
  return `${(100 * value).toFixed(1)}\u00a0%`;
}

// As on top of the page: with a decimal where whole numbers would say too little.
function percents(low, high) {
  const digits = high - low >= 0.1 ? 0 : 1;
  return `${(100 * low).toFixed(digits)} to ${(100 * high).toFixed(digits)}\u00a0%`;
}

// A probability of labels.csv, whose six digits may round it to 0 or 1.
const chance = (value) => percent(Math.min(Math.max(value, 1e-6), 1 - 1e-6));

const count = (value) => value.toLocaleString('en-US');

const element = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};

const thresholds = data.cuts.threshold;
let cut = thresholds.indexOf(data.threshold);
const hasJudge = Boolean(data.cuts.least); // who made the list; else a mixture did

const isSuspect = (clean) => clean < thresholds[cut];

function showThreshold() {
  const suspects = data.cuts.suspects[cut];
  const caught = data.cuts.caught[cut];
  $('cut').value = thresholds[cut];
  $('cut').setAttribute('aria-valuetext', `${thresholds[cut]}: ${count(suspects)} likely label errors`);
  $('suspects').textContent = `${count(suspects)} (${percent(suspects / data.images)})`;
  if (!hasJudge) { // else decisions count too
    $('precision').textContent = suspects ? percent(caught / suspects) : '–';
    $('recall').textContent = data.wrong ? percent(caught / data.wrong) : '–';
  }
  if (data.cuts.hits) {
    const hits = data.cuts.hits[cut];
    $('true-precision').textContent = suspects ? percent(hits / suspects) : '–';
    $('true-recall').textContent = data.true_wrong ? percent(hits / data.true_wrong) : '–';
  }
  const rerun = thresholds[cut] === data.threshold ? '' : `--config.report.threshold=${thresholds[cut]}`;
  $('rerun').replaceChildren(...(rerun ? ['Rerun the command with ', element('code', {}, rerun), ' to write labels.csv with this threshold.'] : []));

  const { left, right } = $('histogram').dataset;
  const border = data.cuts.border[cut];
  const hidden = border === null || data.one_group;
  const x = Number(left) + (border ?? 0) * (right - left);
  $('marker').setAttribute('transform', `translate(${x.toFixed(1)} 0)`);
  $('suspected').setAttribute('x', x.toFixed(1));
  $('suspected').setAttribute('width', (right - x).toFixed(1));
  $('marker').style.display = $('suspected').style.display = hidden ? 'none' : '';
}

function moveThreshold(value) {
  if (!(value >= 0 && value <= 1)) return;
  const nearest = Math.round(value * 1000);
  if (nearest === cut) return;
  cut = nearest;
  showThreshold();
  changed.forEach((follow) => follow());
}

$('cut').addEventListener('input', (event) => {
  moveThreshold(event.target.valueAsNumber);
  $('cut-number').value = thresholds[cut];
});
$('cut-number').addEventListener('input', (event) => moveThreshold(event.target.valueAsNumber));
$('cut-number').addEventListener('change', (event) => { event.target.value = thresholds[cut]; });
$('cut-number').value = thresholds[cut];
document.body.classList.add(data.one_group ? 'one-group' : 'two-groups');
document.body.classList.add(hasJudge ? 'has-judge' : 'has-mixture');
document.body.classList.toggle('no-truth', !data.cuts.hits);
document.body.classList.toggle('no-map', !data.map);
showThreshold();

// As styles written in the page they would be forbidden by its policy.
for (const cell of document.querySelectorAll('[data-share]')) cell.style.setProperty('--share', cell.dataset.share);

for (const table of document.querySelectorAll('table.sortable')) {
  const heads = [...table.tHead.rows[0].cells];
  table.tHead.addEventListener('click', (event) => {
    const head = event.target.closest('th');
    const column = heads.indexOf(head);
    const keys = new Map([...table.tBodies[0].rows].map((row) => [row, row.cells[column].dataset.sort]));
    const isNumber = [...keys.values()].every((key) => key !== '' && !Number.isNaN(Number(key)));
    // The first click sorts numbers from the largest, names from a to z; the second reverses the order.
    const ascending = head.getAttribute('aria-sort') ? head.getAttribute('aria-sort') === 'descending' : !isNumber;
    const sign = ascending ? 1 : -1;
    const compare = (a, b) => (isNumber ? keys.get(a) - keys.get(b) : keys.get(a).localeCompare(keys.get(b)));
    heads.forEach((other) => other.removeAttribute('aria-sort'));
    head.setAttribute('aria-sort', ascending ? 'ascending' : 'descending');
    table.tBodies[0].append(...[...keys.keys()].sort((a, b) => sign * compare(a, b)));
  });
}
