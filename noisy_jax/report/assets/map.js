// The map of the embeddings, on a canvas.
const COLOURS = ['#4e79a7', '#f28e2b', '#e15759', '#5fb3ad', '#59a14f', '#c9a227', '#b07aa1', '#e377a8', '#9c755f', '#8c8c8c'];
const colourOf = (label) => (data.classes.length <= COLOURS.length ? COLOURS[label]
  : `hsl(${(label * 137.5) % 360} 55% ${label % 2 ? 45 : 62}%)`);

function drawMap(map) {
  const canvas = $('canvas');
  const points = map.x.map((_, point) => point);
  const inOrder = [...points].sort((a, b) => map.clean[a] - map.clean[b] || map.place[a] - map.place[b]);
  let pointed = -1;
  let shownClass = -1;

  const at = (point) => {
    const [width, height] = [canvas.clientWidth - 24, canvas.clientHeight - 24];
    return [12 + map.x[point] * width, 12 + (1 - map.y[point]) * height];
  };

  function draw() {
    const ratio = window.devicePixelRatio || 1;
    [canvas.width, canvas.height] = [canvas.clientWidth * ratio, canvas.clientHeight * ratio];
    const context = canvas.getContext('2d');
    const ring = getComputedStyle(canvas).color;
    context.scale(ratio, ratio);
    const size = points.length > 1000 ? 2.5 : 3.5;
    for (const point of [...inOrder].reverse()) { // likely label errors on top
      const [x, y] = at(point);
      const suspect = isSuspect(map.clean[point]);
      const dim = shownClass >= 0 && map.given[point] !== shownClass;
      context.globalAlpha = dim ? 0.08 : suspect ? 1 : 0.55;
      context.fillStyle = colourOf(map.given[point]);
      context.beginPath();
      context.arc(x, y, suspect ? size + 1 : size, 0, 2 * Math.PI);
      context.fill();
      if (!suspect && point !== pointed) continue;
      context.globalAlpha = dim ? 0.08 : 0.9;
      context.lineWidth = point === pointed ? 3 : 1;
      context.strokeStyle = ring;
      context.stroke();
    }
  }

  function show(point) {
    pointed = point;
    const tip = $('tip');
    tip.hidden = point < 0;
    draw();
    if (point < 0) return;
    const place = map.place[point];
    const [given, suggested] = [data.classes[map.given[point]], data.classes[map.suggested[point]]];
    tip.replaceChildren(
      ...(place < 0 ? [] : [element('img', { src: images.image[place], alt: '', class: 'pixels' })]),
      element('b', {}, given === suggested ? given : `${given} → ${suggested}`), element('br'),
      ...(data.one_group ? [] : [`given right ${chance(map.clean[point])}`, element('br')]), element('small', {}, map.id[point]),
    );
    const [x, y] = at(point);
    const left = Math.min(Math.max(x - tip.offsetWidth / 2, 4), canvas.clientWidth - tip.offsetWidth - 4);
    const above = y - tip.offsetHeight - 12;
    tip.style.left = `${left}px`;
    tip.style.top = `${above < 4 ? y + 14 : above}px`;
  }

  const open = (point) => { if (point >= 0 && map.place[point] >= 0) openImage(map.place[point]); };

  function nearest(event) {
    const [x, y] = [event.offsetX, event.offsetY];
    const distance = (point) => Math.hypot(at(point)[0] - x, at(point)[1] - y);
    const visible = points.filter((point) => shownClass < 0 || map.given[point] === shownClass);
    const best = visible.reduce((a, b) => (a < 0 || distance(b) < distance(a) ? b : a), -1);
    return best >= 0 && distance(best) < 14 ? best : -1;
  }

  canvas.addEventListener('pointermove', (event) => {
    const point = nearest(event);
    if (point !== pointed) show(point);
  });
  canvas.addEventListener('pointerleave', () => show(-1));
  canvas.addEventListener('click', (event) => open(nearest(event)));
  canvas.addEventListener('focus', () => { if (pointed < 0 && canvas.matches(':focus-visible')) show(inOrder[0]); });
  canvas.addEventListener('blur', () => show(-1));
  canvas.addEventListener('keydown', (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === 'Enter') open(pointed);
    else if (!step) return;
    else show(inOrder[(inOrder.indexOf(pointed) + step + inOrder.length) % inOrder.length]);
    event.preventDefault();
  });

  data.classes.forEach((name, number) => {
    const button = element('button', { type: 'button', 'aria-pressed': 'false', class: 'swatch' }, element('i'), name);
    button.firstChild.style.background = colourOf(number);
    button.addEventListener('click', () => {
      shownClass = shownClass === number ? -1 : number;
      $('map-legend').querySelectorAll('button').forEach((other, row) => other.setAttribute('aria-pressed', String(row === shownClass)));
      draw();
    });
    $('map-legend').append(element('li', {}, button));
  });

  new ResizeObserver(draw).observe(canvas);
  window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
  changed.push(draw);
}

if (data.map) drawMap(data.map);
