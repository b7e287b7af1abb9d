"""How much work a run is, so that the time it takes can be told: images times passes through the network."""

from collections.abc import Sequence

from ml_collections import ConfigDict

from noisy_jax.schedule import LABEL_FREE
from noisy_jax.training import classifier, optim, representation
from noisy_jax.training.time_left import Work, WorkPlan

# A pass forward is 1; with the gradient it is about 3.
_FORWARD, _GRADIENT = 1.0, 3.0


def plan(config: ConfigDict, schedule: Sequence[tuple[str, str]], images: int, pool: int) -> WorkPlan:
    """The work of every stage, by the name of its phase.

    Args:
      config: a full config.
      schedule: (phase, name) in order; `phase` names the settings.
      images: how many are trained on.
      pool: how many pre-training sees, where it needs no labels.
    """
    result: WorkPlan = {}
    for phase, name in schedule:
        settings = config[phase]
        if phase in ('pretrain', 'contrast'):
            sees = pool if phase == 'pretrain' and settings.method in LABEL_FREE else images
            passes = _GRADIENT + (_GRADIENT if settings.method in representation.TWO_VIEWS else _FORWARD)
            result[name] = {'encoder': Work(settings.epochs, sees * passes)}
        elif phase == 'select':
            result[name] = {'head': Work(settings.epochs, images * _FORWARD)}
        else:
            stages = {each.stage: _of_classifier(each, settings.method) for each in classifier.plans(config, phase)}
            result[name] = {
                stage: Work(epochs, images * passes) for stage, (epochs, passes) in stages.items() if epochs
            }
    return result


def _of_classifier(stage: classifier.Plan, method: str) -> tuple[int, float]:
    """Epochs and passes of an image."""
    passes = _FORWARD if stage.trained == optim.HEAD else _GRADIENT
    if method == 'dividemix' and stage.split:
        passes = 2 * (_GRADIENT + _FORWARD)  # two views, learnt from and guessed at
    elif stage.mixup or method in classifier.PAIRS:
        passes += _FORWARD  # what the averaged weights, or the other network, say
    if stage.split:
        passes += _FORWARD  # the losses of the next split
    return stage.epochs, passes * (2 if method in classifier.PAIRS else 1)
