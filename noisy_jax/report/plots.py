"""plots/*.png of a run, if matplotlib is installed."""

import io
import itertools
import warnings
from typing import TYPE_CHECKING

import numpy as np

from noisy_jax import optional
from noisy_jax.errors import one_line, shortened
from noisy_jax.report.charts import ACCURACIES, BINS
from noisy_jax.report.findings import Findings
from noisy_jax.workdir import WorkDir

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CONFUSED = 30  # classes up to which plots name them
_LONGEST = 30  # letters of a class


def write(folder: WorkDir, findings: Findings) -> None:
    """Writes accuracy_and_loss, clean_probability, confusion and, if there is a labels/map.npy, map to plots/.

    Nothing where matplotlib is not installed.

    Raises:
      InputError: a file of the run is missing or broken.
    """
    if not optional.is_usable('matplotlib.figure', 'there are no plots'):
        return
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever a person has in matplotlibrc, such as TeX, which may not be there
        _write(folder, findings)


def _write(folder: WorkDir, findings: Findings) -> None:
    figures = {
        'accuracy_and_loss': _accuracy_and_loss(findings),
        'clean_probability': _clean_probability(findings),
        'confusion': _confusion(findings),
    }
    if folder.has_array('labels/map'):
        rows, places = folder.load_array('labels/map_rows'), folder.load_array('labels/map')
        figures['map'] = _map(findings, rows, places)
    for name, figure in figures.items():
        buffer = io.BytesIO()
        with warnings.catch_warnings():  # one for each letter that the font lacks, which is a box then
            warnings.filterwarnings('ignore', 'Glyph ', UserWarning)
            figure.savefig(buffer, format='png', dpi=120, metadata={'Software': None})
        folder.save_bytes(f'plots/{name}.png', buffer.getvalue())


def _figure(width: float, height: float) -> 'Figure':
    from matplotlib.figure import Figure  # not pyplot, which sets the backend of the whole process

    return Figure(figsize=(width, height), layout='constrained')


def _accuracy_and_loss(findings: Findings) -> 'Figure':
    """Curves by epoch, the phases in turn."""
    figure, lines = _figure(10, 6), findings.epochs
    above, below = figure.subplots(2, 1, sharex=True)
    start = 0
    for phase, group in itertools.groupby(lines, lambda line: line['phase']):
        part = list(group)
        epochs = start + 1 + np.arange(len(part))
        for number, name in enumerate(ACCURACIES):
            values = np.array([line.get(name) for line in part], float)  # None becomes NaN
            known = np.isfinite(values)
            above.plot(epochs[known], values[known], f'C{number}', marker='.', markersize=3)
        below.plot(epochs, [line['loss'] for line in part], 'C0', marker='.', markersize=3)
        for axes in (above, below):
            axes.axvline(start + 0.5, color='0.8', linewidth=1)
        above.text(start + 0.7, 1.06, phase, rotation=30, fontsize=8, transform=above.get_xaxis_transform())
        start += len(part)
    for number, (name, title) in enumerate(ACCURACIES.items()):
        if any(line.get(name) is not None for line in lines):
            above.plot([], [], f'C{number}', label=title)
    above.set(ylabel='accuracy', ylim=(0, 1.02))
    if above.get_legend_handles_labels()[0]:
        above.legend(fontsize=8)
    below.set(xlabel='epoch', ylabel='loss')
    return figure


def _clean_probability(findings: Findings) -> 'Figure':
    figure = _figure(10, 4)
    left, right = figure.subplots(1, 2)
    groups = [findings.loss[~findings.is_suspect], findings.loss[findings.is_suspect]]
    left.hist(groups, BINS, range=(0, 1), stacked=True, color=['C0', 'C1'], label=['trusted', 'likely label errors'])
    top = left.get_ylim()[1]
    xs = np.linspace(0, 1, 500)
    for component, name, style in zip(findings.components, ('right', 'wrong'), ('k-', 'k--'), strict=False):
        left.plot(xs, component.density(xs) * len(findings.loss) / BINS, style, label=f'component of {name} labels')
    kind = 'suspicion of' if findings.verdict else 'loss on'
    left.set(xlabel=f'{kind} the given label, scaled', ylabel='images', ylim=(0, top))
    left.legend(fontsize=8)
    right.hist(findings.clean_probability, 50, range=(0, 1))
    right.axvline(findings.threshold, color='C3', linestyle='--', label=f'threshold {findings.threshold:g}')
    right.set(xlabel='clean probability', ylabel='images', yscale='log')
    right.legend(fontsize=8)
    return figure


def _confusion(findings: Findings) -> 'Figure':
    figure, classes = _figure(11, 5), findings.classes
    shares = findings.counts / np.maximum(findings.counts.sum(1, keepdims=True), 1)
    kinds = (
        (shares, 'share of the given class', 'suggested label', 'given label'),
        (findings.noise_matrix, 'estimated noise: P(given | right)', 'given label', 'right label'),
    )
    for axes, (matrix, title, across, down) in zip(figure.subplots(1, 2), kinds, strict=True):
        image = axes.imshow(matrix, vmin=0, vmax=1, cmap='Blues', interpolation='nearest')
        axes.set(title=title, xlabel=across, ylabel=down)
        if len(classes) <= _CONFUSED:
            names = list(map(_drawn, classes))
            axes.set_xticks(range(len(classes)), names, rotation=90, fontsize=8)
            axes.set_yticks(range(len(classes)), names, fontsize=8)
        figure.colorbar(image, ax=axes, shrink=0.8)
    return figure


def _drawn(name: str) -> str:
    """A class as matplotlib takes it, which reads mathematics between dollars and draws only what can be shown."""
    return one_line(shortened(name, _LONGEST)).replace('$', r'\$')


def _map(findings: Findings, rows: np.ndarray, places: np.ndarray) -> 'Figure':
    figure = _figure(8, 7)
    axes = figure.subplots()
    suspect, colours = findings.is_suspect[rows], 'tab10' if len(findings.classes) <= 10 else 'hsv'
    drawn = axes.scatter(*places.T, s=10, linewidths=0, alpha=0.7, c=findings.given[rows], cmap=colours)
    ring = {'s': 26, 'facecolors': 'none', 'edgecolors': 'black', 'linewidths': 0.4}
    axes.scatter(*places[suspect].T, **ring, label='likely label error')
    axes.set(xticks=[], yticks=[], title='embeddings, coloured by given label')
    handles, _ = axes.get_legend_handles_labels()
    if len(findings.classes) <= _CONFUSED:
        known = np.unique(findings.given[rows])
        patches = drawn.legend_elements(num=list(known))[0]
        for patch, label in zip(patches, known, strict=False):
            patch.set_label(_drawn(findings.classes[label]))
        handles = [*handles, *patches]
    axes.legend(handles=handles, fontsize=8, loc='center left', bbox_to_anchor=(1, 0.5))
    return figure
