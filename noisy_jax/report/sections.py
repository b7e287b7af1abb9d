"""Tables and charts of the page as HTML."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from noisy_jax import schedule
from noisy_jax.report import charts
from noisy_jax.report.findings import Findings
from noisy_jax.report.wording import class_name, count, escape, noise_rate, percent

_MATRIX = 20  # classes up to which a matrix is readable
_TOP = 100  # confusions to list if there are more classes


def overview(findings: Findings) -> str:
    """Tiles with the numbers to see first."""
    issues, phase = findings.numbers, findings.last_phase
    share = percent(issues['suspects'] / len(findings.given))
    tiles = [
        ('labels', count(findings.data['images']), 'images with a given label'),
        ('likely label errors', count(issues['suspects']), f'{share} of the labels'),
        _noise(findings),
    ]
    if 'test_accuracy_last' in phase:
        tiles.append(('test accuracy', percent(phase['test_accuracy_last']), 'of the last classifier'))
    elif 'valid_accuracy_last' in phase:
        tiles.append(('agreement', percent(phase['valid_accuracy_last']), 'with held-out labels, some of them wrong'))
    rows = (
        f'<div class="tile"><dt>{name}</dt><dd><b>{value}</b><span>{meaning}</span></dd></div>'
        for name, value, meaning in tiles
    )
    return f'<dl class="tiles">{"".join(rows)}</dl>'


def _noise(findings: Findings) -> tuple[str, str, str]:
    if findings.fault:
        return 'estimated noise', 'unknown', 'this list is not to be trusted'
    return 'estimated noise', noise_rate(findings), 'of the labels are wrong'


def judges(findings: Findings) -> str:
    """Table of the judges that competed, the best first; '' where a mixture made the list."""
    if not findings.verdict:
        return ''
    rows = [
        f'<tr><th scope="row">{escape(name)}</th><td>{found:.3f}</td></tr>'
        for name, found in sorted(findings.verdict.aurocs.items(), key=lambda item: -item[1])
    ]
    return _table(
        'id="judges"',
        'Judges, by how well they find planted errors (both: regression and neighbours together)',
        _heads(('judge', 'AUROC')),
        rows,
    )


def classes(findings: Findings) -> str:
    """Table of the classes, a row each."""
    suspect, off = findings.is_suspect, np.zeros_like(findings.counts)
    np.add.at(off, (findings.given[suspect], findings.suggested[suspect]), 1)
    np.fill_diagonal(off, 0)
    rows = []
    for number, name in enumerate(findings.classes):
        of_class = findings.given == number
        size, suspects = int(of_class.sum()), int(suspect[of_class].sum())
        noise = float(1 - findings.clean_probability[of_class].mean()) if size else 0.0
        other = findings.classes[off[number].argmax()] if off[number].any() else ''
        confused = f'{class_name(other)} <small>({count(int(off[number].max()))})</small>' if other else 'none'
        button = f'<button type="button" class="link" data-given="{number}">{class_name(name)}</button>'
        cells = _cell(count(size), size) + _cell(count(suspects), suspects) + _cell(_meter(noise), f'{noise:.6f}')
        cells += _cell(confused, other, 'text')
        rows.append(f'<tr><th scope="row" data-sort="{escape(name)}">{button}</th>{cells}</tr>')
    listed = f'likely errors (below {findings.threshold:g})'
    heads = ('class', 'images', listed, 'estimated noise', 'suggested most often')
    return _sortable('classes', 'Label quality by class', heads, rows)


def confusion(findings: Findings) -> str:
    """Confusion of given and suggested labels, and the estimated noise."""
    if len(findings.classes) > _MATRIX:
        return _top_confusions(findings)
    counts, noise = findings.counts, findings.noise_matrix
    left = _matrix(
        findings.classes,
        counts / np.maximum(counts.sum(1, keepdims=True), 1),
        [[count(value) if value else '' for value in row] for row in counts.tolist()],
        'Images by given and suggested label',
        ('given', 'suggested'),
    )
    right = _matrix(
        findings.classes,
        noise,
        [[f'{100 * value:.0f}' if value >= 0.005 else '' for value in row] for row in noise.tolist()],
        'Estimated labels of 100 images of a class',
        ('right', 'given'),
    )
    return f'<div class="pair">{left}{right}</div>'


def _matrix(names: list[str], shares: np.ndarray, texts: list[list[str]], caption: str, sides: tuple[str, str]) -> str:
    rows = []
    for row, name in enumerate(names):
        cells = ''.join(
            f'<td class="{"same" if row == column else "other"}" data-share="{share:.3f}">{text}</td>'
            for column, (share, text) in enumerate(zip(shares[row], texts[row], strict=True))
        )
        rows.append(f'<tr><th scope="row">{class_name(name)}</th>{cells}</tr>')
    corner = f'<th class="corner">{sides[0]} ↓<br>{sides[1]} →</th>'
    head = corner + ''.join(f'<th scope="col"><span>{class_name(name)}</span></th>' for name in names)
    return _table('class="matrix"', caption, head, rows)


def _top_confusions(findings: Findings) -> str:
    counts, names, rows = findings.counts, findings.classes, []
    sizes = counts.sum(1)
    np.fill_diagonal(counts, 0)
    for place in np.argsort(-counts, axis=None, kind='stable')[:_TOP]:
        given, suggested = np.unravel_index(place, counts.shape)
        number = int(counts[given, suggested])
        if not number:
            break
        noise, share = findings.noise_matrix[suggested, given], number / sizes[given]
        cells = [_cell(class_name(names[label]), names[label], 'text') for label in (given, suggested)]
        cells += [_cell(count(number), number), *(_cell(percent(value), f'{value:.6f}') for value in (share, noise))]
        rows.append(f'<tr>{"".join(cells)}</tr>')
    heads = ('given', 'suggested', 'images', 'share of the given class', 'estimated P(given | suggested is right)')
    return _sortable('confusions', f'The {len(rows)} most frequent confusions of {len(names)} classes', heads, rows)


def training(findings: Findings) -> str:
    """The section with accuracies and curves of the phases; '' where nothing has been trained."""
    if not findings.summary['phases']:
        return ''
    columns = {
        'test_accuracy_last': charts.ACCURACIES['test_accuracy'],
        'test_accuracy_best': 'best epoch',
        'valid_accuracy_last': charts.ACCURACIES['valid_accuracy'],
        **{name: charts.ACCURACIES[name] for name in ('knn_accuracy', 'knn_agreement')},
    }
    phases = findings.summary['phases']
    columns = {key: head for key, head in columns.items() if any(phase.get(key) is not None for phase in phases)}
    rows = []
    for phase in phases:
        values = (phase.get(key) for key in columns)
        cells = ''.join('<td></td>' if value is None else f'<td>{_meter(value)}</td>' for value in values)
        rows.append(
            f'<tr><th scope="row">{escape(phase["name"])}</th><td class="text">{schedule.title(phase["name"])}</td>'
            f'{cells}<td>{phase["seconds"]:,.0f}</td></tr>'
        )
    heads = ('phase', 'classifier', *columns.values(), 'seconds')
    table = _table('id="phases"', 'Accuracy of each phase', _heads(heads), rows)
    panel = f'<div class="panel">{table}{_curves(findings)}</div>'
    return f'<section id="training"><h2>Training</h2>{panel}</section>\n'


def _curves(findings: Findings) -> str:
    figures = []
    for name, *drawn in charts.curves(findings.epochs):
        both = zip(('loss', 'accuracy'), drawn, strict=True)
        parts = ''.join(f'<div><span>{what}</span>{chart}</div>' for what, chart in both if chart)
        figures.append(f'<figure><figcaption>{escape(name)}</figcaption>{parts}</figure>')
    legend = ''.join(
        f'<li><svg viewBox="0 0 24 8" aria-hidden="true"><path class="series s{number}" d="M0 4H24"/></svg>{title}</li>'
        for number, (key, title) in enumerate(charts.ACCURACIES.items())
        if any(line.get(key) is not None for line in findings.epochs)
    )
    return f'<ul class="legend">{legend}</ul><div class="curves">{"".join(figures)}</div>'


def _table(attributes: str, caption: str, head: str, rows: Iterable[str]) -> str:
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}"><table {attributes}>'
        f'<caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _heads(texts: Iterable[str]) -> str:
    return ''.join(f'<th scope="col">{text}</th>' for text in texts)


def _sortable(name: str, caption: str, heads: tuple[str, ...], rows: list[str]) -> str:
    buttons = _heads(f'<button type="button" class="sort">{head}</button>' for head in heads)
    return _table(f'class="sortable" id="{name}"', caption, buttons, rows)


def _cell(text: str, key: Any, kind: str = 'number') -> str:
    """A cell of a sortable table, sorted by `key`."""
    return f'<td class="{kind}" data-sort="{escape(key)}">{text}</td>'


def _meter(share: float) -> str:
    return f'{percent(share)}<span class="meter" data-share="{share:.3f}"></span>'
