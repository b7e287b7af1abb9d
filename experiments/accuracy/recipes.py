"""What the cells of the tables are, and the settings that each is trained with."""

import dataclasses
import pathlib
from typing import Any

from ml_collections import ConfigDict

from experiments.accuracy import cells

HUMAN = ('aggregate', 'random1', 'worst')


@dataclasses.dataclass(frozen=True)
class Cell:
    """One number of a table.

    Attributes:
      labels: 'symmetric', or a kind of human labels of CIFAR-10N.
      rate: of the symmetric noise; 0 for human labels.
      loss: as in the config.
      column: 'base', 'pretrained' or 'finetuned'.
      seed: of the config.
      recipe: 'paper', 'ours', 'all parts', 'all parts without PART', or one of VARIANTS.
      held_out: the fraction of the training images held out with their noisy labels, to choose by.
    """

    labels: str
    rate: float
    loss: str
    column: str
    seed: int = 0
    recipe: str = 'paper'
    held_out: float = 0.0

    @property
    def name(self) -> str:
        noise = f'symmetric{self.rate:.0%}'.replace('%', '') if self.labels == 'symmetric' else self.labels
        recipe = '' if self.recipe == 'paper' else f'_{self.recipe.replace(" ", "-")}'
        held_out = f'_heldout{100 * self.held_out:.0f}' if self.held_out else ''
        return f'{noise}_{self.loss}_{self.column}{recipe}{held_out}_seed{self.seed}'


@dataclasses.dataclass(frozen=True)
class Scale:
    """How large a table is: images (0: all), their side divided by `shrink`, changes to configs/cifar10.py by key."""

    images: int
    test_images: int
    shrink: int
    human: tuple[str, ...]
    seeds: int
    changes: dict[str, Any]


_ADAMW = {'name': 'adamw', 'learning_rate': 2e-3, 'weight_decay': 1e-4}
_CONTRASTIVE = ('pretrain.optimizer',)  # of contrast too
_RATES = ('head_optimizer', 'classify.optimizer', 'finetune.optimizer')  # the second is base's too


def _with(settings: dict[str, Any], places: tuple[str, ...]) -> dict[str, Any]:
    return {f'{place}.{name}': value for place in places for name, value in settings.items()}


def _epochs(base: int, pretrain: int, head: int, network: int, select: int, contrast: int) -> dict[str, int]:
    values = {'base.epochs': base, 'pretrain.epochs': pretrain, 'select.epochs': select, 'contrast.epochs': contrast}
    for phase in ('classify', 'finetune'):
        values |= {f'{phase}.head_epochs': head, f'{phase}.epochs': network}
    return values


_PHASES = ('base', 'pretrain', 'classify', 'select', 'contrast', 'finetune')
# What the smaller tables were measured with, where the demo of the paper's code has something else.
_MEASURED = {
    'augment.standard.degrees': 0.0,
    'head_optimizer.schedule': 'cosine',
    'finetune.optimizer.weight_decay': 1e-5,
    'pretrain.batch_size': 256,
    'pretrain.augment': 'simclr',
    'pretrain.optimizer.name': 'sgd',
    'pretrain.optimizer.learning_rate': 0.03,
    'pretrain.optimizer.weight_decay': 1e-4,
    'pretrain.optimizer.schedule': 'cosine',
}
_NO_KNN = {'pretrain.knn_every': 0, 'contrast.knn_every': 0}
SCALES = {
    'full': Scale(0, 0, 1, HUMAN, 3, _NO_KNN | {'model.dtype': 'bfloat16', 'pretrain.knn_every': 50}),
    'cpu': Scale(
        10_000,
        5_000,
        2,
        ('worst',),
        1,
        {'model.encoder': 'cnn6', 'model.width': 16, 'eval_every': 5, 'augment.standard.padding': 2}
        | _NO_KNN
        | _with(_ADAMW, _CONTRASTIVE + _RATES)
        | _epochs(base=40, pretrain=100, head=10, network=30, select=10, contrast=10),
    ),
    'smoke': Scale(
        200,
        100,
        2,
        (),
        1,
        {'model.encoder': 'cnn_small', 'model.width': 4, 'eval_every': 1, 'checkpoint_every': 1}
        | _NO_KNN
        | _with({'batch_size': 50}, _PHASES)
        | _epochs(base=2, pretrain=2, head=1, network=1, select=2, contrast=1),
    ),
}


