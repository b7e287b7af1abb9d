"""The run in a few sentences, and how numbers are written, as HTML."""

import html
import os
import re
import urllib.parse
from typing import Any

from noisy_jax import schedule
from noisy_jax.errors import escaped, shortened
from noisy_jax.report import tables
from noisy_jax.report.findings import Findings

_ANYTHING = 0.95  # width of an interval that says nothing
# Control characters, bytes that are no UTF-8 and changes of direction, as in assets/names.js.
_UNSEEN = re.compile('[\x00-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]')
_SPACE = '\N{NO-BREAK SPACE}'


def percent(value: float | None) -> str:
    """Formats 0.405 as '40.5 %'; never rounds to 0 % or 100 %."""
    if value is None:
        return 'unknown'
    if 0 < value < 0.0005:
        return f'<{_SPACE}0.1{_SPACE}%'
    if 0.9995 <= value < 1:
        return f'>{_SPACE}99.9{_SPACE}%'
    return f'{100 * value:.1f}{_SPACE}%'


def interval(low: float, high: float) -> str:
    """Formats 0.035 and 0.392 as '4 to 39 %'."""
    return tables.interval(low, high).replace(' %', f'{_SPACE}%')


def count(number: int, thing: str = '') -> str:
    """Formats 1437 and 'image' as '1,437 images'."""
    return f'{number:,}{_SPACE}{thing}{"" if number == 1 else "s"}' if thing else f'{number:,}'


def noise_rate(findings: Findings) -> str:
    """The estimated share of wrong labels: the interval of a judge, else one number."""
    if findings.verdict:
        return interval(*findings.verdict.noise_rate)
    return percent(findings.numbers['estimated_noise_rate'])


def sentences(findings: Findings) -> list[str]:
    """Paragraphs as HTML: what was found, how far it can be trusted, how good the classifier is, what was not done."""
    notes = [escape(note) for note in tables.notes(findings.summary)]
    fault = [_fault(findings)] if findings.fault else []
    return [*fault, _found(findings), _trust(findings), _accuracy(findings), *notes]


def _fault(findings: Findings) -> str:
    return (
        '<strong>This list is not to be trusted.</strong> The best judge of the labels that was found, by '
        f'{escape(findings.verdict.judge)}, does not know the classes well enough: {escape(findings.fault)}. '
        'More or larger images, features or an encoder from outside (<code>--config.data.embeddings</code>, '
        '<code>--config.model.weights</code>) or longer training may help; <code>noisy_jax.clean</code> takes your own '
        'decisions only.'
    )


def _found(findings: Findings) -> str:
    data, issues = findings.data, findings.numbers
    classes = len(findings.classes)
    text = f'{count(data["images"], "image")} with a label, in {classes} class{"" if classes == 1 else "es"}'
    text += f'; {count(data["held_out"])} of them were held out of training' if data['held_out'] else ''
    text += f'; {count(data["unlabelled"])} more without a label joined pre-training' if data['unlabelled'] else ''
    if findings.is_one_group:
        return (
            f'{text}. <strong>No label stands out.</strong> The losses on the given labels form a single group: the '
            'mixture cannot tell wrong labels from right ones, and every label is trusted. The images below start with '
            'those whose given label the classifier finds least likely compared with its own prediction.'
        )
    if not issues['suspects']:
        text = (
            f'{text}. <strong>None is listed</strong> as a likely label error at the threshold {findings.threshold:g}'
        )
        return f'{text}; the images below are ordered by suspicion.' + _rate(findings, ' {}.')
    return (
        f'{text}. {_rate(findings, "{}; ")}{count(issues["suspects"])} are listed as likely label errors: the '
        'probability that the given label is right (the <em>clean probability</em>) is below '
        f'{findings.threshold:g}.'
    )


def _rate(findings: Findings, form: str) -> str:
    """The estimated share of wrong labels in `form`; '' where it is not to be trusted."""
    if findings.fault:
        return ''
    if findings.verdict:
        return form.format(f'An estimated <strong>{noise_rate(findings)} of the labels are wrong</strong>')
    return form.format(f'About <strong>{noise_rate(findings)} of the labels are estimated to be wrong</strong>')


