"""The phases of a run: their names, order and rounds."""

import dataclasses

from ml_collections import ConfigDict

PHASES = ('base', 'pretrain', 'classify', 'select', 'contrast', 'finetune')
REPEATED = ('select', 'contrast', 'finetune')  # once for each of config.rounds
# The columns of the paper's tables.
PHASE_LISTS = {
    'base': ('base',),
    'pretrained': ('pretrain', 'classify'),
    'finetuned': ('pretrain', 'classify', 'select', 'contrast', 'finetune'),
    'all': PHASES,
}


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


def last_classifier(config: ConfigDict) -> str | None:
    """The name of the phase that holds the last classifier, as in checkpoints/; None: the run trains none.

    It is `finetune` in its last round, else `classify`, else `base`.
    """
    names = {entry.phase: entry.name for entry in entries(config)}
    return next((names[phase] for phase in ('finetune', 'classify', 'base') if phase in names), None)