# What `--search` compares: the paper's rates are for 50 times as many steps.
def _sgd(contrastive: float, classifiers: float) -> dict[str, Any]:
    """The paper's optimiser at other learning rates."""
    both = (contrastive, _CONTRASTIVE), (classifiers, _RATES)
    return {k: v for rate, places in both for k, v in _with({'name': 'sgd', 'learning_rate': rate}, places).items()}


CANDIDATES = {
    "the paper's rates": _sgd(0.03, 0.01),
    'rates x 10': _sgd(0.3, 0.1),
    'AdamW': _with(_ADAMW, _CONTRASTIVE + _RATES),
    'AdamW, SGD for the classifiers': _sgd(0.0, 0.1) | _with(_ADAMW, _CONTRASTIVE),
}


# What our recipe may consist of: changes to the paper's by key. At a smaller scale some values are others.
# The optimiser of 'pre-training' is that of (b2) as well, which trains the same encoder on from where (a1) left it.
PARTS = {
    'pre-training': {
        'pretrain.temperature': 0.2,
        'pretrain.batch_size': 512,
        'pretrain.optimizer.learning_rate': 0.06,
        'pretrain.optimizer.weight_decay': 5e-4,
        'pretrain.optimizer.warmup_epochs': 10,
    },
    'strong views': {'classify.augment': 'simclr', 'finetune.augment': 'simclr'},
    'average': {'classify.average': 0.999, 'finetune.average': 0.999},
    'neighbours': {'select.neighbours': 50},
    'second round': {'rounds': 2},
}
_PARTS_SMALL = {
    'pre-training': {'pretrain.temperature': 0.2},
    'average': {'classify.average': 0.99, 'finetune.average': 0.99},
}
# Too slow for a CPU: five times the arithmetic of one network.
_PARTS_FULL = {'two networks': {'classify.method': 'dividemix', 'finetune.method': 'dividemix'}}
# The paper's recipe with one change, to find out why a cell is as it is (at the scale cpu).
VARIANTS = {
    'encoder trained as long as Base': {'classify.epochs': 40},
    'no head alone': {'classify.head_epochs': 0, 'classify.epochs': 40},
}

# What it does consist of: that by which held-out noisy labels are predicted better by more than their error
# (--table=parts). At full size it is that of configs/cifar10.py.
OURS = {'full': (), 'cpu': ('no head alone',), 'smoke': tuple(PARTS)}


def compared(scale: str) -> list[str]:
    """The recipes of --table=parts: the paper's, one that a variant suggested, all parts, and all without each."""
    suggested = ['no head alone'] if scale != 'full' else []  # its epochs are for a CPU
    return ['paper', *suggested, 'all parts', *(f'all parts without {part}' for part in parts_of(scale))]


def parts_of(scale: str) -> dict[str, dict[str, Any]]:
    """What `all parts` has at a scale: the changes of each part."""
    return PARTS | (_PARTS_FULL if scale == 'full' else _PARTS_SMALL)


def changes_of(recipe: str, scale: str) -> dict[str, Any]:
    """What a recipe changes at a scale.

    Raises:
      ValueError: an unknown recipe.
    """
    if recipe == 'paper':
        return {}
    if recipe in VARIANTS:
        return VARIANTS[recipe]
    parts = parts_of(scale)
    known = {'ours': OURS[scale], 'all parts': tuple(parts)}
    known |= {f'all parts without {part}': tuple(other for other in parts if other != part) for part in parts}
    if recipe not in known:
        raise ValueError(f'recipe: {recipe!r} is unknown; allowed: paper, {", ".join([*known, *VARIANTS])}')
    return {key: value for part in known[recipe] for key, value in (parts | VARIANTS)[part].items()}


def config_of(cell: Cell, scale: str, data: pathlib.Path) -> ConfigDict:
    """configs/cifar10.py for this cell, with the recipe that the cell starts from."""
    noise = 'symmetric' if cell.labels == 'symmetric' else 'none'
    argument = f'loss={cell.loss},noise={noise},rate={cell.rate},phases={cell.column},data=arrays'
    changes = SCALES[scale].changes | changes_of(cell.recipe, scale)
    recipe = 'ours' if (cell.recipe, scale) == ('ours', 'full') else 'paper'
    if recipe == 'paper' and (cell.recipe, scale) != ('paper', 'full'):
        changes = _MEASURED | changes
    config = cells.config_of('cifar10', f'{argument},recipe={recipe}', changes)
    config.name, config.seed, config.data.path = f'cifar10_{scale}', cell.seed, str(data)
    config.data.valid_fraction = cell.held_out
    return config
