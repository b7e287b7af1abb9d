"""What a run found, read from its work directory: the numbers that page and plots show."""

import dataclasses
import pathlib
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix

from noisy_jax import schedule
from noisy_jax.errors import InputError
from noisy_jax.labels import judges, selection
from noisy_jax.labels.issues import LabelIssues
from noisy_jax.labels.mixtures import VARIANCE_FLOOR
from noisy_jax.workdir import WorkDir


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Findings(LabelIssues):
    """The label issues of a finished run, and what else the report shows of it.

    Attributes:
      config, data, summary: the JSON files.
      epochs: the lines of metrics.jsonl.
      id: str [N], of the labelled images.
      loss: float64 [N], scaled to [0, 1]: that of the given labels, to which the mixture was fitted, or the suspicion
        of the judge that made the list.
    """

    config: dict[str, Any]
    data: dict[str, Any]
    summary: dict[str, Any]
    epochs: list[dict[str, Any]]
    id: np.ndarray
    loss: np.ndarray

    @classmethod
    def load(cls, folder: WorkDir) -> 'Findings':
        """Reads a run; InputError: a file is missing or broken."""
        issues, ids = LabelIssues.load(folder), folder.load_labels()['id']
        if len(ids) != len(issues.given):
            raise InputError(f'{folder.path}/labels.csv: rows are missing; rerun the command of the run to write it')
        return cls(
            **{field.name: getattr(issues, field.name) for field in dataclasses.fields(issues)},
            config=folder.load_json('config'),
            data=folder.load_json('data'),
            summary=folder.load_json('summary'),
            epochs=folder.epochs(),
            id=ids,
            loss=selection.scaled_mean(
                judges.suspicion(issues.probabilities, issues.given) if issues.verdict else issues.losses
            ),
        )

    @property
    def classes(self) -> list[str]:
        return self.data['classes']

    @property
    def title(self) -> str:
        """The name of the data's folder or file, else the config's."""
        return pathlib.PurePath(self.config['data'].get('path', '')).name or self.config['name']

    @property
    def last_phase(self) -> dict[str, Any]:
        """The record of the phase that trained the last classifier; empty where none was trained."""
        phases = {phase['name']: phase for phase in self.summary['phases']}
        return phases.get(schedule.last_classifier(phases), {})

    @property
    def fault(self) -> str:
        """Why the list is not to be trusted; '' where nothing speaks against it."""
        return self.verdict.fault if self.verdict else ''

    @property
    def is_one_group(self) -> bool:
        """Whether the losses do not form two groups, so that every label is trusted."""
        return self.verdict is None and bool((self.clean_probability == 1).all())

    @property
    def components(self) -> list[Component]:
        """The mixture of right and wrong labels, from its posterior (EM's last step); empty without."""
        if self.is_one_group or self.verdict:
            return []
        found = []
        for share in (self.clean_probability, 1 - self.clean_probability):
            mean = np.average(self.loss, weights=share)
            variance = np.average((self.loss - mean) ** 2, weights=share) + VARIANCE_FLOOR
            found.append(Component(float(share.mean()), float(mean), float(variance)))
        return found

    @property
    def counts(self) -> np.ndarray:
        """Images by given (row) and suggested label, int64 [C, C]."""
        return confusion_matrix(self.given, self.suggested, labels=np.arange(len(self.classes)))

    def cuts(self) -> dict[str, list]:
        """What follows from each threshold from 0 to 1 in thousandths, the run's own among them.

        threshold; suspects: number of labels below it; caught: sum of their probabilities to be wrong, with the least
        and the most of it where a judge says them; border: the scaled loss from which labels are listed, None where
        none is; hits: wrong ones, where truth is known.
        """
        grid = np.linspace(0, 1, 1001).round(3)
        grid[np.abs(grid - self.threshold).argmin()] = self.threshold
        order = np.argsort(self.clean_probability, kind='stable')
        clean = self.clean_probability[order]
        suspects = np.searchsorted(clean, grid, side='left')
        middle = self.components[0].mean if self.components else 0.0
        upper = np.where(self.loss > middle, self.loss, np.inf)[order]
        border = _before(np.minimum.accumulate(upper), suspects, np.inf)
        cuts = {
            'threshold': grid.tolist(),
            'suspects': suspects.tolist(),
            'caught': _before(np.cumsum(1 - clean), suspects, 0.0).round(3).tolist(),
            'border': [round(value, 4) if np.isfinite(value) else None for value in border.tolist()],
        }
        if self.verdict:
            for name, wrong in zip(('least', 'most'), self.verdict.wrong[::2, order], strict=True):
                cuts[name] = _before(np.cumsum(wrong), suspects, 0.0).round(3).tolist()
        if self.is_wrong is not None:
            cuts['hits'] = _before(np.cumsum(self.is_wrong[order]), suspects, 0).tolist()
        return cuts


def _before(running: np.ndarray, counts: np.ndarray, start: float) -> np.ndarray:
    """The running value [N] after the first `counts` [K] rows; `start` after none."""
    return np.concatenate([[start], running])[counts]
