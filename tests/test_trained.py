"""A finished run's classifier on images: as in the run, from files of its own, and through pickle."""

import dataclasses
import json
import pickle
import shutil

import numpy as np
import pytest
import tiny
from conftest import assert_rounded, refused
from random_weights import random_classifier

from noisy_jax.data import digits, folder
from noisy_jax.inference.trained import TrainedClassifier
from noisy_jax.training import outcome
from noisy_jax.training.checkpoints import Checkpoints
from noisy_jax.training.state import SECOND
from noisy_jax.workdir import WorkDir


@pytest.fixture(scope='module')
def pair_run(tmp_path_factory):
    """Two rounds, of which the last ends with two networks, as a run leaves it."""
    work = WorkDir(tmp_path_factory.mktemp('pair'))
    classifier = random_classifier((8, 8, 1), classes=10, pair=True)
    phases = ('classify', 'select', 'contrast', 'finetune')
    work.claim(tiny.config(phases=phases, rounds=2, data__mean=(0.4,), data__std=(0.2,)).to_dict())
    work.save_json('data', {'classes': list(classifier.class_names), 'image_shape': [8, 8, 1]})
    checkpoints = Checkpoints(work.checkpoints('finetune_2'))
    checkpoints.save_outcome(7, classifier.variables, {'complete': True})
    checkpoints.close()
    return work.path


def test_it_says_what_the_run_said(photos):
    classifier = TrainedClassifier.of_run(photos.work)
    assert classifier.class_names == tuple(sorted(folder.load('train', str(photos.root)).class_names))
    assert classifier.image_shape == (8, 8, 1)
    found = classifier.predict_proba(folder.load('train', str(photos.root)).image)
    assert found.dtype == np.float32
    assert_rounded(found, np.load(photos.work / 'pred_probs.npy'), 100, 'other batches, another program')


def test_of_a_pair_both_speak(pair_run):
    classifier = TrainedClassifier.of_run(pair_run)
    images = digits.load('test', limit=20).image
    first = {kind: tree for kind, tree in classifier.variables.items() if kind != SECOND}
    alone = [dataclasses.replace(classifier, variables=one) for one in (first, classifier.variables[SECOND])]
    both = [one.predict_proba(images) for one in alone]
    assert np.abs(both[0] - both[1]).max() > 0.01
    np.testing.assert_allclose(classifier.predict_proba(images), np.mean(both, axis=0), atol=1e-5)
    np.testing.assert_array_equal(classifier.embed(images), alone[0].embed(images))


@pytest.mark.parametrize('way', ['files', 'pickle'])
def test_it_comes_back_the_same(pair_run, tmp_path, way):
    classifier = TrainedClassifier.of_run(pair_run)
    images = digits.load('test', limit=20).image
    expected = classifier.predict_proba(images), classifier.embed(images)
    if way == 'files':
        classifier.save(tmp_path / 'new' / 'model')
        assert sorted(file.name for file in (tmp_path / 'new' / 'model').iterdir()) == [
            'model.json',
            'model.safetensors',
        ]
        again = TrainedClassifier.load(tmp_path / 'new' / 'model')
    else:
        again = pickle.loads(pickle.dumps(classifier))
    for array, other in zip(expected, (again.predict_proba(images), again.embed(images)), strict=True):
        np.testing.assert_array_equal(array, other)
    assert again.class_names == classifier.class_names
    assert again.image_shape == classifier.image_shape


@pytest.mark.parametrize('content', [b'{"model_type": "bert"}', b'[]', b'mine', None])
def test_files_of_the_same_names_are_not_written_over(tmp_path, content):
    classifier = random_classifier((8, 8, 1), classes=2)
    mine = {'model.safetensors': b'mine'} | ({'model.json': content} if content else {})
    for name, own in mine.items():
        (tmp_path / name).write_bytes(own)
    refused(lambda: classifier.save(tmp_path), f'{tmp_path}', 'take a new or an empty folder')
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == mine
    refused(lambda: classifier.save('gs://bucket/model'), "folder: 'gs://bucket/model' is not allowed")


@pytest.mark.parametrize('count', [1, 3, 20])
def test_few_images_as_among_many(photos, count):
    classifier = TrainedClassifier.of_run(photos.work)
    images = digits.load('test', limit=600).image
    many = classifier.predict_proba(images)
    np.testing.assert_allclose(classifier.predict_proba(images[:count]), many[:count], atol=1e-5)
    assert classifier.embed(images[:count]).shape == (count, 128)


