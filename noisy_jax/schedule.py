"""The phases of a run in order, and what of them others ask for."""

from ml_collections import ConfigDict


def last_classifier(config: ConfigDict) -> str | None:
    """The name of the phase that holds the last classifier, as in checkpoints/; None: the run trains none.

    It is `finetune` in its last round, else `classify`, else `base`.
    """
    if 'finetune' in config.phases:
        return f'finetune_{config.rounds}' if config.rounds > 1 else 'finetune'
    return next((phase for phase in ('classify', 'base') if phase in config.phases), None)
