"""The list before training, without any, and with features from outside: digits as a person's own folder."""

import csv
import importlib.util
import shutil
import types

import digit_files
import numpy as np
import pytest
from conftest import refused_by_command as refused
from sklearn.metrics import roc_auc_score
from test_automatic import own_images

from noisy_jax import data, phases, pipeline, results
from noisy_jax.clean import __main__ as clean
from noisy_jax.data import digits
from noisy_jax.inference import export, predict
from noisy_jax.labels.issues import LabelIssues
from noisy_jax.labels.verdict import Verdict
from noisy_jax.workdir import WorkDir

COUNT, RATE = 300, 0.2
SMALL = {f'{phase}__epochs': 2 for phase in ('pretrain', 'cross_fit', 'classify')} | {'classify__head_epochs': 1}


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """`root` with class folders, and the true label of each image, int [N], in the order of the loader."""
    root, rng = tmp_path_factory.mktemp('photos'), np.random.default_rng(0)
    images, true = digits.load('train', limit=COUNT), {name: [] for name in sorted(digit_files.NAMES)}
    for image, label in zip(images.image, images.label, strict=True):
        wrong = rng.random() < RATE
        name = digit_files.NAMES[(label + rng.integers(1, 10)) % 10 if wrong else label]
        noised = image + rng.normal(0, 80, image.shape)  # classical features still find most errors, not all
        digit_files.save(root / name, np.clip(noised, 0, 255).astype(np.uint8))
        true[name].append(label)
    return types.SimpleNamespace(root=root, true=np.concatenate(list(true.values())))


def _true(photos, issues_names):
    """The true labels as the classes of a run number them."""
    return np.array([issues_names.index(digit_files.NAMES[label]) for label in photos.true])


def _state(work):
    """What a person finds in the folder now."""
    folder = WorkDir.of_run(work)
    page = work / 'report.html'
    return types.SimpleNamespace(
        folder=folder,
        summary=folder.load_json('summary'),
        issues=LabelIssues.load(folder),
        listed=(work / 'labels.csv').read_bytes(),
        page=page.read_text(encoding='utf-8') if page.exists() else None,
        epochs=folder.metrics.read_text().count('\n'),
    )


def _auroc(photos, work):
    folder = WorkDir.of_run(work)
    issues, true = LabelIssues.load(folder), _true(photos, folder.load_json('data')['classes'])
    wrong = issues.given != true
    assert 0.1 < wrong.mean() < 0.3, 'the truth is that of these images'
    return roc_auc_score(wrong, 1 - issues.clean_probability)


class _Stopped(Exception):
    pass


def test_list_and_page_are_there_before_training_and_better_ones_after_it(photos, tmp_path, monkeypatch, capfd):
    """Stopped as pre-training begins, resumed, and looked at between the phases."""
    work, seen, real = tmp_path / 'work', [], dict(phases.PHASES)
    config = own_images('phases=pretrained', data__path=str(photos.root), **SMALL, cross_fit__folds=2)

    def stop(*_):
        seen.append(_state(work))
        raise _Stopped

    monkeypatch.setitem(phases.PHASES, 'pretrain', stop)
    with pytest.raises(_Stopped):
        pipeline.run(config, work)
    (first,) = seen
    assert 'first list' in capfd.readouterr().err
    assert first.epochs == 0
    assert first.summary['complete'] is False
    assert first.summary['label_issues']['first'] is True
    assert {name.split(',')[0] for name in first.summary['label_issues']['judges']} == {'classical features'}
    assert 'This is a first list' in first.page
    assert first.listed.count(b'\n') == COUNT + 1
    assert _auroc(photos, work) > 0.8

    def look(*given):
        seen.append(_state(work))
        return real['classify'](*given)

    made, find = [], results.find_label_issues
    monkeypatch.setattr(results, 'find_label_issues', lambda *given: made.append(given) or find(*given))
    monkeypatch.setitem(phases.PHASES, 'pretrain', real['pretrain'])
    monkeypatch.setitem(phases.PHASES, 'classify', look)
    summary = pipeline.run(config, work)
    between, last = seen[1], _state(work)
    assert [phase['name'] for phase in between.summary['phases']] == ['pretrain', 'cross_fit']
    assert len(made) == 1, 'the first list is not made again, nor is the last'
    assert 'The list is final' in between.page
    assert between.listed != first.listed
    assert between.listed == last.listed, 'later phases do not change it'
    assert last.summary == summary
    assert 'first' not in summary['label_issues']
    kinds = {'classical features', 'own encoder', 'all judges together'}
    kinds |= {'own network', 'classical features and own network', 'own encoder and own network'}
    assert {name.split(',')[0] for name in summary['label_issues']['judges']} == kinds
    assert 'This is a first list' not in last.page
    assert 'own encoder, neighbours' in last.page


