"""What a run found, read from its work directory: the numbers that page and plots show."""

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np

from noisy_jax.workdir import WorkDir

TITLES = {'base': 'Base', 'classify': 'Pre-trained', 'finetune': 'Fine-tuned'}  # classifiers, as the paper calls them
_VARIANCE_FLOOR = 5e-4  # that noisy_jax.selection adds to each component's variance


@dataclasses.dataclass(frozen=True)
class Component:
    """One Gaussian of the mixture on the losses."""

    weight: float
    mean: float
    variance: float

    def density(self, x: np.ndarray) -> np.ndarray:
        """Its share of the mixture's density at `x` [P]."""
        spread = np.sqrt(2 * np.pi * self.variance)
        return self.weight * np.exp(-((x - self.mean) ** 2) / (2 * self.variance)) / spread


@dataclasses.dataclass(frozen=True)
class Findings:
    """A finished run with a classifier; N judged images in the order of `index`, C classes.

    Attributes:
      config, data, summary: the JSON files.
      epochs: the lines of metrics.jsonl.
      index: int64 [N]. id: str [N].
      given, suggested: int64 [N]; true: int64 [N] where known, else None.
      pred_prob: float64 [N], of the suggested label. clean: float64 [N], that the given label is right.
      loss: float64 [N], of the given label, scaled to [0, 1]: what the mixture was fitted to.
      by_suspicion: int64 [N], rows, the most suspicious first.
      noise_matrix: float64 [C, C], estimated P(given | right), a row per right class.
    """

    config: dict[str, Any]
    data: dict[str, Any]
    summary: dict[str, Any]
    epochs: list[dict[str, Any]]
    index: np.ndarray
    id: np.ndarray
    given: np.ndarray
    suggested: np.ndarray
    true: np.ndarray | None
    pred_prob: np.ndarray
    clean: np.ndarray
    loss: np.ndarray
    by_suspicion: np.ndarray
    noise_matrix: np.ndarray

    @classmethod
    def of(cls, folder: WorkDir) -> 'Findings':
        """Reads a run.

        Raises:
          InputError: a file is missing or broken.
        """
        labels, probabilities = folder.load_labels(), folder.load_array('pred_probs')
        data, summary = folder.load_json('data'), folder.load_json('summary')
        number = {name: row for row, name in enumerate(data['classes'])}
        given, suggested, true = (
            np.array([number[name] for name in labels[column]]) if column in labels else None
            for column in ('given_label', 'suggested_label', 'true_label')
        )
        of_given = probabilities[np.arange(len(given)), given]
        # Rounded in labels.csv, a probability next to the threshold may seem to be on its other side.
        threshold, clean = summary['label_issues']['threshold'], labels['clean_probability']
        below = np.minimum(clean, np.nextafter(threshold, 0))
        clean = np.where(labels['is_suspect'], below, np.maximum(clean, threshold))
        with folder.metrics.open(encoding='utf-8') as lines:
            epochs = [json.loads(line) for line in lines]
        return cls(
            config=folder.load_json('config'),
            data=data,
            summary=summary,
            epochs=epochs,
            index=labels['index'],
            id=labels['id'],
            given=given,
            suggested=suggested,
            true=true,
            pred_prob=labels['pred_prob'],
            clean=clean,
            loss=_scaled(-np.log(np.maximum(of_given, np.finfo(np.float32).tiny), dtype=np.float64)),
            by_suspicion=np.lexsort((of_given - labels['pred_prob'], clean)),
            noise_matrix=folder.load_array('labels/noise_matrix'),
        )

    @property
    def classes(self) -> list[str]:
        return self.data['classes']

    @property
    def issues(self) -> dict[str, Any]:
        """What summary.json says of the list of wrong labels."""
        return self.summary['label_issues']

    @property
    def threshold(self) -> float:
        return self.issues['threshold']

    @property
    def title(self) -> str:
        """The name of the data's folder or file, else the config's."""
        return pathlib.PurePath(self.config['data'].get('path', '')).name or self.config['name']

    @property
    def is_suspect(self) -> np.ndarray:
        """bool [N]."""
        return self.clean < self.threshold

    @property
    def is_one_group(self) -> bool:
        """Whether the losses could not tell two groups apart: every label is trusted."""
        return bool((self.clean == 1).all())

    @property
    def components(self) -> list[Component]:
        """The mixture of right and wrong labels, from its posterior: EM's last step; empty where there is one group."""
        if self.is_one_group:
            return []
        found = []
        for share in (self.clean, 1 - self.clean):
            mean = np.average(self.loss, weights=share)
            variance = np.average((self.loss - mean) ** 2, weights=share) + _VARIANCE_FLOOR
            found.append(Component(float(share.mean()), float(mean), float(variance)))
        return found

    @property
    def counts(self) -> np.ndarray:
        """Images by given (row) and suggested label, int64 [C, C]."""
        counts = np.zeros((len(self.classes),) * 2, np.int64)
        np.add.at(counts, (self.given, self.suggested), 1)
        return counts

    def cuts(self) -> dict[str, list]:
        """What each threshold from 0 to 1 in thousandths (the run's own among them) gives.

        threshold; suspects: their number; caught: the sum of their chances to be wrong; border: the scaled loss from
        which labels are suspect, None where none is; hits: how many are wrong, where true labels are known.
        """
        grid = np.linspace(0, 1, 1001).round(3)
        grid[np.abs(grid - self.threshold).argmin()] = self.threshold
        order = np.argsort(self.clean, kind='stable')
        suspects = np.searchsorted(self.clean[order], grid, side='left')
        middle = self.components[0].mean if self.components else 0.0
        upper = np.where(self.loss > middle, self.loss, np.inf)[order]
        border = _before(np.minimum.accumulate(upper), suspects, np.inf)
        cuts = {
            'threshold': grid.tolist(),
            'suspects': suspects.tolist(),
            'caught': _before(np.cumsum(1 - self.clean[order]), suspects, 0.0).round(3).tolist(),
            'border': [round(value, 4) if np.isfinite(value) else None for value in border.tolist()],
        }
        if self.true is not None:
            wrong = (self.given != self.true)[order]
            cuts['hits'] = _before(np.cumsum(wrong), suspects, 0).tolist()
        return cuts


def _before(running: np.ndarray, counts: np.ndarray, start: float) -> np.ndarray:
    """The running value [N] after the first `counts` [K] rows; `start` after none."""
    return np.concatenate([[start], running])[counts]


def _scaled(values: np.ndarray) -> np.ndarray:
    spread = np.ptp(values)
    return (values - values.min()) / spread if spread else np.zeros_like(values)
