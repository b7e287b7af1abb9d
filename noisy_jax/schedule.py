"""The phases of a run: their names, order and rounds."""

import dataclasses
from collections.abc import Iterable

from ml_collections import ConfigDict

PHASES = ('base', 'pretrain', 'cross_fit', 'classify', 'select', 'contrast', 'finetune')
REPEATED = ('select', 'contrast', 'finetune')  # once for each of config.rounds
MOST_EPOCHS = 100_000  # of any setting: steps are counted in int32
# The columns of the paper's tables.
PHASE_LISTS = {
    'base': ('base',),
    'pretrained': ('pretrain', 'classify'),
    'finetuned': ('pretrain', 'classify', 'select', 'contrast', 'finetune'),
    'all': ('base', 'pretrain', 'classify', 'select', 'contrast', 'finetune'),
}
# The phases that train a classifier, and what the paper calls it.
_CLASSIFIERS = {'base': 'Base', 'classify': 'Pre-trained', 'finetune': 'Fine-tuned'}


@dataclasses.dataclass(frozen=True)
class Entry:
    """A phase as it comes in a run.

    Attributes:
      phase: one of PHASES, which names its settings.
      name: of its checkpoints, metrics and arrays: from the second round on 'select_2', 'contrast_2', 'finetune_2'.
    """

    phase: str
    name: str

    @property
    def is_comparison(self) -> bool:
        """Whether later phases ignore its outcome."""
        return self.phase == 'base'


def entries(config: ConfigDict) -> list[Entry]:
    """The phases of a run in order."""
    first = [Entry(phase, phase) for phase in config.phases]
    again = [phase for phase in config.phases if phase in REPEATED]
    return first + [Entry(phase, f'{phase}_{number}') for number in range(2, config.rounds + 1) for phase in again]


def title(name: str) -> str:
    """What the paper calls the classifier of a phase, of any round; '' if it trains none."""
    return _CLASSIFIERS.get(name.split('_')[0], '')


def judged_by(phases: Iterable[str]) -> tuple[str, ...]:
    """The phases, of these, whose outcome judges of labels use, in order."""
    return tuple(phase for phase in phases if phase in ('pretrain', 'cross_fit'))


def last_classifier(names: Iterable[str]) -> str | None:
    """The last of these phases, in the order of a run, that trains a classifier; None if none does."""
    return next(filter(title, reversed([*names])), None)
