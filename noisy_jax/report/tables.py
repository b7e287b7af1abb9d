"""The summary of a run as a text table."""

from typing import Any

from noisy_jax import schedule
from noisy_jax.errors import one_line

# Columns of a phase, where known. Without a test set: agreement with held-out labels, wrong ones among them.
_COLUMNS = (
    ('test_accuracy_last', 'test acc.'),
    ('test_accuracy_best', 'best'),
    ('valid_accuracy_last', 'held-out'),
    ('knn_accuracy', 'k-NN'),
    ('knn_agreement', 'k-NN agr.'),
)

_NARROW = 0.1  # intervals that are narrower get a decimal


def render(summary: dict[str, Any]) -> str:
    """Renders the table at the end of a run from a summary as in summary.json."""
    noise, issues = summary['noise'], summary.get('label_issues')
    columns = [column for column in _COLUMNS if any(column[0] in phase for phase in summary['phases'])]
    added = 'none' if noise['kind'] == 'none' else f'{noise["kind"]} {_number(noise["rate"])}'.strip()
    realised = f', {_number(noise["realised_rate"])} of the labels are wrong' if 'realised_rate' in noise else ''
    lines = [
        f'{summary["config"]}, seed {summary["seed"]}, {summary["device"]}',
        f'noise added: {added}{realised}',
    ]
    if summary['phases']:
        heads = ''.join(f'{title:>10}' for _, title in columns)
        lines += ['', f'{"phase":<12}{"classifier":<13}{heads}{"seconds":>9}{"images/s":>10}']
    for phase in summary['phases']:
        lines.append(
            f'{phase["name"]:<12}{schedule.title(phase["name"]):<13}'
            + ''.join(f'{_number(phase.get(name)):>10}' for name, _ in columns)
            + f'{phase["seconds"]:>9.1f}{_number(phase.get("images_per_second"), 0):>10}'
        )
    lines += ['', *found] if (found := notes(summary)) else []
    selection = summary.get('selection')
    quality = [('selection of pseudo-labels', 'selected', selection)] if selection else []
    quality += [('label issues', 'suspects', issues)] if issues else []
    if quality:
        lines += ['', f'{"":<28}{"count":>8}{"precision":>11}{"recall":>8}{"AUROC":>8}']
    for title, count, values in quality:
        lines.append(
            f'{title:<28}{values[count]:>8}{_number(values.get("precision")):>11}'
            f'{_number(values.get("recall")):>8}{_number(values.get("auroc")):>8}'
        )
    if issues and not issues.get('trusted', True):
        lines.append(f'  not to be trusted: {issues["why"]}')
    elif issues:
        # A mixture on losses of labels that the classifier has seen claims too much (docs/label_issues.md).
        by = 'expected' if 'precision_interval' in issues else 'expected (too high)'
        lines.append(
            f'  {by:<20}{_number(issues["expected_precision"]):>17}{_number(issues["expected_recall"]):>8}'
            f'   ({_noise(issues)} of all labels are estimated to be wrong)'
        )
        if known := issues.get('precision_interval'):
            lines.append(f'  by planted errors, {interval(*known)} of those listed are wrong')
    if found := data_issues(summary.get('data_issues', {})):
        lines += ['', f'in the data: {"; ".join(found)} (data_issues.csv)']
    return '\n'.join(map(one_line, lines))


def data_issues(numbers: dict[str, Any]) -> list[str]:
    """What is wrong with the data beside labels, by the numbers of summary.json; nothing where nobody looked."""
    if not numbers:
        return []
    twins, unknown, found = numbers['duplicates'], numbers['fit_no_class'], []
    if twins['groups']:
        kinds = {'with two labels': twins['with_two_labels'], 'in both sets': twins['in_training_and_test_set']}
        of_them = ', '.join(f'{number:,} {text}' for text, number in kinds.items() if number)
        text = f'{twins["images"]:,} images in {_count(twins["groups"], "group")} of duplicates'
        found.append(text + (f' ({of_them})' if of_them else ''))
    if pairs := numbers['hardly_told_apart']:
        found.append(f'{_count(len(pairs), "pair")} of classes that are hardly told apart')
    if unknown and unknown['images']:
        found.append(f'{_count(unknown["images"], "image")} that may fit no class')
    if numbers['one_colour']:
        found.append(f'{_count(numbers["one_colour"], "image")} of one colour')
    return found + ([f'{_count(numbers["broken"], "broken image")}, left out'] if numbers['broken'] else [])


def _count(number: int, thing: str) -> str:
    return f'{number:,} {thing}{"" if number == 1 else "s"}'


def interval(low: float, high: float) -> str:
    """Formats 0.035 and 0.392 as '4 to 39 %'; with a decimal where whole numbers would say too little."""
    digits = 0 if high - low >= _NARROW else 1
    return f'{100 * low:.{digits}f} to {100 * high:.{digits}f} %'


def _noise(issues: dict[str, Any]) -> str:
    if known := issues.get('noise_rate_interval'):
        return interval(*known)
    return f'about {100 * issues["estimated_noise_rate"]:.0f} %'


def notes(summary: dict[str, Any]) -> list[str]:
    """What a run did otherwise than its config says, and why: a line for each."""
    lines = []
    for phase in summary['phases']:
        if found := phase.get('rejected'):
            if 'best' in found:
                why = f'agrees with {found["agreement"]:.3f} of the held-out labels; before, with {found["best"]:.3f}'
            else:
                sure, least = found['sure_agreement'], found['least']
                why = f'predicts {sure:.2f} of the classes that are sure; at least {least:.2f} is needed'
            lines.append(
                f'{phase["name"]}, stage {found["stage"]}: memorised wrong labels (it {why}); {found["instead"]} is '
                'used'
            )
        if 'skipped' in phase:
            lines.append(f'{phase["name"]}: skipped, since {phase["skipped"]}')
    return lines


def _number(value: float | None, digits: int = 3) -> str:
    return '' if value is None else f'{value:.{digits}f}'
