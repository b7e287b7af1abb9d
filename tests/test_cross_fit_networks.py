"""The phase cross_fit: networks judge labels that they have not seen, stopped or not, on real digits."""

import shutil

import numpy as np
import pytest
from conftest import refused
from tiny import config

from noisy_jax import pipeline
from noisy_jax.data import digits
from noisy_jax.data.dataset import Dataset
from noisy_jax.errors import InputError
from noisy_jax.labels import cross_fit, judges
from noisy_jax.training import loop
from noisy_jax.training.signals import Stopped
from noisy_jax.workdir import WorkDir

COUNT, CLASSES = 240, 10
PARTS = [(np.arange(COUNT // 2, COUNT), np.arange(COUNT // 2)), (np.arange(COUNT // 2), np.arange(COUNT // 2, COUNT))]


def _config(**changes):
    small = {'data__limit': COUNT, 'noise__kind': 'none', 'report__cross_fit': 2, 'cross_fit__folds': 2}
    small |= {'cross_fit__epochs': 2, 'cross_fit__batch_size': 20, 'cross_fit__augment': 'none'}
    return config(**small | {'phases': ('cross_fit',)} | changes)


@pytest.fixture(scope='module', autouse=True)
def fixed_folds():
    """The first half of the images and the second, whatever their labels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cross_fit, 'split', lambda *_, **__: PARTS)
        yield


@pytest.fixture(scope='module')
def whole(tmp_path_factory, fixed_folds):
    """A run that nothing stopped."""
    work = tmp_path_factory.mktemp('whole') / 'work'
    return work, pipeline.run(_config(), work)


def _left_out(work):
    return WorkDir.of_run(work).load_array('labels/cross_fit_left_out')


def test_every_label_is_judged_by_a_network_that_learned_from_others(whole):
    work, summary = whole
    found = _left_out(work)
    assert found.shape == (2, COUNT, CLASSES)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)  # float32 sums of ten
    lines = WorkDir.of_run(work).metrics.read_text()
    assert all(f'"network_{number}"' in lines for number in range(1, 5))
    assert judges.NETWORK in summary['label_issues']['judges']
    given = WorkDir.of_run(work).load_array('labels/given')
    assert (found[0].argmax(-1) == given).mean() > 0.2, 'it has learned something: chance is 0.1'


def test_a_label_plays_no_part_in_what_is_said_of_it(whole, tmp_path):
    """Other labels of the first half change networks that learn from it, not those that leave it out."""
    given = WorkDir.of_run(whole[0]).load_array('labels/given').copy()
    with pytest.MonkeyPatch.context() as patch:
        real = pipeline.splits_lib.load

        def changed(*arguments):
            splits = real(*arguments)
            other = given.copy()
            other[: COUNT // 2] = (given[: COUNT // 2] + 1) % CLASSES
            labelled = splits.labelled.replace(label=other.astype(np.int32))
            return pipeline.dataclasses.replace(splits, labelled=labelled, train=labelled, pool=labelled)

        patch.setattr(pipeline.splits_lib, 'load', changed)
        pipeline.run(_config(), tmp_path / 'work')
    before, after = _left_out(whole[0])[0], _left_out(tmp_path / 'work')[0]
    np.testing.assert_array_equal(before[: COUNT // 2], after[: COUNT // 2])
    assert np.abs(before[COUNT // 2 :] - after[COUNT // 2 :]).max() > 1e-3


@pytest.mark.parametrize('step', [pytest.param(19, marks=pytest.mark.slow), 24])
def test_a_stopped_run_ends_with_the_same_bits(whole, tmp_path, monkeypatch, step):
    """Four networks of two epochs of six steps: in the middle of the second, and between it and the third."""
    steps, ask = iter(range(10**6)), loop._stop_asked
    monkeypatch.setattr(loop, '_stop_asked', lambda *given: next(steps) == step or ask(*given))
    with pytest.raises(Stopped):
        pipeline.run(_config(), tmp_path / 'work')
    pipeline.run(_config(), tmp_path / 'work')
    np.testing.assert_array_equal(_left_out(tmp_path / 'work'), _left_out(whole[0]))


def test_a_classifier_after_it_alone_has_no_encoder_to_begin_with(tmp_path):
    changes = {'guard': True, 'classify__head_loss': 'auto', 'classify__epochs': 1, 'classify__head_epochs': 1}
    summary = pipeline.run(_config(phases=('cross_fit', 'classify'), cross_fit__epochs=1, **changes), tmp_path / 'a')
    assert 'heads' not in summary['phases'][1], 'a random encoder is no measure of a trained one'


def test_copies_are_left_out_together(tmp_path, monkeypatch):
    def split(labels, folds, seed, original, least):
        np.testing.assert_array_equal(original[COUNT:], original[:COUNT])
        raise InputError('seen')

    monkeypatch.setattr(cross_fit, 'split', split)
    once = digits.load('train', limit=COUNT)
    twice = Dataset(np.tile(once.image, (2, 1, 1, 1)), np.tile(once.label, 2), once.class_names)
    refused(lambda: pipeline.run(_config(), tmp_path / 'work', (twice, None), quiet=True), 'seen')


def test_labels_that_no_network_left_out_are_not_judged(tmp_path, monkeypatch):
    """As where a run goes on with other folds than those that an earlier version began."""
    monkeypatch.setattr(cross_fit, 'split', lambda *_, **__: [PARTS[0], (PARTS[1][0], PARTS[1][1][5:])])
    words = 'checkpoints/cross_fit', '5 labels are judged by no network', 'remove this folder'
    refused(lambda: pipeline.run(_config(cross_fit__epochs=1), tmp_path / 'work', quiet=True), *words)


def test_a_damaged_file_of_predictions_is_named(whole, tmp_path):
    work = shutil.copytree(whole[0], tmp_path / 'work')
    for found in (np.zeros((2, COUNT, 3)), np.full((2, COUNT, CLASSES), np.nan)):
        np.save(work / 'labels/cross_fit_left_out.npy', found)
        words = 'cross_fit_left_out.npy', str(found.shape), f'[2, {COUNT}, {CLASSES}]', 'checkpoints/cross_fit'
        refused(lambda: pipeline.run(_config(), work, quiet=True), *words)


def test_of_no_epochs_it_leaves_the_list_to_the_others(tmp_path):
    summary = pipeline.run(_config(cross_fit__epochs=0), tmp_path / 'work')
    assert judges.NETWORK not in summary['label_issues']['judges']


def test_without_judges_it_is_skipped_also_when_they_are_given_up_later(whole, tmp_path):
    phases = {'phases': ('cross_fit', 'classify'), 'classify__epochs': 1, 'classify__head_epochs': 0}
    summary = pipeline.run(_config(report__cross_fit=0, **phases), tmp_path / 'work')
    assert 'report.cross_fit=0' in summary['phases'][0]['skipped']
    assert 'judges' not in summary['label_issues']
    later = shutil.copytree(whole[0], tmp_path / 'later')
    assert 'label_issues' not in pipeline.run(_config(report__cross_fit=0), later)


@pytest.mark.parametrize(
    ('setting', 'value', 'words'),
    [('folds', 41, ('41', '40 images')), ('batch_size', 21, ('21', '20 training images'))],
)
def test_few_images_are_refused_before_anything_is_trained(tmp_path, setting, value, words):
    tiny = _config(data__limit=40, phases=('pretrain', 'cross_fit'), pretrain__batch_size=20)
    tiny.cross_fit[setting] = value
    refused(lambda: pipeline.run(tiny, tmp_path / 'work'), f'config.cross_fit.{setting}', *words)
    assert not (tmp_path / 'work').exists()


def test_networks_say_one_thing_of_the_given_labels_and_another_of_all_others():
    labels, left_out = np.array([0, 1, 1]), np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    judge = judges.of_networks(labels, left_out)
    np.testing.assert_array_equal(judge(labels.copy(), 0), left_out[0])
    np.testing.assert_array_equal(judge(np.array([0, 1, 0]), 3), left_out[1])
