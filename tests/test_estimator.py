"""NoisyLabelClassifier: the method as a scikit-learn estimator, on real digits."""

import doctest
import enum
import io
import json
import pickle
import random
import signal
import subprocess
import sys
import tempfile
import threading
import warnings

import numpy as np
import pandas as pd
import pytest
from conftest import refused
from ml_collections import ConfigDict
from PIL import Image
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, ShuffleSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import estimator_checks_generator
from tiny import CONFIGS

import noisy_jax
from noisy_jax import NoisyLabelClassifier, errors
from noisy_jax.config import load
from noisy_jax.data import noise
from noisy_jax.data.dataset import NO_LABEL
from noisy_jax.inference import inputs, targets
from noisy_jax.inference.trained import TrainedClassifier
from noisy_jax.settings import default, presets
from noisy_jax.training.metrics import MetricWriter

X, DIGIT = load_digits(return_X_y=True)  # [1797, 64] in 0..16
NAMES = np.array(['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine'])
SHORT = io.BytesIO()  # a PNG without its second half
Image.effect_noise((64, 64), 50).save(SHORT, 'png')
SHORT.truncate(1500)
TRAIN, TEST, BARE = slice(0, 1200), slice(1200, None), slice(1000, 1200)


def tiny(**changes):
    """The least that trains at all."""
    least = {'encoder': 'cnn_small', 'loss': 'ce', 'pretrain_epochs': 1, 'epochs': 1, 'rounds': 0, 'augment': 'none'}
    return NoisyLabelClassifier(**least | {'cross_fit': 0} | changes)


@pytest.fixture(scope='module')
def noisy():
    """Names of the training images: 40 % are wrong, and the last 200 images have none."""
    wrong = noise.symmetric(DIGIT[TRAIN], 0.4, 10, np.random.default_rng(0))
    names = NAMES[wrong]
    names[BARE] = '?'
    return names


@pytest.fixture(scope='module')
def fitted(noisy):
    settings = {'pretrain_epochs': 20, 'epochs': 10, 'batch_size': 100}
    return NoisyLabelClassifier(unlabelled='?', **settings).fit(X[TRAIN], noisy)


def test_predicts_clean_labels_after_wrong_ones(fitted):
    assert fitted.score(X[TEST], NAMES[DIGIT[TEST]]) > 0.9
    assert list(fitted.classes_) == sorted(NAMES)
    probabilities = fitted.predict_proba(X[TEST])
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    assert (fitted.predict(X[TEST]) == fitted.classes_[probabilities.argmax(1)]).all()


def test_lists_wrong_labels(fitted, noisy):
    issues, right = fitted.label_issues_, NAMES[DIGIT[TRAIN]][:1000]
    assert (issues['index'] == np.arange(1000)).all()
    assert (issues['given_label'] == noisy[:1000]).all()
    assert issues.dtype['given_label'] == issues.dtype['suggested_label'] == fitted.classes_.dtype
    wrong, suspect = issues['given_label'] != right, issues['is_suspect']
    assert (wrong & suspect).sum() / suspect.sum() > 0.9
    assert (wrong & suspect).sum() / wrong.sum() > 0.85
    assert (issues['suggested_label'] == right)[wrong].mean() > 0.85
    assert (suspect == (issues['clean_probability'] < 0.5)).all()
    assert fitted.noise_rate_ == pytest.approx(wrong.mean(), abs=0.1)


def test_a_list_that_is_not_to_be_trusted_is_told_of():
    labels = np.random.default_rng(0).integers(0, 4, 80)
    with pytest.warns(UserWarning, match='label_issues_ are not to be trusted: it predicts .* of 80 labels'):
        tiny(cross_fit=2, pretrain_epochs=0).fit(X[:80], labels)


def test_unlabelled_images_join_the_pre_training_alone(fitted):
    assert len(fitted.clean_probability_) == 1200
    assert np.isnan(fitted.clean_probability_[BARE]).all()
    assert (fitted.clean_probability_[:1000] == fitted.label_issues_['clean_probability']).all()
    assert '?' not in fitted.classes_


