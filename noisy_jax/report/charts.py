"""Charts as inline SVG, coloured by the page's style sheet."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from noisy_jax.report.findings import Findings
from noisy_jax.report.wording import escape

BINS = 60
# Names in metrics.jsonl, in the order of the style sheet's series, and in the legend.
ACCURACIES = {
    'test_accuracy': 'test images',
    'valid_accuracy': 'held-out images, given labels',
    'accuracy': 'training labels',
    'knn_accuracy': 'k-NN on embeddings',
    'knn_agreement': 'k-NN, agreement with given labels',
}


class _Plot:
    """A plot area with axes, which maps x and y from given ranges to pixels."""

    def __init__(self, size: tuple[int, int], x: tuple[float, float], y: tuple[float, float]) -> None:
        self.width, self.height, self._x, self._y = *size, x, y
        self.left, self.right, self.top, self.bottom = 52, size[0] - 10, 8, size[1] - 26
        self.parts: list[str] = []

    def x(self, value: Any) -> Any:
        low, high = self._x
        return self.left + (np.asarray(value) - low) / ((high - low) or 1) * (self.right - self.left)

    def y(self, value: Any) -> Any:
        low, high = self._y
        return self.bottom - (np.asarray(value) - low) / ((high - low) or 1) * (self.bottom - self.top)

    def ticks(self, of_x: list[float], of_y: list[float], name: Callable[[float], str], place: Any = None) -> None:
        for value in of_y:
            at = self.y(value if place is None else place(value))
            self.parts.append(f'<path class="grid" d="M{self.left} {at:.1f}H{self.right}"/>')
            self.parts.append(f'<text x="{self.left - 6}" y="{at + 4:.1f}" text-anchor="end">{name(value)}</text>')
        for value in of_x:
            text = f'<text x="{self.x(value):.1f}" y="{self.bottom + 18}" text-anchor="middle">{value:g}</text>'
            self.parts.append(text)

    def line(self, xs: np.ndarray, ys: np.ndarray, style: str) -> None:
        points = ' '.join(f'{x:.1f},{y:.1f}' for x, y in zip(self.x(xs), self.y(ys), strict=True))
        self.parts.append(f'<polyline class="{style}" points="{points}"/>')
        if len(xs) == 1:
            self.parts.append(f'<circle class="{style}" cx="{self.x(xs[0]):.1f}" cy="{self.y(ys[0]):.1f}" r="3"/>')

    def svg(self, label: str, more: str = '') -> str:
        box = f'viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{escape(label)}"'
        return f'<svg class="chart" {box} {more}>{"".join(self.parts)}</svg>'


def histogram(findings: Findings) -> str:
    """Histogram of the losses on given labels with the fitted components, or of a judge's suspicion; and a marker."""
    heights, edges = np.histogram(findings.loss, BINS, (0, 1))
    top = _nice_ceiling(heights.max())
    # Square roots: among the many right labels the wrong ones would hardly be visible.
    plot = _Plot((600, 230), (0, 1), (0, np.sqrt(top)))
    plot.ticks([0, 0.2, 0.4, 0.6, 0.8, 1], [0, top / 16, top / 4, top], lambda value: f'{value:,.0f}', np.sqrt)
    plot.parts.append(f'<rect class="suspected" id="suspected" y="{plot.top}" height="{plot.bottom - plot.top}"/>')
    for height, low, high in zip(heights, edges[:-1], edges[1:], strict=True):
        if height:
            left, above = plot.x(low) + 0.5, plot.y(np.sqrt(height))
            box = f'x="{left:.1f}" y="{above:.1f}" width="{plot.x(high) - left - 0.5:.1f}"'
            plot.parts.append(f'<rect class="bar" {box} height="{plot.bottom - above:.1f}"/>')
    for component, style in zip(findings.components, ('right', 'wrong'), strict=False):
        xs = np.linspace(0, 1, 361)
        around = xs[:, None] + (np.arange(9) - 4) / 9 / BINS  # averaged over a bin, as the bars are
        expected = component.density(around).mean(1) * len(findings.loss) / BINS
        plot.line(xs, np.sqrt(np.minimum(expected, top)), f'component {style}')
    plot.parts.append(f'<path class="marker" id="marker" d="M0 {plot.top}V{plot.bottom}"/>')
    kind = 'suspicions of' if findings.verdict else 'losses on'
    fitted = ' with the fitted components' if findings.components else ''
    label = f'Histogram of {len(findings.loss)} {kind} the given labels{fitted}'
    return plot.svg(label, f'id="histogram" data-left="{plot.left}" data-right="{plot.right}"')


def curves(epochs: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """(name, chart of the loss, chart of the accuracies or '') of each phase."""
    phases: dict[str, list[dict[str, Any]]] = {}
    for line in epochs:
        phases.setdefault(line['phase'], []).append(line)
    return [
        (name, _chart(name, lines, ['loss']), _chart(name, lines, list(ACCURACIES))) for name, lines in phases.items()
    ]


def _chart(phase: str, lines: list[dict[str, Any]], names: list[str]) -> str:
    """Chart of the values `names` over the epochs of all stages in turn; '' if there are none."""
    found = {name: [(n, line[name]) for n, line in enumerate(lines, 1) if line.get(name) is not None] for name in names}
    found = {name: np.array(points) for name, points in found.items() if points}
    if not found:
        return ''
    values = np.concatenate([points[:, 1] for points in found.values()])
    is_loss = names == ['loss']
    low, high = (values.min(), values.max()) if is_loss else (0, 1)
    if low == high:
        low, high = low - 0.5, high + 0.5
    plot = _Plot((330, 170), (1, len(lines)), (low, high))
    middle = (low + high) / 2
    plot.ticks(sorted({1, len(lines)}), [low, middle, high], lambda value: f'{value:.3g}')
    for number, (before, after) in enumerate(itertools.pairwise(lines), 1):
        if before['stage'] != after['stage']:
            at = plot.x(number + 0.5)
            plot.parts.append(f'<path class="stage" d="M{at:.1f} {plot.top}V{plot.bottom}"/>')
    for name, points in found.items():
        series = 'loss' if is_loss else f's{list(ACCURACIES).index(name)}'
        plot.line(points[:, 0], points[:, 1], f'series {series}')
    told = ', '.join(f'{name} from {points[0, 1]:.3g} to {points[-1, 1]:.3g}' for name, points in found.items())
    return plot.svg(f'{phase}, by epoch: {told}'.replace('_', ' '))


def _nice_ceiling(value: float) -> float:
    """The next of 16, 32, ..., 144, 160, 320, ... from `value` up: its quarter and sixteenth are whole."""
    scales = (16.0 * 10**power for power in itertools.count())
    return next(step * scale for scale in scales for step in range(1, 10) if value <= step * scale)
