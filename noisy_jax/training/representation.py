"""How an encoder is trained by contrast: SimCLR, SupCon, MoCo, supervised MoCo, MoPro."""

from collections.abc import Callable

import jax
import numpy as np
from ml_collections import ConfigDict
from optax import GradientTransformation

from noisy_jax import losses
from noisy_jax.data import augment as aug
from noisy_jax.data.dataset import NO_LABEL, Dataset
from noisy_jax.training import knn, momentum, optim, state
from noisy_jax.training import probe as linear_probe
from noisy_jax.training.loop import Journal, Stage, fit
from noisy_jax.training.method import Method, Outcome, stage_optimizer, views
from noisy_jax.training.state import TrainState, Variables
from noisy_jax.training.steps import Step, contrastive_step

# Without labels: simclr, moco. With them, weighted by clean probability: sup_con, sup_moco, mopro.
TWO_VIEWS = ('simclr', 'sup_con')  # go through the network at once
QUEUED = ('moco', 'sup_moco', 'mopro')
METHODS = (*TWO_VIEWS, *QUEUED)
_MOST_AGAINST_ITSELF = 50_000  # images; the time grows with the square


def representation_phase(
    method: Method, train: Dataset, journal: Journal, start: Variables, settings: ConfigDict
) -> Outcome:
    """Trains encoder and projection head (MoPro: the classifier too) and judges the embeddings by k-NN."""
    trained = tuple(part for part in optim.REPRESENTATION if part in start['params'])  # there may be no projection head
    trained += optim.HEAD if settings.method == 'mopro' else ()
    optimizer = stage_optimizer(
        optim.settings_of(method.config, journal.phase, head=False), settings.epochs, settings.batch_size, train
    )
    extra = {}
    if settings.method in QUEUED:
        extra = _queue(method, train, journal, start, settings)

    def watch(current: TrainState, epoch: int) -> tuple[TrainState, dict]:
        values = {}
        if settings.knn_every and (epoch + 1) % settings.knn_every == 0:
            values = _judge(method, current.variables, train)
        return current, values

    stage = Stage('encoder', _step(method, train, settings, optimizer, trained), settings.epochs, settings.batch_size)
    final = fit(stage, state.create(start, optimizer, trained, extra), train, journal, watch).variables
    journal.record |= _judge(method, final, train, probe=method.config.linear_probe)
    return Outcome(final)


def _step(
    method: Method, train: Dataset, settings: ConfigDict, optimizer: GradientTransformation, trained: tuple[str, ...]
) -> Step:
    policy, config = views(method, settings), method.config
    if settings.method in TWO_VIEWS:
        return contrastive_step(method.network, optimizer, _loss(settings), policy, method.normalise, trained=trained)
    common = {'trained': trained, 'momentum': config.moco.momentum}
    if settings.method != 'mopro':
        common |= {'temperature': settings.temperature, 'supervised': settings.method == 'sup_moco'}
        return momentum.moco_step(method.network, optimizer, policy, method.normalise, **common)
    own, steps_per_epoch = config.mopro, len(train) // settings.batch_size
    return momentum.mopro_step(
        method.network,
        optimizer,
        policy,
        aug.policy(own.strong_augment, **config.augment.get(own.strong_augment, {})),
        method.normalise,
        temperature=own.temperature,
        prototype_momentum=own.prototype_momentum,
        alpha=own.alpha,
        threshold=own.threshold,
        prototype_step=steps_per_epoch,
        start_step=own.start_epoch * steps_per_epoch,
        **common,
    )


def _loss(settings: ConfigDict) -> Callable[[jax.Array, jax.Array, dict], jax.Array]:
    """NT-Xent (Chen 2020), which needs no label, or SupCon (Khosla 2020), positives weighted by clean probability."""

    def simclr(z1: jax.Array, z2: jax.Array, batch: dict) -> jax.Array:
        del batch
        return losses.nt_xent(z1, z2, temperature=settings.temperature)

    def sup_con(z1: jax.Array, z2: jax.Array, batch: dict) -> jax.Array:
        return losses.sup_con(
            z1,
            z2,
            batch['label'],
            batch['weight'],
            temperature=settings.temperature,
            own_view_weight=settings.own_view_weight,
        )

    return {'simclr': simclr, 'sup_con': sup_con}[settings.method]


def _queue(method: Method, train: Dataset, journal: Journal, start: Variables, settings: ConfigDict) -> momentum.Extra:
    return momentum.start(
        method.network,
        start,
        train.image.shape[1:],
        jax.random.key(journal.seed('queue')),
        size=method.config.moco.queue,
        num_classes=train.num_classes if settings.method == 'mopro' else 0,
    )


def _judge(method: Method, variables: Variables, train: Dataset, *, probe: bool = False) -> dict[str, float]:
    """Accuracy of weighted k-NN, and where asked of a linear probe, on test embeddings by the training embeddings.

    It judges the encoder and trains nothing, so that true labels serve where they are known. Without a test set each
    training image is judged by the others, and where its label may be wrong this is an agreement, no accuracy.
    """
    if np.any(train.label == NO_LABEL):
        train = train.take(np.flatnonzero(train.label != NO_LABEL))
    known = train.label if train.true_label is None else train.true_label
    bank = method.evaluator.embed(variables, train)
    if method.test is None:
        if len(train) > _MOST_AGAINST_ITSELF:
            return {}
        votes = knn.label_of_neighbours(bank, known, k=200, num_classes=train.num_classes)
        name = 'knn_agreement' if train.true_label is None else 'knn_accuracy'
        return {name: float(np.mean(votes == known))}
    queries, labels = method.evaluator.embed(variables, method.test), method.test.label
    values = {'knn_accuracy': knn.accuracy(bank, known, queries, labels, num_classes=train.num_classes)}
    return values | ({'linear_probe_accuracy': linear_probe.accuracy(bank, known, queries, labels)} if probe else {})
