"""Label issues: by hand, by known noise, and against cleanlab."""

import csv
import re
import warnings

import numpy as np
import pytest
from conftest import refused
from sklearn.datasets import load_digits

from noisy_jax import errors
from noisy_jax.data import noise
from noisy_jax.labels import cross_fit
from noisy_jax.labels.issues import LabelIssues, find
from noisy_jax.workdir import WorkDir

CLEAN = np.array([0.9, 0.2, 1.0, 0.6])
GIVEN = np.array([0, 0, 1, 1])
PROBABILITIES = np.array([[0.8, 0.2], [0.1, 0.9], [0.0, 1.0], [0.7, 0.3]], np.float32)


def test_properties_by_hand():
    issues = LabelIssues(GIVEN, PROBABILITIES, CLEAN)
    assert issues.suggested.tolist() == [0, 1, 1, 0]
    assert issues.is_suspect.tolist() == [False, True, False, False]
    assert issues.by_suspicion.tolist() == [1, 3, 0, 2]
    # Right class 0: of image 0 all (0.9 + 0.1) and of image 3 the doubtful 0.4, given as 1; image 1 trusted by 0.2.
    np.testing.assert_allclose(issues.noise_matrix, np.array([[1.2 / 1.6, 0.4 / 1.6], [0.8 / 2.4, 1.6 / 2.4]]))
    summary = issues.numbers
    assert summary['suspects'] == 1
    assert summary['estimated_noise_rate'] == pytest.approx(1.3 / 4)
    assert summary['expected_precision'] == pytest.approx(0.8)
    assert summary['expected_recall'] == pytest.approx(0.8 / 1.3)


def test_the_threshold_moves_the_list():
    issues = LabelIssues(GIVEN, PROBABILITIES, CLEAN, threshold=0.7, true=np.array([0, 1, 1, 1]))
    assert issues.is_suspect.tolist() == [False, True, False, True]
    values = issues.numbers
    assert (values['precision'], values['recall'], values['suggestion_accuracy']) == (0.5, 1.0, 1.0)


def test_equal_trust_is_ordered_by_how_sure_the_classifier_is():
    issues = LabelIssues(GIVEN, PROBABILITIES, np.ones(4))
    assert issues.by_suspicion.tolist() == [1, 3, 0, 2] or issues.by_suspicion.tolist() == [1, 3, 2, 0]


def test_a_class_that_nobody_gave_keeps_its_row():
    issues = LabelIssues(np.zeros(2, int), np.eye(3, dtype=np.float32)[[0, 0]], np.ones(2))
    np.testing.assert_array_equal(issues.noise_matrix, np.eye(3))


def test_a_work_directory_gives_the_same_issues_back(tmp_path):
    """Also where labels.csv, which is rounded, would put a label on the other side of the threshold."""
    clean = np.array([0.9, 0.5 - 1e-9, 1.0, 0.6])
    issues = LabelIssues(GIVEN, PROBABILITIES, clean, true=np.array([0, 1, 1, 1]))
    folder = WorkDir(tmp_path)
    folder.save_array('labels/given', GIVEN)
    folder.save_array('labels/true', issues.true)
    folder.save_json('summary', {'label_issues': issues.numbers})
    issues.save(folder, np.array(['a', 'b', 'c', 'd']), ('x', 'y'), sort='suspicion')
    back = LabelIssues.load(folder)
    assert back.numbers == issues.numbers
    np.testing.assert_array_equal(back.noise_matrix, issues.noise_matrix)
    table = folder.load_labels()
    assert table['is_suspect'].tolist() == back.is_suspect.tolist() == [False, True, False, False]
    assert table['clean_probability'].tolist() == [0.9, 0.5, 1.0, 0.6]
    assert table['true_label'].tolist() == ['x', 'y', 'y', 'y']
    assert [row[0] for row in csv.reader((tmp_path / 'labels.csv').open())] == ['index', '1', '3', '0', '2']


@pytest.mark.parametrize('what', ['probabilities', 'clean_probability'])
def test_no_list_is_made_of_what_is_not_finite(tmp_path, what):
    values = {'given': GIVEN, 'probabilities': PROBABILITIES, 'clean_probability': np.ones(4)}
    values[what] = values[what] * np.array([1, np.nan]).repeat(2).reshape(-1, *[1] * (values[what].ndim - 1))
    refused(lambda: LabelIssues(**values).save(WorkDir(tmp_path), np.arange(4), ('x', 'y')), 'not finite')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('name', 'array'),
    [
        ('pred_probs', PROBABILITIES * np.nan),
        ('pred_probs', PROBABILITIES[:3]),
        ('labels/given', np.full(4, 99)),
        ('labels/given', GIVEN / 2),
        ('labels/clean_probability', np.full(4, 1.5)),
        ('labels/true', GIVEN[:3]),
    ],
)
def test_an_edited_array_of_a_run_is_named(tmp_path, name, array):
    folder = WorkDir(tmp_path)
    issues = LabelIssues(GIVEN, PROBABILITIES, np.ones(4), true=GIVEN)
    folder.save_array('labels/given', GIVEN)
    folder.save_array('labels/true', GIVEN)
    folder.save_json('summary', {'label_issues': issues.numbers})
    issues.save(folder, np.arange(4), ('x', 'y'))
    assert LabelIssues.load(folder).numbers == issues.numbers
    folder.save_array(name, array)
    refused(lambda: LabelIssues.load(folder), f'{name}.npy')


