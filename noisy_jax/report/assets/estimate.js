// What the decisions say of a judge's list: its precision, the wrong labels in all, and whether to look further.
const SAMPLE = 20; // images of the list to check at random
const AHEAD = 50; // undecided images that looking further is about
const HARDLY = 2; // wrong labels among those that are too few
const ENOUGH = 20; // decided images, from which looking further can be judged
const Z = 1.96; // of a normal distribution, for 95 %
let sample = new Set(); // places

const doubt = (place) => 1 - images.clean[place];
const isWrong = (place) => !isOpen(place) && decisions.get(place)[0] !== 'keep';
const sum = (values) => values.reduce((total, value) => total + value, 0);

/** How many times as many wrong labels were found as the judge expects, and two relative errors of it. */
function ratioFound() {
  const decided = [...decisions.keys()];
  const found = decided.filter(isWrong).length;
  // One pseudo-count keeps it near 1 while few are decided; the error is that of a Poisson count.
  return [(found + 1) / (sum(decided.map(doubt)) + 1), 2 / Math.sqrt(found + 1)];
}

/**
 * Wrong labels, [least, expected, most], among `size` with the doubts' sum `expected`, of which this page shows some.
 * `began`: the least and the most before any decision. They bound it as long as what was found is compatible.
 */
function wrongAmong(shown, size, expected, began) {
  const open = shown.filter(isOpen);
  const others = Math.max(size - shown.length, 0); // in labels.csv only: as if they were equally doubtful
  const mean = others && Math.max(expected - sum(shown.map(doubt)), 0) / others;
  const at = (ratio, errors) => {
    const chances = open.map((place) => Math.min(ratio * doubt(place), 1));
    const other = Math.min(ratio * mean, 1);
    const variance = sum(chances.map((value) => value * (1 - value))) + others * other * (1 - other);
    const wrong = sum(chances) + others * other + errors * Math.sqrt(variance);
    return shown.filter(isWrong).length + Math.min(Math.max(wrong, 0), open.length + others);
  };
  const [ratio, error] = ratioFound();
  const middle = at(ratio, 0);
  if (!decisions.size) return [began[0], middle, began[1]];
  const [least, most] = [at(Math.max(ratio * (1 - error), 0), -2), at(ratio * (1 + error), 2)];
  return began[0] <= middle && middle <= began[1] ? [Math.max(least, began[0]), middle, Math.min(most, began[1])]
    : [least, middle, most];
}

/** The interval of the list before any decision: two standard errors further off for so many labels. */
function beganWith(size) {
  const error = (wrong) => 2 * Math.sqrt(Math.max(wrong * (1 - wrong / size), 0));
  const [least, most] = [data.cuts.least[cut], data.cuts.most[cut]];
  return [Math.max(least - error(least), 0), Math.min(most + error(most), size)];
}

/** What was found, and what is expected among those that come next. */
function lookingFurther() {
  const [ratio] = ratioFound();
  const decided = [...decisions.keys()];
  const found = decided.length ? `Of ${amount(decided.length, 'image')} decided, ${count(decided.filter(isWrong).length)} `
    + `had a wrong label; the judge expected ${sum(decided.map(doubt)).toFixed(1)}.` : 'Each decision on an image updates these numbers.';
  const next = places.filter(isOpen).slice(0, AHEAD);
  if (!next.length) return found;
  const expected = sum(next.map((place) => Math.min(ratio * doubt(place), 1)));
  return `${found} Of the ${amount(next.length, 'most suspicious undecided image')}, about ${expected.toFixed(expected < 10 ? 1 : 0)} `
    + `are expected to have a wrong label${expected < HARDLY && decided.length >= ENOUGH ? '; looking further hardly pays' : ''}.`;
}

/** The share of wrong labels in the random sample, with Wilson's interval; '' before all of it is decided. */
function sampleFound(shown, size) {
  const [n, wrong] = [sample.size, [...sample].filter(isWrong).length];
  if (!n || [...sample].some(isOpen)) return '';
  const list = shown.length < size ? `the ${count(shown.length)} listed images on this page` : 'the list';
  if (n === shown.length) return ` Of all ${count(n)} of ${list}, ${count(wrong)} were wrong.`;
  const middle = (wrong + Z ** 2 / 2) / (n + Z ** 2);
  const half = (Z * Math.sqrt((wrong * (n - wrong)) / n + Z ** 2 / 4)) / (n + Z ** 2);
  const [low, high] = [middle - half, middle + half].map((share) => Math.round(100 * share));
  return ` Of ${count(n)} random ones of ${list}, ${count(wrong)} were wrong: ${low} to ${high}\u00a0%.`;
}

function showEstimate() {
  if (!hasJudge) return;
  const size = data.cuts.suspects[cut];
  const shown = places.filter(isListed);
  const among = wrongAmong(shown, size, data.cuts.caught[cut], beganWith(size));
  const all = wrongAmong(places, data.images, data.wrong, data.noise_rate.map((rate) => rate * data.images));
  // The interval first: the middle of a wide one is easily taken for more than it is.
  const write = (id, [least, middle, most], exact, about, between) => $(id).replaceChildren(
    ...(least < most ? [between(least, most), element('small', {}, ` (about ${about(middle)})`)] : [exact(middle)]));
  const whole = (wrong) => count(Math.round(wrong));
  const share = (wrong) => percent(wrong / size);
  const rounded = (wrong) => `${Math.round((100 * wrong) / size)}\u00a0%`;
  const shares = (...ends) => percents(...ends.map((wrong) => wrong / size));
  if (size) write('precision', among, share, rounded, shares);
  else $('precision').textContent = '–';
  $('recall').textContent = all[1] ? percent(among[1] / all[1]) : '–';
  write('wrong', all, whole, whole, (least, most) => `${whole(least)} to ${whole(most)}`);
  $('looked').textContent = lookingFurther() + sampleFound(shown, size);
  const left = [...sample].filter(isOpen).length;
  $('sample').textContent = 'Check a random sample'
    + (left && left < sample.size ? ` (${count(sample.size - left)} of ${count(sample.size)} decided)` : '');
  $('sample').disabled = !sample.size;
}

/** A number that orders images at random, in this run always alike (splitmix32, https://doi.org/10.1145/2660193.2660195). */
function lot(place) {
  let bits = (parseInt(data.run.slice(0, 8), 16) + Math.imul(images.index[place], 0x9e3779b9)) | 0;
  bits = Math.imul(bits ^ (bits >>> 16), 0x21f0aaad);
  bits = Math.imul(bits ^ (bits >>> 15), 0x735a2d97);
  return (bits ^ (bits >>> 15)) >>> 0;
}

// Decided ones stay in the sample: without them it would be one of what is left over.
function drawSample() {
  const drawn = places.filter(isListed).sort((a, b) => lot(a) - lot(b));
  sample = new Set(drawn.slice(0, SAMPLE));
  showEstimate();
}

if (hasJudge) {
  $('scope').append(element('option', { value: 'sample' }, 'a random sample'));
  $('sample').addEventListener('click', () => {
    resetFilters();
    $('scope').value = 'sample';
    list();
    $('gallery').scrollIntoView();
    focusOn(listed.find(isOpen));
  });
  changed.push(drawSample);
  drawSample();
}
