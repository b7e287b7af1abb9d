"""The experiment on lists of wrong labels: which images a folder holds, how lists are scored, what the docs show."""

import numpy as np
import pytest

from experiments import record
from experiments.accuracy import lists

NAMES = ['bird', 'cat', 'dog']
TRUE = np.repeat([0, 1, 2], 100)
SAID = np.where(np.arange(300) % 10 == 0, (TRUE + 1) % 3, TRUE)


def test_a_folder_has_as_many_images_and_errors_as_asked():
    kind = lists.Kind('made', classes={'cat': (30, 5), 'bird': (20, 0)})
    rows = lists.choose(kind, 0, TRUE, SAID, NAMES)
    assert len(set(rows)) == 50
    for name, (count, wrong) in kind.classes.items():
        of_class = rows[SAID[rows] == NAMES.index(name)]
        assert len(of_class) == count
        assert np.sum(TRUE[of_class] != SAID[of_class]) == wrong
        assert set(TRUE[of_class]) <= {0, 1}, 'errors among the classes of the folder'
    assert not np.array_equal(rows, lists.choose(kind, 1, TRUE, SAID, NAMES))
    assert len(set(lists.choose(lists.Kind('made', 40), 0, TRUE, SAID, NAMES))) == 40


def test_an_order_by_hand():
    wrong = np.array([True, False, True, False])
    assert lists.order(wrong, np.array([0.9, 0.8, 0.7, 0.1])) == {
        'auroc': 0.75,
        'average_precision': pytest.approx((1 + 2 / 3) / 2),
        'precision_at_number': 0.5,
    }


def test_seeds_are_not_those_of_the_development():
    assert min(seed for kind in lists.FOLDERS.values() for seed in kind.seeds) > 7


def test_the_documentation_shows_what_was_measured():
    results = record.load(lists.RESULTS)
    shown = (record.ROOT / 'docs' / 'label_issues.md').read_text()
    for paragraph in lists.table(results).split('\n\n'):
        assert paragraph in shown