@pytest.fixture(scope='module')
def quick(photos, tmp_path_factory):
    """A run with effort=quick."""
    work = tmp_path_factory.mktemp('quick') / 'work'
    return work, pipeline.run(own_images(effort='quick', data__path=str(photos.root)), work)


def test_quick_trains_nothing_and_leaves_list_and_page(photos, quick):
    work, summary = quick
    found, issues = _state(work), summary['label_issues']
    assert summary['phases'] == []
    assert summary['complete'] is True
    assert found.epochs == 0
    assert not [*(work / 'checkpoints').rglob('*')]
    assert 'first' not in issues
    assert 'This is a first list' not in found.page
    assert 'No classifier was trained.' in found.page
    assert issues['judge'] in issues['judges']
    assert {name.split(',')[0] for name in issues['judges']} == {'classical features'}
    assert issues['trusted'] is True
    assert _auroc(photos, work) > 0.8
    wrong = found.issues.given != _true(photos, found.folder.load_json('data')['classes'])
    low, high = issues['precision_interval']
    assert low <= wrong[found.issues.is_suspect].mean() <= high
    assert issues['noise_rate_interval'][0] < wrong.mean() < issues['noise_rate_interval'][1]


def test_copies_of_an_image_are_one_image_to_the_judges(tmp_path):
    """Each image ten times, as where classes were made equal by copies: none vouches for its own wrong label."""
    digit = digits.load('train', limit=COUNT)
    rows = np.flatnonzero(digit.label < 3)
    true = digit.label[rows]
    given = np.where(np.arange(len(rows)) % 10, true, (true + 1) % 3)
    copies = {'images': np.repeat(digit.image[rows], 10, axis=0), 'labels': np.repeat(given, 10)}
    np.savez(tmp_path / 'digits.npz', **copies)
    pipeline.run(own_images(effort='quick', data__path=str(tmp_path / 'digits.npz')), tmp_path / 'work', quiet=True)
    found, wrong = LabelIssues.load(WorkDir.of_run(tmp_path / 'work')), np.repeat(given != true, 10)
    assert found.is_suspect[wrong].mean() > 0.8
    assert found.is_suspect[~wrong].mean() < 0.1
    assert len(np.unique(found.clean_probability.reshape(-1, 10), axis=1)[0]) == 1
    similar = WorkDir.of_run(tmp_path / 'work').load_array('labels/nearest')
    assert not np.any(similar // 10 == np.arange(len(similar))[:, None] // 10)


def test_crops_of_an_image_do_not_vouch_for_each_other(cifar, tmp_path):
    """Each photograph in four parts, as augmentation saves them, with one label."""
    photos = data.load('folder', split='train', path=str(cifar))
    true, images = photos.label, photos.image[:]
    given = np.where(np.arange(len(true)) % 10, true, 1 - true)
    crops = [images[:, down : 30 + down, right : 30 + right] for down in (0, 2) for right in (0, 2)]
    np.savez(tmp_path / 'photos.npz', images=np.concatenate(crops), labels=np.tile(given, 4))
    settings = {'effort': 'quick', 'data__path': str(tmp_path / 'photos.npz'), 'report__page': False}
    pipeline.run(own_images(**settings), tmp_path / 'work', quiet=True)
    found, wrong = LabelIssues.load(WorkDir.of_run(tmp_path / 'work')), np.tile(given != true, 4)
    assert found.is_suspect[wrong].mean() > 0.4
    assert found.is_suspect[~wrong].mean() < 0.1


def test_a_rerun_of_quick_trains_nothing_either(photos, quick, tmp_path):
    """`report.cross_fit` may be another then, and the list is."""
    work, summary = shutil.copytree(quick[0], tmp_path / 'work'), quick[1]
    settings = {'effort': 'quick', 'data__path': str(photos.root)}
    before = (work / 'labels.csv').read_bytes()
    assert pipeline.run(own_images(**settings), work, quiet=True) == summary
    assert (work / 'labels.csv').read_bytes() == before
    issues = pipeline.run(own_images(report__cross_fit=2, **settings), work, quiet=True)['label_issues']
    assert issues['cross_fit'] == 2
    assert issues['judges'] != summary['label_issues']['judges']
    assert issues['judges'] == Verdict.load(WorkDir.of_run(work)).aurocs


def test_decisions_on_a_quick_list_are_applied(quick, tmp_path, capsys):
    work, _ = quick
    rows = WorkDir.of_run(work).load_labels()
    row = int(np.flatnonzero(rows['is_suspect'])[0])
    old, new = rows['given_label'][row], rows['suggested_label'][row]
    with (tmp_path / 'reviewed.csv').open('w', newline='') as file:
        csv.writer(file).writerows(
            [('index', 'id', 'given_label', 'decision', 'label'), (row, rows['id'][row], old, 'relabel', new)]
        )
    out = tmp_path / 'clean'
    arguments = [f'--workdir={work}', f'--out={out}', f'--decisions={tmp_path / "reviewed.csv"}', '--write']
    assert clean.main(arguments) == 0, capsys.readouterr().err
    counts = {name: len([*(out / name).glob('*.png')]) for name in digit_files.NAMES}
    expected = {name: int(np.sum(rows['given_label'] == name)) for name in digit_files.NAMES}
    assert counts == expected | {old: expected[old] - 1, new: expected[new] + 1}


def test_a_run_without_training_has_a_map_of_its_features(quick):
    places = np.load(quick[0] / 'labels' / 'map.npy')
    assert places.shape == (len(WorkDir.of_run(quick[0]).load_labels()['id']), 2)
    assert np.isfinite(places).all()
    assert (quick[0] / 'plots' / 'map.png').exists() == (importlib.util.find_spec('matplotlib') is not None)


def test_without_a_classifier_there_is_nothing_to_predict_or_export(photos, quick, tmp_path, capsys):
    work, _ = quick
    status = predict.main([f'--workdir={work}', f'--images={photos.root}', f'--out={tmp_path / "new.csv"}'])
    refused(capsys, status, str(work), 'has no classifier', 'config.effort=normal', 'another work directory')
    status = export.main([f'--workdir={work}', f'--out={tmp_path / "new"}'])
    refused(capsys, status, str(work), 'has no classifier', 'config.effort=normal', 'another work directory')
    assert [*tmp_path.iterdir()] == []


def test_features_from_outside_win_where_they_know_the_classes(photos, quick, tmp_path):
    """The same folder with features from outside, then with others: each time another list, with none the first."""
    work, rng = tmp_path / 'work', np.random.default_rng(0)
    np.save(tmp_path / 'know.npy', 8 * np.eye(10)[photos.true] + rng.normal(size=(COUNT, 10)))
    np.save(tmp_path / 'guess.npy', rng.normal(size=(COUNT, 10)))
    lists, pages, judges = [], [], []
    for name in ('guess.npy', 'know.npy', 'guess.npy'):
        changes = {'data__path': str(photos.root), 'data__embeddings': str(tmp_path / name)}
        issues = pipeline.run(own_images(effort='quick', **changes), work, quiet=True)['label_issues']
        lists.append((work / 'labels.csv').read_bytes())
        pages.append((work / 'report.html').read_text(encoding='utf-8'))
        judges.append(issues['judge'].split(',')[0])
        assert len(issues['judges']) == 7
        assert issues['judge'] in pages[-1]
        if name == 'know.npy':
            assert _auroc(photos, work) > 0.97
    assert judges[0] == judges[2] == 'classical features'
    assert judges[1] in ('features from outside', 'all judges together')
    assert lists[0] == lists[2] != lists[1]
    assert lists[0] == (quick[0] / 'labels.csv').read_bytes(), 'judges that lose change nothing'


def test_a_list_of_features_that_know_nothing_is_not_cleaned_by(photos, tmp_path, capsys, monkeypatch):
    """All judges guess: summary.json, page and clean say the same."""
    guesses = np.random.default_rng(0).normal(size=(COUNT, 5))
    monkeypatch.setattr(results.classical, 'describe', lambda images: guesses)
    work = tmp_path / 'work'
    config = own_images(effort='quick', data__path=str(photos.root))
    issues = pipeline.run(config, work, quiet=True)['label_issues']
    assert issues['trusted'] is False
    assert 'the largest class' in issues['why']
    page = (work / 'report.html').read_text(encoding='utf-8')
    assert page.split('<div class="lede">')[1].startswith('<p><strong>This list is not to be trusted.</strong>')
    refused(capsys, clean.main([f'--workdir={work}', f'--out={tmp_path / "new"}', '--all-suspects']), issues['why'])
