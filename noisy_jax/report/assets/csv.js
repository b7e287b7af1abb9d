// Decisions as CSV: the file that `python -m noisy_jax.clean` reads.
const COLUMNS = ['index', 'id', 'given_label', 'decision', 'label'];

const quoted = (value) => (/[",\r\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : String(value));

function decisionsAsCsv() {
  const rows = [...decisions.keys()]
    .sort((a, b) => images.index[a] - images.index[b])
    .map((place) => [images.index[place], images.id[place], given(place), ...decisions.get(place)]);
  return [COLUMNS, ...rows].map((row) => `${row.map(quoted).join(',')}\n`).join('');
}

$('download').addEventListener('click', () => {
  const link = element('a', { download: 'reviewed.csv' });
  link.href = URL.createObjectURL(new Blob([decisionsAsCsv()], { type: 'text/csv' }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});
