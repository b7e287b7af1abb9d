"""The whole method as a scikit-learn estimator."""

import contextlib
import dataclasses
import json
import math
import os
import pathlib
import tempfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Self

import jax
import numpy as np
from ml_collections import ConfigDict
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags, assert_all_finite, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from noisy_jax import config as config_lib
from noisy_jax import pipeline, presets, settings
from noisy_jax.data import lazy
from noisy_jax.data.dataset import NO_LABEL, Dataset
from noisy_jax.data.pixels import Pixels
from noisy_jax.errors import InputError
from noisy_jax.schedule import PHASE_LISTS, PHASES, REPEATED
from noisy_jax.trained import TrainedClassifier
from noisy_jax.training.signals import Stopped
from noisy_jax.workdir import WorkDir

# The settings of the config that a parameter stands for.
_SETTINGS = {
    'encoder': ('model.encoder',),
    'loss': ('loss',),
    'pretrain_epochs': ('pretrain.epochs',),
    'epochs': ('classify.epochs', 'finetune.epochs'),
    'batch_size': tuple(f'{phase}.batch_size' for phase in PHASES),
    'augment': ('pretrain.augment', 'contrast.augment'),
    'cross_fit': ('report.cross_fit',),
    'threshold': ('report.threshold',),
    'rounds': ('rounds',),
    'random_state': ('seed',),
}
_STATE, _ARRAYS = 'estimator', ('classes', 'label_issues', 'clean_probability')  # files of `save`

_LARGE = 32  # pixels; above it the machine says to which size images are scaled


