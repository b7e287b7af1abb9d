"""The method's phases, each a short function over `fit`: (method, inputs, journal) -> outcome.

How a classifier is trained, by one network or two, is in `training/classifier.py`.

base      the classifier from scratch on the given labels, only to compare
pretrain  (a1) SimCLR on the images alone
classify  (a2) head, then all weights, on the given labels; its predictions are the pseudo-labels
select    (b1) head on the pseudo-labels; a mixture on the losses gives each pseudo-label's clean probability
contrast  (b2) supervised contrastive with the pseudo-labels, pairs weighted by clean probability
finetune  (b3) head, then all weights, on the pseudo-labels
"""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
from ml_collections import ConfigDict

from noisy_jax import losses, selection
from noisy_jax.data.dataset import Dataset
from noisy_jax.training import knn, optim, state
from noisy_jax.training.classifier import Plan, classifier_phase, fit_classifier, new_head
from noisy_jax.training.evaluate import over_dataset
from noisy_jax.training.loop import Journal, Stage, fit
from noisy_jax.training.mesh import replicate, to_host
from noisy_jax.training.method import Inputs, Method, Outcome, Phase, stage_optimizer, views
from noisy_jax.training.state import TrainState, Variables
from noisy_jax.training.steps import contrastive_step


def base(method: Method, inputs: Inputs, journal: Journal) -> Outcome:
    """All weights from scratch, for as many epochs as head and network have in `classify`."""
    return classifier_phase(method, inputs.from_scratch(), journal, method.config.base)


def pretrain(method: Method, inputs: Inputs, journal: Journal) -> Outcome:
    """(a1) NT-Xent on two views of each image (SimCLR, Chen 2020); labels play no part."""
    settings = method.config.pretrain

    def loss(z1: jax.Array, z2: jax.Array, batch: dict) -> jax.Array:
        del batch
        return losses.nt_xent(z1, z2, temperature=settings.temperature)

    start = inputs.variables or method.fresh('encoder')
    trained = _train_encoder(method, inputs.train, journal, start, settings, loss)
    journal.record['knn_accuracy'] = _knn_accuracy(method, trained, inputs.train)
    return Outcome(trained)


def classify(method: Method, inputs: Inputs, journal: Journal) -> Outcome:
    """(a2) A new head, then all weights, on the given labels."""
    return classifier_phase(method, inputs, journal, method.config.classify)


def select(method: Method, inputs: Inputs, journal: Journal) -> Outcome:
    """(b1) A new head on the pseudo-labels; the losses of its last epochs tell clean from noisy (Arazo 2019, eq. 1).

    With `neighbours`, an image's pseudo-label is first replaced by that of its neighbours.
    """
    settings, network, session = method.config.select, method.network, journal.session
    variables = new_head(method, inputs.variables, journal.phase)
    embeddings = method.evaluator.embed(variables, inputs.train)  # [N, D]: the encoder rests, so once is enough
    train = inputs.train
    if settings.neighbours:
        label = knn.label_of_neighbours(embeddings, train.label, k=settings.neighbours, num_classes=train.num_classes)
        train = train.replace(label=label)

    def per_sample(variables: Variables, batch: dict[str, jax.Array]) -> jax.Array:
        logits = network.apply(variables, batch['embedding'], train=False, method='classify')
        values = losses.cross_entropy(logits, batch['label'])
        return values + losses.negative_entropy(logits) if settings.negative_entropy else values

    per_sample_losses = over_dataset(per_sample, session.mesh, method.evaluator.batch_size, session.compiler_options)

    def remember(current: TrainState, epoch: int) -> tuple[TrainState, dict]:
        arrays = {'embedding': embeddings, 'label': train.label}
        newest = per_sample_losses(current.variables, arrays)  # [N]
        history = np.append(to_host(current.extra['loss_history'])[1:], newest[None], axis=0)  # [E, N]
        return current.replace(extra={'loss_history': replicate(history, session.mesh)}), {}

    history = np.full((settings.history, len(inputs.train)), np.nan, np.float32)
    plan = Plan('head', optim.HEAD, settings.epochs, settings.optimizer)
    extra = {'loss_history': history}
    trained = fit_classifier(method, train, journal, variables, plan, losses.criterion('ce'), extra, remember)
    recorded = to_host(trained.extra['loss_history'])[-min(settings.epochs, settings.history) :]
    weight = selection.clean_probability(recorded, history=settings.history, seed=session.seed)
    # The encoder is the one before: the head served the losses alone.
    arrays = {'selection_losses': recorded, 'weight': weight.astype(np.float32), 'label': train.label}
    return Outcome(inputs.variables, arrays)


def contrast(method: Method, inputs: Inputs, journal: Journal) -> Outcome:
    """(b2) Supervised contrastive (Khosla 2020) on the pseudo-labels, positives weighted by clean probability."""
    settings = method.config.contrast

    def loss(z1: jax.Array, z2: jax.Array, batch: dict) -> jax.Array:
        return losses.sup_con(
            z1,
            z2,
            batch['label'],
            batch['weight'],
            temperature=settings.temperature,
            own_view_weight=settings.own_view_weight,
        )

    # Below this floor a pair would have no say at all, and a row of such pairs no gradient.
    weighted = inputs.train.replace(weight=np.maximum(inputs.train.weight, settings.min_weight))
    trained = _train_encoder(method, weighted, journal, inputs.variables, settings, loss)
    journal.record['knn_accuracy'] = _knn_accuracy(method, trained, inputs.train)
    return Outcome(trained)


def finetune(method: Method, inputs: Inputs, journal: Journal) -> Outcome:
    """(b3) A new head, then all weights, on the pseudo-labels."""
    settings = method.config.finetune
    train = inputs.train
    if not settings.weighted:
        train = train.replace(weight=np.ones(len(train), np.float32))
    return classifier_phase(method, dataclasses.replace(inputs, train=train), journal, settings)


PHASES: dict[str, Phase] = {
    'base': base,
    'pretrain': pretrain,
    'classify': classify,
    'select': select,
    'contrast': contrast,
    'finetune': finetune,
}


def _train_encoder(
    method: Method, train: Dataset, journal: Journal, start: Variables, settings: ConfigDict, loss: Callable
) -> Variables:
    trained = optim.REPRESENTATION
    optimizer = stage_optimizer(settings.optimizer, settings.epochs, settings.batch_size, train)
    step = contrastive_step(method.network, optimizer, loss, views(method, settings), method.normalise, trained=trained)

    def watch(current: TrainState, epoch: int) -> tuple[TrainState, dict]:
        values = {}
        if settings.knn_every and (epoch + 1) % settings.knn_every == 0:
            values['knn_accuracy'] = _knn_accuracy(method, current.variables, train)
        return current, values

    stage = Stage('encoder', step, settings.epochs, settings.batch_size)
    return fit(stage, state.create(start, optimizer, trained), train, journal, watch).variables


def _knn_accuracy(method: Method, variables: Variables, train: Dataset) -> float | None:
    """Weighted k-NN of the test embeddings among the training embeddings: judges the encoder, trains nothing."""
    if method.test is None:
        return None
    known = train.label if train.true_label is None else train.true_label
    bank = method.evaluator.embed(variables, train)
    queries = method.evaluator.embed(variables, method.test)
    return float(knn.accuracy(bank, known, queries, method.test.label, num_classes=train.num_classes))