@pytest.mark.parametrize(
    'images',
    [np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 8, 8, 1)), np.zeros((8, 8, 1), np.uint8), np.zeros((0, 8, 8, 1))],
    ids=lambda images: f'{images.dtype}{images.shape}',
)
def test_images_that_it_does_not_take(photos, images):
    refused(lambda: TrainedClassifier.of_run(photos.work).predict_proba(images), images.dtype, '[N, 8, 8, 1]')
    refused(lambda: TrainedClassifier.of_run(photos.work).predict_proba(list(images)), 'found list', '[N, 8, 8, 1]')
    refused(lambda: TrainedClassifier.of_run(photos.work).embed(None), 'found NoneType', '[N, 8, 8, 1]')


def test_runs_whose_last_classifier_is_not_there(tmp_path):
    refused(lambda: TrainedClassifier.of_run(tmp_path), str(tmp_path), 'config.json')
    for phases, words in (
        (('pretrain', 'classify'), ('classify', 'not finished')),
        (('pretrain',), ('no classifier',)),
    ):
        work = tmp_path / phases[-1]
        WorkDir(work).claim(tiny.config(phases=phases).to_dict())
        WorkDir(work).save_json('data', {'classes': ['a'], 'image_shape': [8, 8, 1]})
        refused(lambda work=work: TrainedClassifier.of_run(work), str(work), *words)
        assert not (work / 'checkpoints').exists()


def _edited(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ('name', 'changes', 'word'),
    [
        ('data.json', {'classes': ['a', 'b']}, 'params/classifier'),
        ('data.json', {'image_shape': [8, 8, 3]}, 'params/encoder'),
        ('data.json', {'image_shape': [8, 0, 1]}, '(8, 0, 1)'),
        ('data.json', {'classes': 'ab'}, 'classes'),
        ('data.json', {'pixels': {'mean': [0.5] * 3, 'std': [0.5] * 3}}, 'pixels: one number for each of 1 channels'),
        ('data.json', {'pixels': [0.5, 0.5]}, 'pixels'),
        ('config.json', {'model': {'encoder': 'resnet18'}}, 'another network'),
        ('config.json', {'model': {'encoder': 3}}, 'config.model.encoder'),
        ('config.json', {'phases': 'base'}, 'config.phases'),
    ],
)
def test_edited_files_of_a_run(photos, tmp_path, monkeypatch, name, changes, word):
    monkeypatch.setattr(outcome, 'check_origin', lambda *_: None)  # as of an earlier version, which noted nothing
    work = shutil.copytree(photos.work, tmp_path / 'work')
    _edited(work / name, **changes)
    refused(lambda: TrainedClassifier.of_run(work), name, word)


@pytest.mark.parametrize(
    ('name', 'changes'),
    [
        ('data.json', {'levels': [0, 255]}),
        ('data.json', {'classes': ['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'nine', 'eight']}),
        ('config.json', {'data': {'mean': [0.1]}}),
    ],
)
def test_what_decides_with_the_weights_is_that_of_the_run(photos, tmp_path, name, changes):
    work = shutil.copytree(photos.work, tmp_path / 'work')
    found = json.loads((work / name).read_text())
    inner = {key: {**found[key], **value} if isinstance(value, dict) else value for key, value in changes.items()}
    _edited(work / name, **inner)
    refused(lambda: TrainedClassifier.of_run(work), work, 'not of the run whose weights are in checkpoints/base')


def test_weights_of_another_run(photos, tmp_path):
    """As where two runs are mixed up in one folder; without the arrays there is nothing to compare."""
    work = shutil.copytree(photos.work, tmp_path / 'work')
    [array] = (work / 'labels').glob('base_*.npy')
    np.save(array, np.load(array) / 2)
    refused(lambda: TrainedClassifier.of_run(work), array, 'not of the run whose weights are in checkpoints/base')
    array.unlink()
    assert TrainedClassifier.of_run(work).class_names == TrainedClassifier.of_run(photos.work).class_names


@pytest.mark.parametrize('changes', [{'classes': list('abcdefghij')}, {'sha256': '0'}, {'image_shape': [9, 9, 1]}])
def test_an_edited_description(photos, tmp_path, changes):
    TrainedClassifier.of_run(photos.work).save(tmp_path)
    _edited(tmp_path / 'model.json', **changes)
    refused(lambda: TrainedClassifier.load(tmp_path), tmp_path, 'not what `save` wrote')


@pytest.mark.parametrize('name', ['model.json', 'model.safetensors'])
@pytest.mark.parametrize('damage', ['missing', 'cut'])
def test_broken_files(photos, tmp_path, name, damage):
    TrainedClassifier.of_run(photos.work).save(tmp_path)
    file = tmp_path / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    if damage == 'missing':
        file.unlink()
    refused(lambda: TrainedClassifier.load(tmp_path), str(tmp_path))
