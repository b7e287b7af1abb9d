"""What else is wrong with a data set, beside its labels: data_issues.csv, and a few numbers of it.

Duplicates (also with two labels, or in training and test set), images of one colour, images that fit no class, classes
that are hardly told apart, and image files that were left out because they cannot be read.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from noisy_jax.labels import duplicates, outliers, overlap
from noisy_jax.labels.duplicates import Duplicates
from noisy_jax.labels.outliers import Outliers
from noisy_jax.labels.overlap import Overlap
from noisy_jax.workdir import WorkDir

NAME = 'data_issues'
HEADER = ('issue', 'group', 'split', 'id', 'label', 'other_split', 'other_id', 'other_label', 'score', 'detail')
DUPLICATE, OVERLAP = '{} duplicate', 'classes hardly told apart'
FLAT, STRANGER, BROKEN = 'one colour', 'fits no class', 'broken'
TWO_LABELS, BETWEEN = 'two labels', 'in training and test set'  # details of duplicates


class Part(NamedTuple):
    """The images of one split.

    Attributes:
      split: 'train' or 'test'.
      ids: str [N].
      labels: int [N], as given.
      broken: (id, what is wrong) of each that was left out.
    """

    split: str
    ids: np.ndarray
    labels: np.ndarray
    broken: tuple[tuple[str, str], ...] = ()


class DataIssues(NamedTuple):
    """What was found; rows count through the splits."""

    duplicates: Duplicates
    outliers: Outliers | None
    overlaps: list[Overlap]


def find(
    labels: np.ndarray,
    copies: Duplicates,
    features: Mapping[str, np.ndarray],
    probabilities: np.ndarray | None,
    *,
    seed: int = 0,
) -> DataIssues:
    """Looks for everything that is wrong.

    Args:
      labels: int [N], of the training set.
      copies: in it, and in the sets after it.
      features: of its images by kind, [N, D]; none: no image is looked at for its class.
      probabilities: [N, C], of a judge that has not seen its labels and is to be trusted; else None.
      seed: of the images that outliers are compared with.
    """
    alien = outliers.find(features, labels, seed=seed) if features else None
    return DataIssues(copies, alien, [] if probabilities is None else overlap.find(probabilities, labels))


def save(folder: WorkDir, found: DataIssues, parts: Sequence[Part], class_names: Sequence[str]) -> dict[str, Any]:
    """Writes data_issues.csv, the worst first; returns what summary.json says of it."""
    names = np.array(class_names)
    split = np.repeat([part.split for part in parts], [len(part.ids) for part in parts])
    ids = np.concatenate([part.ids for part in parts])
    labels = np.concatenate([part.labels for part in parts])

    def cells(row: int) -> tuple[str, str, str]:
        return str(split[row]), str(ids[row]), str(names[labels[row]])

    none = ('', '', '')
    broken = [(part.split, *fault) for part in parts for fault in part.broken]
    groups = [(_details(group, labels, split), group) for group in found.duplicates.groups()]
    groups.sort(key=lambda item: (TWO_LABELS not in item[0], BETWEEN not in item[0]))
    rows = [(BROKEN, '', of, name, '', *none, '', reason) for of, name, reason in broken]
    partners = found.duplicates.partners()
    for number, (details, group) in enumerate(groups, 1):
        for row in group.tolist():
            other, kind, score = partners[row]
            about = (*cells(row), *cells(other), f'{score:.3f}', '; '.join(details))
            rows.append((DUPLICATE.format(duplicates.KINDS[kind]), number, *about))
    rows += [(FLAT, '', *cells(row), *none, '', '') for row in found.duplicates.flat]
    fits_not = _without(found.outliers, found.duplicates.flat)
    rows += [(STRANGER, '', *cells(row), *none, f'{distance:.3f}', '') for row, distance in fits_not]
    for number, pair in enumerate(found.overlaps, 1):
        first, second = str(names[pair.first]), str(names[pair.second])
        shares = (f'{100 * share:.0f} %' for share in (pair.first_share, pair.second_share))
        both = "{} of '{first}' look more like '{second}', {} of '{second}' more like '{first}'"
        both = both.format(*shares, first=first, second=second)
        score = f'{min(pair.first_share, pair.second_share):.3f}'
        for row in pair.rows:
            of, name, label = cells(row)
            rows.append((OVERLAP, number, of, name, label, '', '', second if label == first else first, score, both))
    folder.save_table(NAME, HEADER, rows)
    return {
        'broken': len(broken),
        'duplicates': {
            'images': sum(len(group) for _, group in groups),
            'groups': len(groups),
            'with_two_labels': sum(TWO_LABELS in details for details, _ in groups),
            'in_training_and_test_set': sum(BETWEEN in details for details, _ in groups),
        },
        'one_colour': len(found.duplicates.flat),
        'fit_no_class': _numbers(found.outliers, len(fits_not)),
        'hardly_told_apart': [[str(names[pair.first]), str(names[pair.second])] for pair in found.overlaps],
    }


def _numbers(found: Outliers | None, count: int) -> dict[str, Any] | None:
    """What the summary says of images that fit no class; None where none were looked for."""
    return found and {
        'images': count if found.is_believed else None,
        'auroc': round(found.auroc, 3),
        'features': found.features,
    }


def _details(group: np.ndarray, labels: np.ndarray, split: np.ndarray) -> list[str]:
    """Why the duplicates at these rows matter most."""
    found = [TWO_LABELS] if len(np.unique(labels[group])) > 1 else []
    return found + ([BETWEEN] if len(np.unique(split[group])) > 1 else [])


def _without(found: Outliers | None, flat: np.ndarray) -> list[tuple[int, float]]:
    """Row and distance of each image that fits no class and is not of one colour."""
    if found is None:
        return []
    kept = ~np.isin(found.rows, flat)
    return list(zip(found.rows[kept].tolist(), found.distance[kept].tolist(), strict=True))