def _trust(findings: Findings) -> str:
    issues, folds = findings.numbers, findings.summary['label_issues']['cross_fit']
    parts = []
    claims = issues['suspects'] and not findings.fault
    if claims and findings.verdict:
        low, high = issues['precision_interval']
        known = f'<strong>{interval(low, high)}</strong> are wrong (expected precision)'
        if high - low > _ANYTHING:
            known = '<strong>any share</strong> may be wrong: with so few, the judge cannot tell'
        parts.append(
            f'Of the listed labels, {known}. This is all that errors planted among the labels can tell; each '
            'image that you look at tells more.'
        )
    elif claims:
        parts.append(
            f'If the fitted mixture is right, {percent(issues["expected_precision"])} of the listed labels are wrong '
            f'(expected precision), and the list contains {percent(issues["expected_recall"])} of all wrong labels '
            '(expected recall).'
        )
    if findings.is_wrong is not None:
        wrong = float(findings.is_wrong.mean())
        parts.append(f'Measured against the known true labels, {percent(wrong)} are wrong;')
        if issues['suspects']:
            parts.append(
                f'<strong>{percent(issues["precision"])}</strong> of the listed ones are (precision), the list '
                f'contains <strong>{percent(issues["recall"])}</strong> of all wrong labels (recall), and for '
                f'{percent(issues["suggestion_accuracy"])} of those found the suggested label is the true one.'
            )
        else:
            parts.append('none of them is listed.')
    if findings.verdict:
        judge, found = findings.verdict.judge, findings.verdict.aurocs
        others = [name for name in found if name != judge]
        ahead = f'; the others reach {max(found[name] for name in others):.2f} at most' if others else ''
        parts.append(
            f'The list is that of <strong>{escape(judge)}</strong>, the judge that found most of the planted errors '
            f'(AUROC {found[judge]:.2f}{ahead}). It has not seen the label that it judges ({folds} folds).'
        )
    else:
        held = ', except the held-out ones' if findings.data['held_out'] else ''
        parts.append(
            f'The labels were scored by a classifier that was trained on them (in-sample){held}: a wrong label that it '
            'memorised looks right, and is missing from the list and the estimates. '
            '<code>--config.report.cross_fit=5</code> scores each label by a classifier that has not seen it.'
        )
    return ' '.join(parts)


def _accuracy(findings: Findings) -> str:
    phase, parts = findings.last_phase, []
    if not phase:
        if findings.summary['label_issues'].get('first'):
            return 'This is a first list; training goes on and may improve it.'
        training = not findings.summary.get('complete', True)
        return 'The list is final; a classifier is still trained.' if training else 'No classifier was trained.'
    name = schedule.title(phase['name'])
    if 'test_accuracy_last' in phase:
        accuracy = percent(phase['test_accuracy_last'])
        parts.append(f'The last classifier ({name}) is right on <strong>{accuracy}</strong> of the test images.')
    if 'valid_accuracy_last' in phase:
        parts.append(
            f'On held-out images {"it" if parts else f"the last classifier ({name})"} agrees with '
            f'{percent(phase["valid_accuracy_last"])} of the given labels. This is not an accuracy, since some of '
            'them are wrong: even a perfect classifier would agree with the right ones only.'
        )
    return ' '.join(parts) or 'There are neither test nor held-out images to evaluate the classifier on.'


def escape(text: Any) -> str:
    """The text as HTML that shows it; what cannot be seen, or turns the text around it, as an escape sequence."""
    return html.escape(_UNSEEN.sub(lambda found: escaped(found[0]), str(text)))


def class_name(name: str) -> str:
    """The name of a class as HTML, of a long one both ends."""
    return escape(shortened(name))


def file_path(name: str) -> str:
    """A path as part of a URL."""
    return urllib.parse.quote(os.fsencode(name))