class NoisyLabelClassifier(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClassifierMixin, BaseEstimator):
    """An image classifier for labels that are partly wrong, which also lists the labels that probably are.

    Contrastive pre-training without labels, a classifier with a robust loss, correction of the labels, a second
    classifier (Ciortan 2021); every given label is judged by a head that did not see it.

    Images X are bytes [N, H, W, C] or [N, H, W], floats in [0, 1] of these shapes, or flat rows [N, D]. Numbers of
    another range are scaled by the smallest and largest of the training data. Labels y are whatever scikit-learn takes
    as classes. Sample weights are not supported: how far each label counts is what the method finds out.

    A parameter that is None is as `config` has it; without a config it is chosen from the data.

    Args:
      encoder: 'resnet18', 'resnet50', 'preact_resnet18', 'resnet_tiny', 'cnn6', 'cnn_small'.
      loss: 'elr', 'nfl_rce', 'ce', ... ; without a config 'elr'.
      pretrain_epochs: of the pre-training; the second one, with labels, has a fifth.
      epochs: of each classifier, after those of its head alone.
      batch_size: of all phases.
      rounds: how often labels are corrected and the classifier trained anew; 0 is shortest. Without a config 1.
      augment: views of the pre-training: 'simclr', 'handwriting', 'none', ...
      cross_fit: folds in which labels are judged; 0: by the classifier itself. Without a config 5.
      threshold: clean probability below which a label is suspect. Without a config 0.5.
      image_shape: (H, W) or (H, W, C) of flat rows. None: grey squares, filled up with black to the next one.
      unlabelled: the value of y, e.g. -1 or NaN, of images without a label, which join the pre-training. None: there
        are none.
      config: all other settings: a config as from configs/*.py, or 'configs/digits.py:loss=ce'. Noise is never added.
      random_state: an int, or a RandomState; None: the config's seed, without one 0. The same on the same machine
        gives the same classifier.
      workdir: a folder that keeps everything of the run (labels.csv, metrics.jsonl, checkpoints): the same fit goes on
        there, and the commands can use it. None: a temporary one.
      verbose: whether progress and a table are printed.

    Attributes:
      classes_: [C], sorted.
      label_issues_: structured array [N], in the order of X without unlabelled images: `index` (row of X),
        `given_label`, `suggested_label`, `pred_prob` (of the suggested one), `clean_probability`, `is_suspect`.
      clean_probability_: float64 [N], that the given label is right; NaN for an image without.
      noise_rate_: estimated fraction of wrong labels.
      classifier_: noisy_jax.trained.TrainedClassifier.
      image_shape_: (H, W, C).
      n_features_in_: H W C as they came, D of flat rows.

    scikit-learn's own checks pass, none is exempt (tests/test_estimator.py).

    Example:
      >>> from sklearn.datasets import load_digits
      >>> from noisy_jax import NoisyLabelClassifier
      >>> X, y = load_digits(n_class=4, return_X_y=True)
      >>> y[::10] = (y[::10] + 1) % 4  # a tenth of the labels is wrong now
      >>> classifier = NoisyLabelClassifier(pretrain_epochs=10, epochs=10, rounds=0).fit(X[:600], y[:600])
      >>> bool(classifier.label_issues_['is_suspect'][::10].mean() > 0.8)
      True
    """

    def __init__(
        self,
        *,
        encoder: str | None = None,
        loss: str | None = None,
        pretrain_epochs: int | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        rounds: int | None = None,
        augment: str | None = None,
        cross_fit: int | None = None,
        threshold: float | None = None,
        image_shape: tuple[int, ...] | None = None,
        unlabelled: Any = None,
        config: ConfigDict | str | None = None,
        random_state: int | np.random.RandomState | None = None,
        workdir: str | os.PathLike | None = None,
        verbose: bool = False,
    ) -> None:
        self.encoder = encoder
        self.loss = loss
        self.pretrain_epochs = pretrain_epochs
        self.epochs = epochs
        self.batch_size = batch_size
        self.rounds = rounds
        self.augment = augment
        self.cross_fit = cross_fit
        self.threshold = threshold
        self.image_shape = image_shape
        self.unlabelled = unlabelled
        self.config = config
        self.random_state = random_state
        self.workdir = workdir
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Trains on images X with labels y [N].

        Raises:
          ValueError: data or settings that cannot be used.
          KeyboardInterrupt: Ctrl-C; with a `workdir`, the same fit goes on from there.
        """
        rows, shape = self._rows(X, reset=True)
        label = self._labels(y, rows)
        self._pixels = Pixels.of(rows, shape, self.image_shape)
        train = Dataset(self._pixels.images(rows, shape), label, tuple(map(str, self.classes_)))
        with self._folder(train.image) as folder:
            try:
                summary = pipeline.run(self._configured(train), folder.path, (train, None), quiet=not self.verbose)
            except Stopped as stop:
                raise KeyboardInterrupt(f'stopped in {stop}') from None
            self.classifier_ = TrainedClassifier.of_run(folder.path)
            judged, probabilities = folder.load_labels(), folder.load_array('pred_probs')
        labelled = np.flatnonzero(label != NO_LABEL)
        issues = np.empty(len(labelled), _issues_type(np.int64))
        issues['index'], issues['given_label'] = labelled, label[labelled]
        issues['suggested_label'], issues['pred_prob'] = probabilities.argmax(1), probabilities.max(1)
        issues['clean_probability'], issues['is_suspect'] = judged['clean_probability'], judged['is_suspect']
        self.label_issues_ = _relabelled(issues, self.classes_.dtype, lambda codes: self.classes_[codes])
        self.clean_probability_ = np.full(len(rows), np.nan)
        self.clean_probability_[labelled] = issues['clean_probability']
        self.noise_rate_ = summary['label_issues']['estimated_noise_rate']
        return self

    def predict(self, X: ArrayLike) -> np.ndarray:
        """The most probable class of each image, [N] of the type of `classes_`."""
        best = self.predict_proba(X).argmax(1)
        return self.classes_[best]

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """The probability of each class, float32 [N, C] in the order of `classes_`."""
        images = self._images(X)
        return self.classifier_.predict_proba(images)

    def transform(self, X: ArrayLike) -> np.ndarray:
        """The classifier's embeddings, float32 [N, E]."""
        images = self._images(X)
        return self.classifier_.embed(images)

    @property
    def image_shape_(self) -> tuple[int, int, int]:
        return self._pixels.image_shape

    @property
    def _n_features_out(self) -> int:
        """E, for `get_feature_names_out`."""
        return self.classifier_.embed(np.zeros((1, *self.classifier_.image_shape), np.uint8)).shape[1]

    def save(self, folder: str | os.PathLike) -> None:
        """Writes the parameters and what is fitted: JSON, safetensors, NumPy arrays; no code, unlike pickle.

        Raises:
          ValueError: a parameter that JSON does not know, or a folder that cannot be written.
        """
        check_is_fitted(self)
        state = {
            'parameters': {name: _plain(name, value) for name, value in self.get_params(deep=False).items()},
            'pixels': dataclasses.asdict(self._pixels),
            'n_features_in_': self.n_features_in_,
            'feature_names_in_': list(getattr(self, 'feature_names_in_', [])),
            'noise_rate_': self.noise_rate_,
            'labels_are_objects': self.classes_.dtype == object,  # scikit-learn takes no other objects than str
        }
        classes = self.classes_.astype(str) if state['labels_are_objects'] else self.classes_
        issues = _relabelled(self.label_issues_, np.int64, lambda labels: np.searchsorted(self.classes_, labels))
        self.classifier_.save(folder)
        files = WorkDir(folder)
        for name, array in zip(_ARRAYS, (classes, issues, self.clean_probability_), strict=True):
            files.save_array(name, array)
        files.save_json(_STATE, state)

    @classmethod
    def load(cls, folder: str | os.PathLike) -> Self:
        """What `save` wrote.

        Raises:
          ValueError: a file is missing or broken.
        """
        path = pathlib.Path(folder)
        try:
            state = json.loads((path / f'{_STATE}.json').read_text(encoding='utf-8'))
            classes, issues, clean_probability = (np.load(path / f'{name}.npy') for name in _ARRAYS)
            self = cls(**{name: _restored(value) for name, value in state['parameters'].items()})
            self._pixels = Pixels(**_restored(state['pixels']).to_dict())
            self.n_features_in_, self.noise_rate_ = state['n_features_in_'], state['noise_rate_']
            if state['feature_names_in_']:
                self.feature_names_in_ = np.array(state['feature_names_in_'], object)
            self.classes_ = classes.astype(object) if state['labels_are_objects'] else classes
            self.label_issues_ = _relabelled(issues, self.classes_.dtype, lambda codes: self.classes_[codes])
        except (OSError, EOFError, ValueError, LookupError, TypeError) as error:
            raise InputError(f'{path}: no estimator that `save` wrote ({" ".join(str(error).split())})') from error
        self.clean_probability_ = clean_probability
        self.classifier_ = TrainedClassifier.load(path)
        return self

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _rows(self, X: ArrayLike, *, reset: bool) -> tuple[np.ndarray, tuple[int, ...]]:
        """X as numbers [N, D], and the shape in which an image came."""
        if isinstance(X, (list, tuple)):
            X = np.asarray(X)
        shape = X.shape[1:] if getattr(X, 'ndim', 2) > 2 else None
        if shape:
            X = X.reshape(len(X), math.prod(shape))
        rows = validate_data(self, X, reset=reset)
        return rows, shape or rows.shape[1:]

    def _images(self, X: ArrayLike) -> np.ndarray:
        check_is_fitted(self)
        images = self._pixels.images(*self._rows(X, reset=False))
        return lazy.scaled(images, self.classifier_.config.data.image_size)

    def _labels(self, y: ArrayLike, rows: np.ndarray) -> np.ndarray:
        """Sets `classes_`; labels by their number there, NO_LABEL where y is `unlabelled`: int64 [N]."""
        y = column_or_1d(y, warn=True)
        check_consistent_length(rows, y)
        bare = np.zeros(len(y), bool)
        if self.unlabelled is not None:
            nan = self.unlabelled != self.unlabelled
            bare = np.array([bool(value != value if nan else value == self.unlabelled) for value in y.tolist()])
        given = y[~bare]
        if not len(given):
            raise InputError(f'y: all {len(y)} are {self.unlabelled!r}, unlabelled; some of each class need a label')
        assert_all_finite(given, input_name='y')
        label = np.full(len(y), NO_LABEL)
        try:
            check_classification_targets(given)
            self.classes_, label[~bare] = np.unique(given, return_inverse=True)
        except TypeError as error:
            raise InputError(f'y: labels must be all strings or all numbers ({error})') from error
        if len(self.classes_) < 2:
            raise InputError(f'y: there is one class only, {self.classes_[0]!r}; at least 2 are needed')
        return label

    def _configured(self, train: Dataset) -> ConfigDict:
        """The config, or the usual settings for such data, changed by those parameters that are not None."""
        if self.config is None:
            config = _usual(train)
        elif isinstance(self.config, ConfigDict):
            config = self.config.copy_and_resolve_references()
        else:
            config = config_lib.load(os.fspath(self.config))
        config.noise.kind = 'none'
        if self.workdir is None:  # nothing stays
            config.report.page = config.report.tensorboard = False
            config.checkpoint_every = 10**9
        if self.rounds == 0:
            config.phases = tuple(phase for phase in config.phases if phase not in REPEATED)
        values = {name: getattr(self, name) for name in _SETTINGS} | {'rounds': self.rounds or None}
        if self.random_state is not None:
            given = isinstance(self.random_state, (int, np.integer))
            values['random_state'] = self.random_state if given else self.random_state.randint(2**31 - 1)
        for name, value in values.items():
            if value is not None:
                _set(config, name, value)
        if self.pretrain_epochs is not None:
            config.contrast.epochs = max(int(self.pretrain_epochs) // 5, 1)
        return config

    @contextlib.contextmanager
    def _folder(self, images: np.ndarray) -> Iterator[WorkDir]:
        """The work directory, of these images alone: what is finished there is not trained again."""
        if self.workdir is None:
            with tempfile.TemporaryDirectory(prefix='noisy_jax_') as path:
                yield WorkDir(path)
            return
        folder, description = WorkDir(self.workdir), {'crc32': zlib.crc32(np.ascontiguousarray(images))}
        if (folder.path / 'images.json').exists() and folder.load_json('images') != description:
            raise InputError(f'workdir: {folder.path} is that of a fit on other images; take another one')
        folder.save_json('images', description)
        yield folder


def _issues_type(label: np.dtype | type) -> np.dtype:
    fields = [('index', np.int64), ('given_label', label), ('suggested_label', label), ('pred_prob', np.float32)]
    return np.dtype([*fields, ('clean_probability', np.float64), ('is_suspect', bool)])


def _relabelled(issues: np.ndarray, dtype: np.dtype | type, change: Callable) -> np.ndarray:
    """The list with other words for the labels, of `dtype`."""
    result = np.empty(len(issues), _issues_type(dtype))
    for name in issues.dtype.names:
        result[name] = change(issues[name]) if name.endswith('_label') else issues[name]
    return result


def _set(config: ConfigDict, parameter: str, value: Any) -> None:
    value = value.item() if isinstance(value, np.generic) else value
    try:
        config.update_from_flattened_dict(dict.fromkeys(_SETTINGS[parameter], value))
    except (TypeError, ValueError) as error:
        raise InputError(f'{parameter}: {value!r} is not allowed ({" ".join(str(error).split())})') from error


def _usual(train: Dataset) -> ConfigDict:
    """The method, its sizes left to the data (noisy_jax/automatic.py)."""
    config = settings.default()
    config.name, config.phases = 'estimator', PHASE_LISTS['finetuned']
    config.report.cross_fit, config.eval_every = 5, 0
    if jax.default_backend() == 'cpu':  # nothing is gained there by keeping images on the device, and a program whose
        config.resident_bytes = 0  # arguments they are serves data of the same length only, not the next fold
    presets.leave_to_data(config)
    if max(train.image.shape[1:3]) <= _LARGE:
        config.data.image_size = 0
    return config


def _plain(name: str, value: Any) -> Any:
    """A parameter as JSON knows it."""
    if isinstance(value, ConfigDict):
        return value.to_dict()
    value = os.fspath(value) if isinstance(value, os.PathLike) else value
    value = value.item() if isinstance(value, np.generic) else value
    try:
        json.dumps(value)
    except TypeError as error:
        raise InputError(f'{name}: {value!r} cannot be saved as JSON; set_params({name}=...) first') from error
    return value


def _restored(value: Any) -> Any:
    """What `_plain` made of a parameter, back from JSON: lists are tuples, a dict is a config."""
    if isinstance(value, dict):
        return ConfigDict({name: _restored(each) for name, each in value.items()})
    return tuple(value) if isinstance(value, list) else value