def test_images_without_a_label_do_not_count_in_the_score(fitted):
    images, labels = X[:40], fitted.predict(X[:40])
    labels[::2] = fitted.unlabelled
    assert fitted.score(images, labels) == 1
    labels[1] = next(each for each in fitted.classes_ if each != labels[1])
    assert fitted.score(images, labels) == 0.95
    with pytest.warns(DataConversionWarning, match='column-vector'):
        assert fitted.score(images, labels[:, None]) == 0.95
    refused(lambda: fitted.score(images, np.full(40, fitted.unlabelled)), 'y: all 40 are unlabelled')
    refused(lambda: fitted.score(images, [None, *labels[1:]]), 'y: 1 of 40 are missing', 'the first in row 0')
    with pytest.raises(ValueError, match='string'):  # none of these could be right
        fitted.score(images, np.array(['?', *range(39)], object))


def test_each_call_speaks_for_itself(fitted):
    """What was said of one wrong scale is said of the next; names of features say nothing."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        assert len(fitted.get_feature_names_out()) == fitted.transform(X[TEST][:20]).shape[1]
        assert not caught
        for _ in range(2):
            fitted.predict(X[TEST][:20] // 8)
    assert len(caught) == 2
    assert all('are the pixels of the same scale?' in str(each.message) for each in caught)


def test_images_in_every_form(fitted):
    expected = fitted.predict_proba(X[:50])
    for images in (X[:50].reshape(-1, 8, 8), X[:50].reshape(-1, 8, 8, 1), X[:50].astype(np.uint8), X[:50].tolist()):
        np.testing.assert_array_equal(fitted.predict_proba(images), expected)
    assert fitted.image_shape_ == (8, 8, 1)
    assert fitted.n_features_in_ == 64


def test_embeddings(fitted):
    embeddings = fitted.transform(X[:50])
    assert embeddings.shape == (50, 128)
    assert len(fitted.get_feature_names_out()) == 128


@pytest.mark.parametrize('kept', ['pickle', 'save'])
def test_kept_and_read_back(fitted, kept, tmp_path, monkeypatch):
    if kept == 'pickle':
        back = pickle.loads(pickle.dumps(fitted))
    else:
        monkeypatch.setenv('HOME', str(tmp_path))
        fitted.save('~/saved')
        fitted.save(tmp_path / 'saved')  # over what is its own
        assert [path.name for path in tmp_path.iterdir()] == ['saved']
        assert not list(tmp_path.rglob('*.pkl'))
        back = NoisyLabelClassifier.load('~/saved')
    np.testing.assert_array_equal(back.predict_proba(X[TEST]), fitted.predict_proba(X[TEST]))
    np.testing.assert_array_equal(back.label_issues_, fitted.label_issues_)
    np.testing.assert_array_equal(back.clean_probability_, fitted.clean_probability_)
    assert back.label_issues_.dtype == fitted.label_issues_.dtype
    assert back.classes_.dtype == fitted.classes_.dtype
    assert back.get_params() == fitted.get_params()
    assert back.noise_rate_ == fitted.noise_rate_
    refused_shape(back)


@pytest.mark.parametrize(
    'classes',
    [
        np.arange(-5, 5, dtype=np.int8),
        np.arange(10) / 2,
        np.array(list('abcdefghij'), 'S'),
        np.sort(NAMES).astype(object),
    ],
    ids=['int8', 'float', 'bytes', 'objects'],
)
def test_labels_of_every_type_are_saved(fitted, classes, tmp_path):
    other = clone(fitted).set_params(image_shape=(8, 8), unlabelled=np.nan, config=default(), workdir=tmp_path)
    other.__dict__ |= {name: value for name, value in vars(fitted).items() if name.endswith('_') or name[0] == '_'}
    other.classes_ = classes
    fields = [(name, classes.dtype if 'label' in name else kind) for name, kind in fitted.label_issues_.dtype.descr]
    other.label_issues_ = np.zeros(3, fields)
    for name in ('given_label', 'suggested_label'):
        other.label_issues_[name] = classes[[0, 1, 1]]
    other.save(tmp_path / 'saved')
    back = NoisyLabelClassifier.load(tmp_path / 'saved')
    assert back.classes_.dtype == classes.dtype
    assert back.classes_.tolist() == classes.tolist()
    assert back.label_issues_.tolist() == other.label_issues_.tolist()
    assert back.image_shape == (8, 8)
    assert back.config.to_dict() == default().to_dict()
    assert back.config.phases == default().phases
    assert back.workdir == str(tmp_path)
    assert np.isnan(back.unlabelled)


def refused_shape(fitted):
    refused(lambda: fitted.predict(X.reshape(-1, 4, 16)), 'X', '(4, 16)', '(8, 8, 1)')
    with pytest.raises(ValueError, match='60 features'):
        fitted.predict(X[:, :60])


def test_what_cannot_be_read_or_saved(fitted, tmp_path):
    refused(lambda: NoisyLabelClassifier.load(tmp_path / 'nothing'), tmp_path / 'nothing', 'save')
    fitted.save(tmp_path / 'half')
    np.save(tmp_path / 'half' / 'clean_probability.npy', fitted.clean_probability_ / 2)
    refused(lambda: NoisyLabelClassifier.load(tmp_path / 'half'), 'half', 'not what `save` wrote')
    (tmp_path / 'half' / 'estimator.json').write_text('{"parameters": {}}')
    refused(lambda: NoisyLabelClassifier.load(tmp_path / 'half'), 'half', 'save')
    with pytest.raises(NotFittedError):
        tiny().save(tmp_path)
    (tmp_path / 'file').write_text('')
    refused(lambda: fitted.save(tmp_path / 'file'), 'file')
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'classes.npy').write_text('mine')
    refused(lambda: fitted.save(tmp_path / 'mine'), 'mine', '(classes.npy)')
    assert (tmp_path / 'mine' / 'classes.npy').read_text() == 'mine'
    fitted.classifier_.save(tmp_path / 'model')
    (tmp_path / 'model' / 'classes.npy').write_text('mine')
    refused(lambda: fitted.save(tmp_path / 'model'), 'model', '(classes.npy)')
    fitted.save(tmp_path / 'whole')
    refused(lambda: fitted.classifier_.save(tmp_path / 'whole'), 'whole', 'holds a saved estimator')
    other = pickle.loads(pickle.dumps(fitted)).set_params(random_state=np.random.RandomState(0))
    refused(lambda: other.save(tmp_path / 'state'), 'random_state', 'JSON')


@pytest.mark.parametrize('change', [{'phases': ('pretrain',)}, {'effort': 'quick'}])
def test_a_config_without_a_classifier_is_refused_before_training(change):
    config = load('own_images')
    config.update(change)
    parameters = tiny(config=config).get_params(deep=False)
    refused(lambda: presets.for_estimator(parameters, 8), f'config: {next(iter(change))}', 'no classifier')


def test_epochs_are_those_of_every_classifier():
    parameters = tiny(config='own_images:phases=base', epochs=7).get_params(deep=False)
    config = presets.for_estimator(parameters, 8)
    assert [config[phase].epochs for phase in ('base', 'classify', 'finetune')] == [7, 7, 7]


def test_parameters():
    classifier = tiny(random_state=3)
    assert clone(classifier).get_params() == classifier.get_params()
    assert classifier.set_params(loss='elr').loss == 'elr'
    with pytest.raises(TypeError, match='sample_weight'):
        classifier.fit(X, DIGIT, sample_weight=np.ones(len(X)))


def test_with_the_tools_of_scikit_learn(capfd):
    whole, part = make_pipeline(FunctionTransformer(np.sqrt), tiny(batch_size=32)), slice(0, 200)
    halves = ShuffleSplit(1, test_size=100, random_state=0)
    scores = cross_val_score(whole, X[part], DIGIT[part], cv=halves)
    assert np.isfinite(scores).all()
    settings = {'noisylabelclassifier__random_state': [np.int64(0)]}
    search = GridSearchCV(whole, settings, cv=halves, refit=False).fit(X[part], DIGIT[part])
    assert search.best_score_ == scores.mean()  # the same seed, the same result
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ('', '')  # verbose=False


def test_a_work_directory_stays_with_the_settings_of_a_config(tmp_path):
    given = tiny(
        loss=None,
        config=f'{CONFIGS}/digits.py:loss=nce,phases=pretrained',
        workdir=tmp_path,
        batch_size=32,
        threshold=0.3,
    )
    errors = []

    def fit():  # a notebook may call it from a thread, which sees no signals
        try:
            given.fit(X[:100], DIGIT[:100])
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=fit)
    thread.start()
    thread.join()
    assert not errors
    settings = json.loads((tmp_path / 'config.json').read_text())
    assert (settings['loss'], settings['noise']['kind']) == ('nce', 'none')
    assert (settings['classify']['epochs'], settings['classify']['head_epochs']) == (1, 10)
    assert settings['report']['threshold'] == 0.3
    assert (tmp_path / 'labels.csv').exists()

    before = (tmp_path / 'metrics.jsonl').stat()
    again = clone(given).fit(X[:100], DIGIT[:100])
    assert (tmp_path / 'metrics.jsonl').stat() == before
    np.testing.assert_array_equal(again.predict_proba(X[:10]), given.predict_proba(X[:10]))
    refused(lambda: clone(given).fit(X[100:200], DIGIT[:100]), 'image 0 is another one', 'use another --workdir')
    deep = clone(given).set_params(image_shape=(4, 16))
    refused(lambda: deep.fit(X[:100], DIGIT[:100]), 'the shape of an image was [8, 8, 1], is [4, 16, 1]')
    refused(lambda: clone(given).fit(X[:100] * 128, DIGIT[:100]), 'black to white was None, is [0.0, 2048.0]')
    np.testing.assert_array_equal(TrainedClassifier.of_run(tmp_path).image_shape, (8, 8, 1), 'as it was')
    refused(lambda: clone(given).fit(X[:100], DIGIT[100:200]), 'given label')


def test_ctrl_c_interrupts_and_the_same_fit_goes_on(tmp_path, monkeypatch):
    classifier, write = tiny(batch_size=32, workdir=tmp_path), MetricWriter.write
    with monkeypatch.context() as patched:
        patched.setattr(MetricWriter, 'write', lambda *a, **k: (write(*a, **k), signal.raise_signal(signal.SIGINT)))
        with pytest.raises(KeyboardInterrupt, match='pretrain'):
            classifier.fit(X[:100], DIGIT[:100])
    assert not hasattr(classifier, 'classifier_')
    classifier.fit(X[:100], DIGIT[:100])
    lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
    assert [json.loads(line)['phase'] for line in lines] == ['pretrain', 'classify']


@pytest.mark.parametrize(
    ('changes', 'images', 'labels', 'words'),
    [
        ({'image_shape': (8, 9)}, X, DIGIT, ('image_shape', '72', '64')),
        ({'image_shape': 8}, X, DIGIT, ('image_shape', '(H, W, C)')),
        ({'image_shape': (4, 16)}, X.reshape(-1, 8, 8), DIGIT, ('(8, 8)', '(4, 16)')),
        ({}, X.reshape(-1, 2, 2, 4, 4), DIGIT, ('(2, 2, 4, 4)', '(H, W, C)')),
        ({}, X.reshape(-1, 1, 8, 8), DIGIT, ('(1797, 1, 8, 8)', 'channels first', 'transpose(0, 2, 3, 1)')),
        ({}, np.zeros((1797, 12, 32, 32)), DIGIT, ('(1797, 12, 32, 32)', 'channels first', 'transpose(0, 2, 3, 1)')),
        ({}, ['a.png', 'b.png'], [0, 1], ('X: names of files', '[N, H, W, C]')),
        ({}, [np.zeros((8, 8), np.uint8), np.ones((8, 8), np.float32)], [0, 1], ('X: images of float32 and of uint8',)),
        ({}, [np.zeros((8, 8), np.uint8), np.ones((8, 8), np.uint16)], [0, 1], ('X: images of uint16 and of uint8',)),
        ({}, [Image.new('1', (8, 8)), Image.new('L', (8, 8))], [0, 1], ('X: images of 1 and of L', 'one range')),
        ({}, iter(X), DIGIT, ('X: a ', 'iterator', '[N, H, W, C]')),
        ({}, {'images': X}.values(), DIGIT, ('X: a dict_values', '[N, H, W, C]')),
        ({}, {'images': X}, DIGIT, ('X: a dict', '[N, H, W, C]')),
        ({}, pd.Series(list(X[:9])), DIGIT[:9], ('X: one column of objects', 'np.stack(X)')),
        ({}, np.ma.masked_equal(X, 16), DIGIT, ('X: ', 'numbers are masked', 'X.filled(0)')),
        ({}, list(np.ma.masked_equal(X[:9], 16)), DIGIT[:9], ('X: ', 'numbers are masked', 'X.filled(0)')),
        (
            {},
            [Image.new('RGBA', (8, 8)), Image.new('CMYK', (8, 8))],
            [0, 1],
            ('X: images of CMYK and of RGBA', 'one kind'),
        ),
        ({}, [Image.new('L', (8, 8)), Image.open(SHORT)], [0, 1], ('X: image 1 cannot be read',)),
        ({}, [{'image': X[0]}, {'image': X[1]}], [0, 1], ('X: image 0 is of type dict', 'an array is needed')),
        ({}, [X[0], None, X[1]], [0, 1, 0], ('X: image 1 is of type NoneType', 'an array is needed')),
        ({}, [io.BytesIO(b'')], [0], ('X: image 0 is of type BytesIO', 'an array is needed')),
        ({}, pd.DataFrame({'image': [Image.new('L', (8, 8))] * 2}), [0, 1], ('X: one column of objects', 'np.stack')),
        ({}, [Image.new('P', (8, 8))] * 2, [0, 1], ('X: images with a palette', "image.convert('RGB')")),
        ({}, np.where(X == 16, -3.4e38, X), DIGIT, ('X: a number of -3.4e+38', 'no data')),
        ({}, X, np.zeros(len(X)), ('y', 'one class only, 0.0;')),
        ({}, X[:3], ['a', 1, 'b'], ('y', 'all strings or all numbers', 'int, str')),
        ({}, X[:3], np.array([True, 1, 0], object), ('y', 'bool, int')),
        ({}, X[:3], np.array([1, 2**64, 0], object), ('y', '64 bits')),
        ({}, X[:2], np.array([0, None]), ('y: 1 of 2 are missing', 'row 1', 'unlabelled=np.nan')),
        ({'unlabelled': 'x'}, X[:3], ['a', np.nan, 'x'], ('y: 1 of 3 are missing', 'NaN', 'row 1')),
        ({'unlabelled': ['x']}, X[:2], ['a', 'x'], ('unlabelled', "['x']", 'one value')),
        ({'config': 3}, X, DIGIT, ('config: 3', 'ConfigDict')),
        ({'config': ConfigDict()}, X, DIGIT, ('config.', 'is missing')),
        ({'threshold': np.nan}, X, DIGIT, ('report.threshold', 'nan')),
        ({'epochs': np.inf}, X, DIGIT, ('epochs: inf', 'whole number from 0')),
        ({'random_state': 2**32}, X, DIGIT, ('seed', '4294967296')),
        ({'unlabelled': 7}, X, np.full(len(X), 7), ('y', 'all 1797', 'unlabelled')),
        ({'loss': 'none'}, X, DIGIT, ('config.loss', "'none'")),
        ({'epochs': 'many'}, X, DIGIT, ('epochs', "'many'", 'whole number')),
        ({'encoder': 'lenet'}, X, DIGIT, ('encoder', 'lenet')),
        ({'config': 'nothing.py'}, X, DIGIT, ('nothing.py',)),
        ({'batch_size': 4000}, X, DIGIT, ('batch_size', '4000', '1797')),
        ({'random_state': -1}, X, DIGIT, ('seed', '-1')),
        ({'workdir': ''}, X, DIGIT, ('workdir', "''")),
        ({'workdir': str(CONFIGS)}, X, DIGIT, ('workdir', str(CONFIGS), 'other files')),
        ({'workdir': f'{__file__}/run'}, X, DIGIT, ('workdir', f'{__file__}/run')),
        ({}, X[:4], ['a', '', 'a', ' '], ("the label ''", "unlabelled=''")),
        ({}, X[:3], np.array(['a', 'a', 'b\ud83d']), ('the label', 'd83d', 'UTF-8')),
        ({'workdir': 5}, X, DIGIT, ('workdir: 5', 'path of a folder')),
        ({'rounds': pd.NA}, X, DIGIT, ('rounds: <NA>', 'whole number')),
        ({'rounds': np.zeros(2)}, X, DIGIT, ('rounds: array', 'whole number')),
        (
            {},
            [np.zeros((9, 9, 3)), np.zeros((8, 9, 3))],
            [0, 1],
            ('image 1', '(8, 9, 3)', 'image 0 (9, 9, 3)', 'one size'),
        ),
        ({}, [Image.new('RGB', (4, 5)), Image.new('L', (4, 5))], [0, 1], ('image 1', '(5, 4)', 'image 0 (5, 4, 3)')),
        ({}, np.array(['a.png', 'b.png']), [0, 1], ('X: names of files',)),
        ({'rounds': 1.5}, X, DIGIT, ('rounds: 1.5', '0, or a whole number from 1')),
        ({'rounds': -1}, X, DIGIT, ('rounds: -1', '0, or a whole number from 1')),
        ({'random_state': random.Random(0)}, X, DIGIT, ('random_state: <random.Random', 'whole number')),
        ({'unlabelled': pd.Series([1, 2])}, X, DIGIT, ('unlabelled', 'one value')),
        ({}, X.astype('datetime64[s]'), DIGIT, ('X: datetime64[s] found', 'numbers')),
    ],
)
def test_what_cannot_be_fitted(changes, images, labels, words):
    refused(lambda: tiny(**changes).fit(images, labels), *words)


@pytest.mark.parametrize(
    ('images', 'labels', 'changes'),
    [
        (X, np.char.upper(NAMES)[DIGIT], {'epochs': -5}),
        (X * 1000 - 3, DIGIT, {'epochs': -5}),
        (X[:, :49], DIGIT * 0, {}),
        (pd.DataFrame(X).rename(columns=str), DIGIT, {'loss': 'x'}),
    ],
    ids=['names', 'scale', 'width', 'columns'],
)
def test_what_was_fitted_stays_when_another_fit_is_refused(fitted, images, labels, changes):
    again = pickle.loads(pickle.dumps(fitted)).set_params(unlabelled=None, **changes)
    refused(lambda: again.fit(images, labels))
    assert vars(again).keys() == vars(fitted).keys()
    np.testing.assert_array_equal(again.predict(X[TEST]), fitted.predict(X[TEST]))
    refused_shape(again)


def test_what_was_not_fitted_stays_so():
    new = tiny(epochs=-5)
    refused(lambda: new.fit(X, DIGIT))
    with pytest.raises(NotFittedError):
        new.predict(X)


@pytest.mark.parametrize(
    ('images', 'labels', 'words'),
    [
        (X[:10], DIGIT[:9], r'\[10, 9\]'),
        (X[:2], np.array(['a', np.nan], object), 'NaN'),
        (X[:2], [0.0, np.nan], 'NaN'),
        (np.full((2, 4), np.nan), [0, 1], 'NaN'),
        (X[:0].reshape(0, 8, 8), [], '0 sample'),
    ],
)
def test_what_scikit_learn_refuses(images, labels, words):
    with pytest.raises(ValueError, match=words):
        tiny().fit(images, labels)


NA = pd.NA


class Part(str, enum.Enum):  # noqa: UP042 - whose members are not written as their text
    SCRATCH, SCRAP, DENT = 'scratch', 'scrap', 'dent'


@pytest.mark.parametrize('unlabelled', [np.nan, None, NA, 'x', -1], ids=repr)
@pytest.mark.parametrize(
    ('y', 'classes'),
    [
        (pd.Series(['a', NA, 'b'], dtype='string'), ['a', 'b']),
        (pd.Series(['a', None, 'b'], dtype='category'), ['a', 'b']),
        (pd.Series([2**53 + 1, NA, 2**53], dtype='Int64'), [2**53, 2**53 + 1]),  # as floats they are the same
        (pd.Series([1, None, 2**53 + 1], dtype=pd.CategoricalDtype([2**53 + 1, 1])), [1, 2**53 + 1]),
        (pd.Series([True, NA, False], dtype='boolean'), [False, True]),
        (np.array(['a', None, 'b'], object), ['a', 'b']),
        (np.array([1, NA, 0], object), [0, 1]),
        (np.array([1, np.nan, 0]), [0.0, 1.0]),
        (['a', np.nan, 'b'], ['a', 'b']),
        ([3, None, 0], [0, 3]),
        (np.ma.masked_array([3, 5, 0], [False, True, False]), [0, 3]),
        (np.ma.masked_array(['a', 'x', 'b'], [False, True, False]), ['a', 'b']),
    ],
    ids=str,
)
def test_missing_labels(y, classes, unlabelled):
    """Any value that means 'missing' names all of them; where none does, they are refused, and never a class."""
    if unlabelled is not NA and unlabelled in (None, 'x', -1):
        refused(lambda: targets.encode(y, unlabelled), 'y: 1 of 3', 'row 1', 'unlabelled')
        return
    found, label = targets.encode(y, unlabelled)
    assert found.tolist() == classes
    assert [type(value) for value in found.tolist()] == [type(value) for value in classes]
    assert label.tolist() == [classes.index(y[0]), NO_LABEL, classes.index(y[2])]


@pytest.mark.parametrize(
    ('y', 'unlabelled', 'classes', 'label'),
    [
        (['a', 'x', 'b'], 'x', ['a', 'b'], [0, NO_LABEL, 1]),
        (np.array([2.0, -1, 1]), -1, [1.0, 2.0], [1, NO_LABEL, 0]),
        (pd.Series([2, -1, NA], dtype='Int64').fillna(1), -1, [1, 2], [1, NO_LABEL, 0]),
        ([True, False, True], None, [False, True], [1, 0, 1]),
        (pd.Series([7, 5], dtype='Int64'), np.nan, [5, 7], [1, 0]),
        (list(Part), None, ['dent', 'scrap', 'scratch'], [2, 1, 0]),
        (np.array(['b', 'abc', 'b'], np.dtypes.StringDType()), None, ['abc', 'b'], [1, 0, 1]),
    ],
)
def test_labels_become_numbers(y, unlabelled, classes, label):
    found, numbers = targets.encode(y, unlabelled)
    assert found.tolist() == classes
    assert numbers.tolist() == label


@pytest.mark.parametrize(
    ('y', 'unlabelled', 'classes'),
    [
        (['1', '-1', '2'], -1, ['-1', '1', '2']),
        ([1, -1, 2], '-1', [-1, 1, 2]),
        (np.array([0, 1, 2]), False, [0, 1, 2]),  # equal to 0
        (np.array([False, True]), np.int64(0), [False, True]),
    ],
)
def test_what_no_label_is_leaves_none_out(y, unlabelled, classes):
    with pytest.warns(UserWarning, match=f'unlabelled: no label of y is {unlabelled!r}'.replace('np.int64(0)', '0')):
        found, label = targets.encode(y, unlabelled)
    assert found.tolist() == classes
    assert NO_LABEL not in label


def test_text_that_numpy_makes_of_a_missing_label_is_warned_of():
    errors._warn_once.cache_clear()
    with pytest.warns(UserWarning, match='y: nan is taken for a class, not for no label'):
        assert targets.encode(np.array(['a', np.nan, 'b']), np.nan)[0].tolist() == ['a', 'b', 'nan']


def test_columns_in_the_order_of_text_are_warned_of():
    errors._warn_once.cache_clear()
    frame = pd.DataFrame(X[:3], columns=[f'pixel{column}' for column in range(64)])
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        inputs.check_numbers(frame)
    with pytest.warns(UserWarning, match='in the order of text, pixel0, pixel1, pixel10, ...; sort them'):
        inputs.check_numbers(frame[frame.columns.difference(['label'])])


def test_bytes_of_either_order_are_of_one_kind():
    inputs.check_numbers([X[0].astype('>u2'), X[1].astype('<u2')])
    inputs.check_numbers([Image.new('I;16', (8, 8)), Image.new('I;16B', (8, 8))])
    closed = Image.open(io.BytesIO(_png(X[0])))
    closed.close()
    refused(lambda: inputs.check_numbers([closed]), 'X: image 0 cannot be read')


def _png(digit):
    file = io.BytesIO()
    Image.fromarray((digit.reshape(8, 8) * 15).astype(np.uint8)).save(file, 'png')
    return file.getvalue()


def test_a_refused_first_fit_makes_no_work_directory(tmp_path):
    refused(lambda: tiny(encoder='resnet81', workdir=tmp_path / 'work').fit(X[:60], DIGIT[:60]), 'resnet81')
    assert not (tmp_path / 'work').exists()


def test_arrays_of_other_libraries_are_read():
    """As those of h5py and xarray, which have a shape, but no reshape."""

    class Other:
        ndim, shape, dtype = 3, (3, 8, 8), X.dtype

        def __array__(self, dtype=None, copy=None):
            return X[:3].reshape(3, 8, 8)

    rows, shape = NoisyLabelClassifier()._rows(Other(), reset=True)
    np.testing.assert_array_equal(rows, X[:3])
    assert shape == (8, 8)


@pytest.mark.slow
def test_large_images_are_scaled_as_in_training():
    images = np.random.default_rng(0).integers(0, 256, (20, 40, 48)).astype(np.uint8)
    classifier = tiny(augment='none').fit(images, np.arange(20) % 2)
    assert classifier.classifier_.image_shape == (32, 32, 1)
    assert classifier.image_shape_ == (40, 48, 1)
    assert classifier.predict(images[:3]).shape == (3,)


def test_the_example_of_the_docstring():
    runner = doctest.DocTestRunner()
    for example in doctest.DocTestFinder(recurse=False).find(NoisyLabelClassifier, 'NoisyLabelClassifier'):
        runner.run(example)
    assert tuple(runner.summarize()) == (0, 6)


def test_the_package_waits_with_jax():
    code = 'import sys, noisy_jax; assert "jax" not in sys.modules; noisy_jax.NoisyLabelClassifier'
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0
    with pytest.raises(AttributeError, match='NoisyLabelRegressor'):
        noisy_jax.NoisyLabelRegressor  # noqa: B018


# Of scikit-learn's checks these fit once at most; the others fit data of many sizes, which takes minutes.
FAST = {
    'check_dict_unchanged',
    'check_do_not_raise_errors_in_init_or_set_params',
    'check_estimator_cloneable',
    'check_estimator_sparse_array',
    'check_estimator_tags_renamed',
    'check_estimators_empty_data_messages',
    'check_estimators_unfitted',
    'check_fit2d_1sample',
    'check_methods_subset_invariance',
    'check_mixin_order',
    'check_no_attributes_set_in_init',
    'check_parameters_default_constructible',
    'check_requires_y_none',
    'check_supervised_y_no_nan',
    'check_transformers_unfitted',
    'check_valid_tag_types',
}


def checks():
    for estimator, check in estimator_checks_generator(tiny(epochs=10)):
        name = getattr(check, 'func', check).__name__
        yield pytest.param(estimator, check, id=name, marks=() if name in FAST else pytest.mark.slow)


@pytest.mark.parametrize(('estimator', 'check'), list(checks()))
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


def test_a_temporary_folder_that_does_not_serve_is_named(tmp_path, monkeypatch):
    """As jobs of an array have them."""
    (tmp_path / 'job.12[3]').mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'job.12[3]'))
    refused(lambda: tiny().fit(X[:60], DIGIT[:60]), 'TMPDIR', 'job.12[3] has [ in its path', 'set workdir')