@pytest.fixture(scope='module')
def judged():
    """Digits with 40 % wrong labels, judged on their pixels by heads that did not see them."""
    images, true = load_digits(return_X_y=True)
    given = noise.corrupt(true, 'symmetric', 0.4, 10, 0)
    return cross_fit.cross_fit(images, given, 10, folds=5, seed=0)[0], given, true


def test_cross_fitted_probabilities_find_wrong_labels(judged):
    probabilities, given, true = judged
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    assert np.mean(probabilities.argmax(1) == true) > 0.85
    assert np.mean(probabilities.argmax(1) == given) < 0.65, 'no head knows the label that it judges'
    values = find(probabilities, given, true).numbers
    assert values['precision'] > 0.85
    assert values['recall'] > 0.85
    assert values['estimated_noise_rate'] == pytest.approx(0.4, abs=0.08)
    assert values['expected_precision'] == pytest.approx(values['precision'], abs=0.1)


def test_a_label_does_not_move_its_own_judgement():
    """Of two runs that differ in one label, the head that judges it is the same."""
    images, true = load_digits(return_X_y=True)
    images, true = images[:200], true[:200]
    changed = true.copy()
    changed[7] = (true[7] + 1) % 10
    given = [np.append(labels, []).astype(int) for labels in (true, changed)]
    parts = [(np.delete(np.arange(200), rows), rows) for rows in np.array_split(np.arange(200), 4)]
    found = [cross_fit.out_of_fold(images, labels, 10, parts, 0.01) for labels in given]
    np.testing.assert_array_equal(found[0][:50], found[1][:50])
    assert not np.array_equal(found[0][50:], found[1][50:])


def test_classes_with_fewer_samples_than_folds():
    rng = np.random.default_rng(0)
    labels = np.array([0] * 20 + [1] * 20 + [2] * 2)
    found, strength = cross_fit.cross_fit(rng.normal(size=(42, 3)) + labels[:, None], labels, 4, folds=5)
    assert strength in cross_fit.STRENGTHS
    assert found.shape == (42, 4)
    assert np.isfinite(found).all()
    assert (found[:, 3] == 0).all()


def test_cleanlab_reads_the_probabilities(judged, tmp_path):
    """pred_probs.npy goes straight into cleanlab; at the same length neither list is much better."""
    filter = pytest.importorskip('cleanlab.filter', reason='needs cleanlab')
    probabilities, given, true = judged
    np.save(tmp_path / 'pred_probs.npy', find(probabilities, given).probabilities)
    ranked = filter.find_label_issues(
        given, np.load(tmp_path / 'pred_probs.npy'), return_indices_ranked_by='self_confidence'
    )
    ours = find(probabilities, given).by_suspicion[: len(ranked)]
    wrong = given != true
    precision = {name: wrong[rows].mean() for name, rows in (('cleanlab', ranked), ('ours', ours))}
    assert precision['cleanlab'] > 0.8
    assert precision['ours'] > precision['cleanlab'] - 0.05


def test_a_list_that_a_person_has_changed_is_kept(tmp_path):
    errors._warn_once.cache_clear()
    folder, path = WorkDir(tmp_path), tmp_path / 'labels.csv'
    first, second = (LabelIssues(GIVEN, PROBABILITIES, clean) for clean in (CLEAN, CLEAN[::-1].copy()))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for issues in (first, second, first):  # as a run rewrites it; a kill may leave any of them
            issues.save(folder, np.arange(4).astype(str), ('x', 'y'))
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b',1\n', b',0\n', 1))  # a cell
    with pytest.warns(
        UserWarning, match=r'labels\.csv is not as the run wrote it; it is kept as labels_changed_1\.csv$'
    ):
        first.save(folder, np.arange(4).astype(str), ('x', 'y'))
    assert path.read_bytes() == whole
    assert (tmp_path / 'labels_changed_1.csv').read_bytes() != whole
    path.write_text('path,label\na.png,cat\n')
    (tmp_path / 'labels/written.txt').unlink()  # as of an earlier version
    with pytest.warns(UserWarning, match=r'labels_changed_2\.csv'):
        first.save(folder, np.arange(4).astype(str), ('x', 'y'))
    assert (tmp_path / 'labels_changed_2.csv').read_text() == 'path,label\na.png,cat\n'
    (tmp_path / 'labels/written.txt').unlink()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        second.save(folder, np.arange(4).astype(str), ('x', 'y'))


@pytest.mark.parametrize('name', ['labels.csv', 'data_issues.csv', 'report.html'])
def test_what_people_open_is_kept_where_they_have_changed_it(tmp_path, name):
    errors._warn_once.cache_clear()
    folder, path = WorkDir(tmp_path), tmp_path / name
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for content in (b'one', b'two', b'one', b'one'):
            folder.save_bytes(name, content)
    path.write_bytes(b'one, and a note')
    kept = f'{path.stem}_changed_1{path.suffix}'
    with pytest.warns(UserWarning, match=f'{re.escape(name)} is not as the run wrote it; it is kept as {kept}$'):
        folder.save_bytes(name, b'two')
    assert (path.read_bytes(), (tmp_path / kept).read_bytes()) == (b'two', b'one, and a note')
    path.write_bytes(b'mine')
    WorkDir(tmp_path, writes=False).save_bytes(name, b'one')
    assert path.read_bytes() == b'mine'
