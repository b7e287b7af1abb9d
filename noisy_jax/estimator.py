"""The pipeline as a scikit-learn estimator."""

import contextlib
import copy
import math
import os
import pathlib
import tempfile
from typing import Any, Self

import numpy as np
from ml_collections import ConfigDict
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import Tags, check_consistent_length
from sklearn.utils.validation import check_is_fitted, validate_data

from noisy_jax import layout, pipeline, streams
from noisy_jax.data import lazy
from noisy_jax.data.dataset import NO_LABEL, Dataset, checksums
from noisy_jax.data.pixels import Pixels
from noisy_jax.errors import InputError, warn_anew, warn_once
from noisy_jax.inference import inputs, saved, targets
from noisy_jax.inference.trained import TrainedClassifier
from noisy_jax.labels.issues import LabelIssues
from noisy_jax.settings import presets
from noisy_jax.training.signals import Stopped
from noisy_jax.workdir import WorkDir


class NoisyLabelClassifier(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClassifierMixin, BaseEstimator):
    """An image classifier for noisy labels, which also finds the likely label errors.

    Contrastive pre-training without labels, a classifier with a robust loss, label correction, a second classifier
    (Ciortan et al. 2021, https://doi.org/10.3390/data6060061); each given label is checked by a head that did not see
    it.

    Images X are bytes (of any type of numbers) [N, H, W, C] or [N, H, W], floats in [0, 1] of these shapes, or flat
    rows [N, D]. Numbers of another range are scaled by the minimum and maximum of the training data; `predict`,
    `predict_proba` and `transform` clip what lies beyond the range of training. Of images larger than 32 pixels that
    are no squares, the middle square is looked at, unless a `config` has data.image_size=0.

    Labels y are any classes that scikit-learn accepts. Sample weights are not supported: how much each label counts is
    what the method estimates. In processes that are forked after a fit JAX hangs; threads, and processes started
    otherwise ('spawn', joblib's), can predict.

    A parameter that is None is taken from `config`; without a config it is chosen from the data.

    Args:
      encoder: one of `noisy_jax.models.ENCODERS`, such as 'resnet18' or 'cnn6'.
      loss: 'elr', 'nfl_rce', 'ce', ... ; without a config 'elr'.
      pretrain_epochs: epochs of pre-training; the second one, with labels, has a fifth.
      epochs: epochs of each classifier, after those of its head alone.
      batch_size: images per step, in all phases.
      rounds: how often labels are corrected and the classifier is retrained; 0 is shortest. Without a config 1.
      augment: augmentation of pre-training: 'simclr', 'handwriting', 'none', ...
      cross_fit: folds in which labels are checked; 0: by the classifier itself. Without a config 5.
      threshold: clean probability below which a label is an issue. Without a config 0.5.
      image_shape: (H, W) or (H, W, C) of flat rows. None: grey squares, padded with black.
      unlabelled: the value of y, e.g. -1 or NaN, of images without a label, which join the pre-training; NaN stands
        for None and pandas' NA too. None: there are none.
      config: all other settings: a config as from configs/*.py, or 'configs/digits.py:loss=ce'. Noise is never added.
      random_state: an int, or a RandomState; None: the config's seed, without one 0. The same on the same machine
        gives the same classifier.
      workdir: a new or empty folder that keeps the whole run (labels.csv, metrics.jsonl, checkpoints): the same fit
        resumes there, and the commands can use it. None: a temporary one.
      verbose: whether progress and a table are printed.

    Attributes:
      classes_: [C], sorted.
      label_issues_: structured array [N], in the order of X without unlabelled images: `index` (row of X),
        `given_label`, `suggested_label`, `pred_prob` (of the suggestion), `clean_probability`, `is_suspect`.
      clean_probability_: float64 [N], the probability that the given label is right; NaN for images without one.
      noise_rate_: estimated fraction of wrong labels.
      classifier_: noisy_jax.inference.trained.TrainedClassifier.
      image_shape_: (H, W, C).
      n_features_in_: H W C as given, D of flat rows.

    It passes all of scikit-learn's estimator checks.

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
          KeyboardInterrupt: Ctrl-C; with a `workdir`, the same fit resumes there.

        After either, all that was fitted before stays.
        """
        fitted = copy.copy(self)
        fitted._fit(X, y)
        self.__dict__ = fitted.__dict__
        return self

    def _fit(self, X: ArrayLike, y: ArrayLike) -> None:
        warn_anew()
        rows, shape = self._rows(X, reset=True)
        check_consistent_length(rows, y)
        self.classes_, label = targets.encode(y, self.unlabelled)
        self._pixels = Pixels.of(rows, shape, self.image_shape)
        images, names = self._pixels.images(rows, shape), tuple(map(str, self.classes_))
        train = Dataset(images, label, names, levels=self._pixels.levels, mark=checksums(images, len(images)))
        config = presets.for_estimator(self.get_params(deep=False), max(images.shape[1:3]))
        with self._place() as place:
            try:
                with streams.unheeded() if self.verbose else contextlib.nullcontext():  # a reader that goes ends no fit
                    pipeline.run(config, place, (train, None), quiet=not self.verbose)
            except Stopped as stop:
                said = str(stop) if self.workdir is not None else 'stopped; only a fit with a workdir can resume'
                raise KeyboardInterrupt(said) from None
            self.classifier_ = TrainedClassifier.of_run(place)
            issues = LabelIssues.load(WorkDir(place))
        labelled = np.flatnonzero(label != NO_LABEL)
        labels = {'given_label': self.classes_[issues.given], 'suggested_label': self.classes_[issues.suggested]}
        rest = {name: getattr(issues, name) for name in ('pred_prob', 'clean_probability', 'is_suspect')}
        self.label_issues_ = saved.structured({'index': labelled, **labels, **rest})
        self.clean_probability_ = np.full(len(rows), np.nan)
        self.clean_probability_[labelled] = issues.clean_probability
        self.noise_rate_ = issues.numbers['estimated_noise_rate']
        if why := issues.numbers.get('why'):
            warn_once(f'label_issues_ are not to be trusted: {why}')

    def predict(self, X: ArrayLike) -> np.ndarray:
        """The most probable class of each image, [N] of the type of `classes_`."""
        best = self.predict_proba(X).argmax(1)
        return self.classes_[best]

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """The accuracy on the images that have a label; InputError: none has."""
        labelled = targets.labelled(y, self.unlabelled)
        if labelled.all():
            return super().score(X, y, sample_weight)
        if not labelled.any():
            raise InputError(f'y: all {len(y)} are unlabelled; there is nothing to score')
        weights = None if sample_weight is None else np.asarray(sample_weight)[labelled]
        given = targets.alike(targets.column(y)[labelled])
        return float(accuracy_score(given, self.predict(X)[labelled], sample_weight=weights))

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """The probability of each class, float32 [N, C] in the order of `classes_`."""
        images = self._images(X)  # checks first that it is fitted
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
        return self.classifier_.embedding_size

    def save(self, folder: str | os.PathLike) -> None:
        """Writes the parameters and all that was fitted: JSON, safetensors, NumPy arrays; no code, unlike pickle.

        Raises:
          ValueError: a parameter that JSON cannot express, or a folder that cannot be written.
        """
        check_is_fitted(self)
        saved.save(self, folder)

    @classmethod
    def load(cls, folder: str | os.PathLike) -> Self:
        """What `save` wrote.

        Raises:
          ValueError: a file is missing or broken.
        """
        return saved.load(cls, folder)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _rows(self, X: ArrayLike, *, reset: bool) -> tuple[np.ndarray, tuple[int, ...]]:
        """X as numbers [N, D], and the shape of an image as given."""
        inputs.check_numbers(X)
        if isinstance(X, (list, tuple)) or getattr(X, 'ndim', 2) > 2:
            X = np.asarray(X)
        shape = X.shape[1:] if getattr(X, 'ndim', 2) > 2 else None
        if shape:
            X = X.reshape(len(X), math.prod(shape))
        rows = validate_data(self, X, reset=reset)
        if rows.dtype.kind not in 'biuf':
            raise InputError(f'X: {rows.dtype} found; numbers are needed')
        return rows, shape or rows.shape[1:]

    def _images(self, X: ArrayLike) -> np.ndarray:
        check_is_fitted(self)
        warn_anew()
        images = self._pixels.images(*self._rows(X, reset=False))
        return lazy.scaled(images, self.classifier_.config.data.image_size)

    def _place(self) -> contextlib.AbstractContextManager[str | os.PathLike]:
        """The work directory; a temporary one until the end of the block where none is set."""
        if self.workdir is None:
            if fault := layout.path_fault(pathlib.Path(tempfile.gettempdir())):
                raise InputError(f'TMPDIR: {tempfile.gettempdir()} {fault}, or set workdir')
            return tempfile.TemporaryDirectory(prefix='noisy_jax_')
        return contextlib.nullcontext(self.workdir)
