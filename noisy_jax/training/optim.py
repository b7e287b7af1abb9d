"""Optimisers and learning-rate schedules, and which parameters each stage trains."""

import operator
from collections.abc import Mapping
from typing import Any

import jax
import optax
from ml_collections import ConfigDict

from noisy_jax.config import Section, Setting
from noisy_jax.errors import InputError
from noisy_jax.schedule import MOST_EPOCHS

REPRESENTATION = ('encoder', 'projection')  # contrastive phases; a network may have no projection head
CLASSIFIER = ('encoder', 'classifier')  # a whole classifier; the projection head is frozen
HEAD = ('classifier',)  # the encoder is frozen, with its BatchNorm statistics

OPTIMIZERS = ('sgd', 'adam', 'adamw')
SCHEDULES = ('cosine', 'step', 'constant')

ENCODER_SCALE = Setting(1.0, "learning rate of the encoder, as a share of the head's", 0.0, 1000.0)


def settings(learning_rate: float = 0.01, weight_decay: float = 1e-4) -> Section:
    """The settings of an optimiser with these defaults."""
    return {
        'name': Setting(
            'sgd',
            "optimiser; sgd's learning rate is for a batch of 256 and scales with the batch",
            choices=OPTIMIZERS,
        ),
        'learning_rate': Setting(learning_rate, 'peak of the schedule', 0.0, 1000.0),
        'weight_decay': Setting(
            weight_decay, 'weight decay, decoupled in adamw, else added to the gradient', 0.0, 1000.0
        ),
        'momentum': Setting(0.9, 'momentum of sgd', 0.0, 1.0),
        'nesterov': Setting(False, "use Nesterov's momentum in sgd"),
        'schedule': Setting(
            'cosine', "schedule; 'cosine' falls to almost 0, 'step' tenfold at milestones", choices=SCHEDULES
        ),
        'warmup_epochs': Setting(0, 'epochs of linear warm-up', 0, MOST_EPOCHS),
        'milestones': Setting((), "epochs at which 'step' divides the learning rate by 10", 0, MOST_EPOCHS),
        'encoder_scale': ENCODER_SCALE,
        'clip_norm': Setting(
            0.0, "length to which a network's gradient is cut; 0: none, 5 in the code of NFL+RCE's authors", 0.0, 1e6
        ),
    }


_DEFAULTS = {name: setting.default for name, setting in settings().items()}


def section_of(phase: str, *, head: bool) -> str:
    """Where a phase has its optimiser's settings, for its head alone or for everything that it trains."""
    owner = {'base': 'classify', 'contrast': 'pretrain', 'cross_fit': 'classify'}.get(phase, phase)
    return 'head_optimizer' if head else f'{owner}.optimizer'


def settings_of(config: ConfigDict, phase: str, *, head: bool) -> ConfigDict:
    """The optimiser's settings of a phase, for its head alone or for everything that it trains."""
    found = operator.attrgetter(section_of(phase, head=head))(config)
    if phase == 'base' and not head:  # from scratch: its encoder may need another rate than a pre-trained one
        return ConfigDict(found.to_dict() | {'encoder_scale': config.base.encoder_scale})
    return found


def learning_rate_schedule(
    own: Mapping[str, Any], peak: float, *, epochs: int, steps_per_epoch: int, end: float = 1e-6
) -> optax.Schedule:
    """Learning rate as a function of the step, by the keys schedule, warmup_epochs and milestones of `own`.

    'cosine' falls smoothly from `peak` to `end` over max(epochs, 10) epochs (PyTorch's CosineAnnealingLR as the
    original uses it); at the first step of an epoch it equals the original's value of that epoch. 'step' divides it by
    10 at each milestone, 'constant' keeps it. Before it the rate rises linearly for `warmup_epochs`.

    Raises:
      InputError: an unknown schedule.
    """
    own = _DEFAULTS | dict(own)
    kind, before = own['schedule'], own['warmup_epochs']
    warmup = before * steps_per_epoch
    if kind == 'cosine':
        length = max(epochs - before, 10 - before, 1) * steps_per_epoch
        # optax's alpha is the end as a fraction of the peak.
        main = optax.cosine_decay_schedule(peak, length, alpha=min(end / peak, 1.0) if peak else 0.0)
    elif kind == 'step':
        boundaries = {(epoch - before) * steps_per_epoch: 0.1 for epoch in own['milestones']}
        main = optax.piecewise_constant_schedule(peak, boundaries)
    elif kind == 'constant':
        main = optax.constant_schedule(peak)
    else:
        raise InputError(f'schedule: {kind!r} is unknown; allowed: {", ".join(SCHEDULES)}')
    if not warmup:
        return main
    return optax.join_schedules([optax.linear_schedule(peak / warmup, peak, warmup - 1), main], [warmup])


def _scale_encoder(factor: float) -> optax.GradientTransformation:
    """Multiplies the updates of the encoder: its learning rate is `factor` times the head's."""

    def update(updates: dict, params: optax.Params | None = None) -> dict:
        del params
        if 'encoder' not in updates:
            return updates
        return {**updates, 'encoder': jax.tree.map(lambda u: factor * u, updates['encoder'])}

    return optax.stateless(update)


def _clip(norm: float, networks: int) -> optax.GradientTransformation:
    """Cuts gradients to that length, each network's own where arrays hold those of two, [2, ...]."""
    clip = optax.clip_by_global_norm(norm)

    def cut(updates: dict) -> dict:
        return clip.update(updates, clip.init(updates))[0]

    def update(updates: dict, params: optax.Params | None = None) -> dict:
        del params
        return cut(updates) if networks == 1 else jax.vmap(cut)(updates)

    return optax.stateless(update)


def optimizer(
    own: Mapping[str, Any], *, epochs: int, steps_per_epoch: int, batch_size: int, networks: int = 1
) -> optax.GradientTransformation:
    """The optimiser of a stage by `own`, some or all of `settings()`.

    'sgd' scales the learning rate by batch_size / 256 and decays weights through the gradient, as PyTorch's SGD; 'adam'
    decays through the gradient too (PyTorch's Adam), 'adamw' decoupled (Loshchilov 2019); neither scales. `clip_norm`
    cuts the gradient before weight decay is added, as PyTorch's clip_grad_norm_ does. The arrays of 2 `networks` are
    stacked, [2, ...].

    Raises:
      InputError: an unknown name or schedule.
    """
    own = _DEFAULTS | dict(own)
    name, decay = own['name'], own['weight_decay']
    peak = own['learning_rate'] * batch_size / 256 if name == 'sgd' else own['learning_rate']
    rate = learning_rate_schedule(own, peak, epochs=epochs, steps_per_epoch=steps_per_epoch)
    if name == 'sgd':
        sgd = optax.sgd(rate, own['momentum'] or None, nesterov=own['nesterov'])
        main = optax.chain(optax.add_decayed_weights(decay), sgd)
    elif name == 'adam':
        main = optax.chain(optax.add_decayed_weights(decay), optax.adam(rate))
    elif name == 'adamw':
        main = optax.adamw(rate, weight_decay=decay)
    else:
        raise InputError(f'optimizer: {name!r} is unknown; allowed: {", ".join(OPTIMIZERS)}')
    scale, clip = own['encoder_scale'], own['clip_norm']
    main = main if scale == 1.0 else optax.chain(main, _scale_encoder(scale))
    return optax.chain(_clip(clip, networks), main) if clip else main
