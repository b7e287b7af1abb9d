"""Tables and charts of the page as HTML."""

import numpy as np

from noisy_jax.report import charts
from noisy_jax.report.findings import TITLES, Findings
from noisy_jax.report.wording import count, escape, percent, tiles

_MATRIX = 20  # classes up to which a matrix is readable
_TOP = 100  # confusions to list if there are more classes


def overview(findings: Findings) -> str:
    """Tiles with the key numbers."""
    rows = (
        f'<div class="tile"><dt>{name}</dt><dd><b>{value}</b><span>{meaning}</span></dd></div>'
        for name, value, meaning in tiles(findings)
    )
    return f'<dl class="tiles">{"".join(rows)}</dl>'


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
        other = int(off[number].argmax())
        most = int(off[number, other])
        confused = f'{escape(findings.classes[other])} <small>({count(most)})</small>' if most else 'none'
        rows.append(
            f'<tr><th scope="row" data-sort="{escape(name)}"><button type="button" class="link" data-given="{number}">'
            f'{escape(name)}</button></th>'
            f'<td data-sort="{size}">{count(size)}</td><td data-sort="{suspects}">{count(suspects)}</td>'
            f'<td data-sort="{noise:.6f}">{percent(noise)}<span class="meter" style="--share:{noise:.3f}"></span></td>'
            f'<td data-sort="{escape(findings.classes[other]) if most else ""}" class="text">{confused}</td></tr>'
        )
    heads = (
        'class',
        'images',
        f'likely errors (below {findings.threshold:g})',
        'estimated noise',
        'most confused with',
    )
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
        'Estimated noise: of 100 images of a class, how many have which label',
        ('right', 'given'),
    )
    return f'<div class="pair">{left}{right}</div>'


def _matrix(names: list[str], shares: np.ndarray, texts: list[list[str]], caption: str, sides: tuple[str, str]) -> str:
    head = ''.join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in names)
    rows = []
    for row, name in enumerate(names):
        cells = ''.join(
            f'<td class="{"same" if row == column else "other"}" style="--share:{shares[row, column]:.3f}">'
            f'{texts[row][column]}</td>'
            for column in range(len(names))
        )
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    corner = f'<th class="corner">{sides[0]} ↓<br>{sides[1]} →</th>'
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}"><table class="matrix">'
        f'<caption>{caption}</caption><thead><tr>{corner}{head}</tr></thead>'
        f'<tbody>{"".join(rows)}</tbody></table></div>'
    )


def _top_confusions(findings: Findings) -> str:
    counts, names, rows = findings.counts, findings.classes, []
    sizes = counts.sum(1)
    off = counts.copy()
    np.fill_diagonal(off, 0)
    for place in np.argsort(-off, axis=None, kind='stable')[:_TOP]:
        given, suggested = (int(value) for value in np.unravel_index(place, off.shape))
        number = int(off[given, suggested])
        if not number:
            break
        noise = float(findings.noise_matrix[suggested, given])
        share = number / sizes[given]
        rows.append(
            f'<tr><td class="text" data-sort="{escape(names[given])}">{escape(names[given])}</td>'
            f'<td class="text" data-sort="{escape(names[suggested])}">{escape(names[suggested])}</td>'
            f'<td data-sort="{number}">{count(number)}</td><td data-sort="{share:.6f}">{percent(share)}</td>'
            f'<td data-sort="{noise:.6f}">{percent(noise)}</td></tr>'
        )
    heads = ('given', 'suggested', 'images', 'share of the given class', 'estimated P(given | suggested is right)')
    return _sortable('confusions', f'The {len(rows)} most frequent confusions of {len(names)} classes', heads, rows)


def _sortable(name: str, caption: str, heads: tuple[str, ...], rows: list[str]) -> str:
    buttons = ''.join(f'<th scope="col"><button type="button" class="sort">{head}</button></th>' for head in heads)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}"><table class="sortable" id="{name}">'
        f'<caption>{caption}</caption><thead><tr>{buttons}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def training(findings: Findings) -> str:
    """Accuracies and curves of the phases."""
    columns = {
        'test_accuracy_last': 'test images',
        'test_accuracy_best': 'best epoch',
        'valid_accuracy_last': 'held-out images, given labels',
        'knn_accuracy': 'k-NN on embeddings',
        'knn_agreement': 'k-NN, agreement with given labels',
    }
    phases = findings.summary['phases']
    columns = {key: head for key, head in columns.items() if any(phase.get(key) is not None for phase in phases)}
    heads = ''.join(f'<th scope="col">{head}</th>' for head in ('phase', 'classifier', *columns.values(), 'seconds'))
    rows = []
    for phase in phases:
        values = ''.join(
            '<td></td>'
            if phase.get(key) is None
            else f'<td>{percent(phase[key])}<span class="meter" style="--share:{phase[key]:.3f}"></span></td>'
            for key in columns
        )
        title = TITLES.get(phase['name'].split('_')[0], '')
        rows.append(
            f'<tr><th scope="row">{escape(phase["name"])}</th><td class="text">{title}</td>{values}'
            f'<td>{phase["seconds"]:,.0f}</td></tr>'
        )
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Accuracy of each phase"><table id="phases">'
        f'<caption>Accuracy of each phase</caption><thead><tr>{heads}</tr></thead>'
        f'<tbody>{"".join(rows)}</tbody></table></div>{_curves(findings)}'
    )


def _curves(findings: Findings) -> str:
    figures, drawn = [], charts.curves(findings.epochs)
    for name, loss, accuracy in drawn:
        parts = f'<div><span>loss</span>{loss}</div>' + (
            f'<div><span>accuracy</span>{accuracy}</div>' if accuracy else ''
        )
        figures.append(f'<figure><figcaption>{escape(name)}</figcaption>{parts}</figure>')
    used = [key for key in charts.ACCURACIES if any(line.get(key) is not None for line in findings.epochs)]
    names = list(charts.ACCURACIES)
    legend = ''.join(
        f'<li><svg viewBox="0 0 24 8" aria-hidden="true"><path class="series s{names.index(key)}" d="M0 4H24"/></svg>'
        f'{charts.ACCURACIES[key]}</li>'
        for key in used
    )
    return f'<ul class="legend">{legend}</ul><div class="curves">{"".join(figures)}</div>'
