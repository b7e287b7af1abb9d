"""The summary of a run as text."""

from typing import Any

_TITLES = {'base': 'Base', 'classify': 'Pre-trained', 'finetune': 'Fine-tuned'}


def render(summary: dict[str, Any]) -> str:
    """The table at the end of a run, from a summary as in summary.json."""
    noise = summary['noise']
    added = 'none' if noise['kind'] == 'none' else f'{noise["kind"]} {_number(noise["rate"])}'.strip()
    realised = f', {_number(noise["realised_rate"])} of the labels are wrong' if 'realised_rate' in noise else ''
    lines = [
        f'{summary["config"]}, seed {summary["seed"]}, {summary["device"]}',
        f'noise added: {added}{realised}',
        '',
        f'{"phase":<12}{"classifier":<13}{"test acc.":>10}{"best":>8}{"k-NN":>8}{"seconds":>9}{"images/s":>10}',
    ]
    for phase in summary['phases']:
        title = _TITLES.get(phase['name'].split('_')[0], '')
        lines.append(
            f'{phase["name"]:<12}{title:<13}'
            f'{_number(phase.get("test_accuracy_last")):>10}{_number(phase.get("test_accuracy_best")):>8}'
            f'{_number(phase.get("knn_accuracy")):>8}{phase["seconds"]:>9.1f}'
            f'{_number(phase.get("images_per_second"), 0):>10}'
        )
    quality = [
        ('selection of pseudo-labels', 'selected', summary.get('selection')),
        ('list of wrong labels', 'suspects', summary.get('label_issues')),
    ]
    if any(values for _, _, values in quality):
        lines += ['', f'{"":<28}{"count":>8}{"precision":>11}{"recall":>8}{"AUROC":>8}']
    for title, count, values in quality:
        if values:
            lines.append(
                f'{title:<28}{values[count]:>8}{_number(values.get("precision")):>11}'
                f'{_number(values.get("recall")):>8}{_number(values.get("auroc")):>8}'
            )
    return '\n'.join(lines)


def _number(value: float | None, digits: int = 3) -> str:
    return '' if value is None else f'{value:.{digits}f}'
