"""The method's phases, each a short function over `fit`: (method, inputs, journal) -> outcome.

base      the classifier from scratch on the given labels, only to compare
pretrain  (a1) SimCLR on the images alone
classify  (a2) head, then all weights, on the given labels; its predictions are the pseudo-labels
select    (b1) head on the pseudo-labels; a mixture on the losses gives each pseudo-label's clean probability
contrast  (b2) supervised contrastive with the pseudo-labels, pairs weighted by clean probability
finetune  (b3) head, then all weights, on the pseudo-labels
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict
from optax import GradientTransformation

from noisy_jax import losses, selection
from noisy_jax.data import augment as aug
from noisy_jax.data.dataset import Dataset
from noisy_jax.training import knn, optim, state
from noisy_jax.training.evaluate import Evaluator, over_dataset
from noisy_jax.training.loop import AfterEpoch, Journal, Stage, fit
from noisy_jax.training.mesh import replicate, to_host
from noisy_jax.training.state import TrainState, Variables
from noisy_jax.training.steps import Normalise, classification_step, contrastive_step


@dataclasses.dataclass(frozen=True)
class Method:
    """What the phases of a run share: settings, network, the held-out data. `test` and `valid` may be None."""

    config: ConfigDict
    network: nn.Module
    normalise: Normalise
    evaluator: Evaluator
    fresh: Callable[[str], Variables]  # new variables from a name
    test: Dataset | None
    valid: Dataset | None


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What a phase starts from: the variables so far (None: from scratch), and the training data.

    `train.label` is what is believed now, `train.weight` how much.
    """

    variables: Variables | None
    train: Dataset


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a phase found: new variables; arrays by name, each [N, ...] in dataset order."""

    variables: Variables
    arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)


Phase = Callable[[Method, Inputs, Journal], Outcome]


def base(method: Method, inputs: Inputs, journal: Journal) -> Outcome:
    """All weights from scratch, for as many epochs as head and network have in `classify`."""
    settings = method.config.base
    plans = [_Plan('all', optim.CLASSIFIER, settings.epochs, settings.optimizer, settings.average)]
    trained = _train_classifier(method, inputs.train, journal, method.fresh('base'), plans)
    return _classified(method, inputs.train, journal, trained)


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
    return _classifier_phase(method, inputs, journal, method.config.classify)


def select(method: Method, inputs: Inputs, journal: Journal) -> Outcome:
    """(b1) A new head on the pseudo-labels; the losses of its last epochs tell clean from noisy (Arazo 2019, eq. 1).

    With `neighbours`, an image's pseudo-label is first replaced by that of its neighbours.
    """
    settings, network, session = method.config.select, method.network, journal.session
    variables = _new_head(method, inputs.variables, journal)
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
    plan = _Plan('head', optim.HEAD, settings.epochs, settings.optimizer)
    extra = {'loss_history': history}
    trained = _fit_classifier(method, train, journal, variables, plan, losses.criterion('ce'), extra, remember)
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
    return _classifier_phase(method, dataclasses.replace(inputs, train=train), journal, settings)


PHASES: dict[str, Phase] = {
    'base': base,
    'pretrain': pretrain,
    'classify': classify,
    'select': select,
    'contrast': contrast,
    'finetune': finetune,
}


@dataclasses.dataclass(frozen=True)
class _Plan:
    """One stage of a classifier: which parts are trained, how long, by which optimiser."""

    stage: str
    trained: tuple[str, ...]
    epochs: int
    optimizer: ConfigDict
    average: float = 0.0  # decay of the moving average of the variables, which is the result then


def _classifier_phase(method: Method, inputs: Inputs, journal: Journal, settings: ConfigDict) -> Outcome:
    """A new head alone for `head_epochs`, then all weights; the projection head rests."""
    plans = [
        _Plan('head', optim.HEAD, settings.head_epochs, settings.head_optimizer),
        _Plan('all', optim.CLASSIFIER, settings.epochs, settings.optimizer, settings.average),
    ]
    start = _new_head(method, inputs.variables, journal)
    trained = _train_classifier(method, inputs.train, journal, start, plans)
    return _classified(method, inputs.train, journal, trained)


def _train_classifier(
    method: Method, train: Dataset, journal: Journal, variables: Variables, plans: list[_Plan]
) -> Variables:
    """One stage after the other with the configured loss, whose memory goes on from stage to stage."""
    name = method.config.loss
    criterion = losses.criterion(name, **method.config.loss_settings[name])
    # Whole rows for every device, on any usual number of them, so that the memory can be spread.
    rows = -(-len(train) // 256) * 256 if journal.session.shard_state else len(train)
    extra = criterion.init(rows, train.num_classes)
    watch = _watch(method, journal)
    for plan in plans:
        final = _fit_classifier(method, train, journal, variables, plan, criterion, extra, watch)
        variables, extra = final.averaged, final.extra
    return variables


def _fit_classifier(
    method: Method,
    train: Dataset,
    journal: Journal,
    variables: Variables,
    plan: _Plan,
    criterion: losses.Criterion,
    extra: dict[str, jax.Array],
    after_epoch: AfterEpoch,
) -> TrainState:
    settings = method.config[journal.phase]
    optimizer = _optimizer(plan.optimizer, plan.epochs, settings.batch_size, train)
    step = classification_step(
        method.network,
        optimizer,
        criterion,
        _augment(method, settings),
        method.normalise,
        trained=plan.trained,
        average=plan.average,
    )
    if plan.average:
        extra = {**extra, state.AVERAGE: variables}
    start = state.create(variables, optimizer, plan.trained, extra)
    return fit(Stage(plan.stage, step, plan.epochs, settings.batch_size), start, train, journal, after_epoch)


def _train_encoder(
    method: Method, train: Dataset, journal: Journal, start: Variables, settings: ConfigDict, loss: Callable
) -> Variables:
    trained = tuple(part for part in optim.REPRESENTATION if part in start['params'])  # there may be no projection head
    optimizer = _optimizer(settings.optimizer, settings.epochs, settings.batch_size, train)
    step = contrastive_step(
        method.network, optimizer, loss, _augment(method, settings), method.normalise, trained=trained
    )

    def watch(current: TrainState, epoch: int) -> tuple[TrainState, dict]:
        values = {}
        if settings.knn_every and (epoch + 1) % settings.knn_every == 0:
            values['knn_accuracy'] = _knn_accuracy(method, current.variables, train)
        return current, values

    stage = Stage('encoder', step, settings.epochs, settings.batch_size)
    return fit(stage, state.create(start, optimizer, trained), train, journal, watch).variables


def _watch(method: Method, journal: Journal) -> AfterEpoch:
    """Accuracies on the held-out data, every `eval_every` epochs of a classifier."""

    def watch(current: TrainState, epoch: int) -> tuple[TrainState, dict[str, Any]]:
        values = {}
        if method.config.eval_every and (epoch + 1) % method.config.eval_every == 0:
            values = _accuracies(method, current.averaged)
            journal.best('test_accuracy_best', values.get('test_accuracy'))
        return current, values

    return watch


def _accuracies(method: Method, variables: Variables) -> dict[str, float]:
    """On the test set against its labels; on the validation split against its given, noisy labels."""
    values = {}
    if method.test is not None:
        values['test_accuracy'] = method.evaluator.accuracy(variables, method.test, method.test.label)
    if method.valid is not None:
        values['valid_accuracy'] = method.evaluator.accuracy(variables, method.valid, method.valid.label)
    return values


def _classified(method: Method, train: Dataset, journal: Journal, variables: Variables) -> Outcome:
    values = _accuracies(method, variables)
    if 'test_accuracy' in values:
        journal.record['test_accuracy_last'] = values['test_accuracy']
        journal.best('test_accuracy_best', values['test_accuracy'])
    if 'valid_accuracy' in values:
        journal.record['valid_accuracy_last'] = values['valid_accuracy']
    return Outcome(variables, {'probabilities': method.evaluator.predict(variables, train)})


def _knn_accuracy(method: Method, variables: Variables, train: Dataset) -> float | None:
    """Weighted k-NN of the test embeddings among the training embeddings: judges the encoder, trains nothing."""
    if method.test is None:
        return None
    known = train.label if train.true_label is None else train.true_label
    bank = method.evaluator.embed(variables, train)
    queries = method.evaluator.embed(variables, method.test)
    return float(knn.accuracy(bank, known, queries, method.test.label, num_classes=train.num_classes))


def _new_head(method: Method, variables: Variables | None, journal: Journal) -> Variables:
    """The encoder so far with a new classifier head: what the old head learnt by heart must not come back."""
    fresh = method.fresh(journal.phase)
    if variables is None:
        return fresh
    return {
        kind: {**tree, **({'classifier': fresh[kind]['classifier']} if 'classifier' in fresh[kind] else {})}
        for kind, tree in variables.items()
    }


def _optimizer(settings: ConfigDict, epochs: int, batch_size: int, train: Dataset) -> GradientTransformation:
    steps_per_epoch = max(len(train) // batch_size, 1)
    return optim.optimizer(**settings, epochs=epochs, steps_per_epoch=steps_per_epoch, batch_size=batch_size)


def _augment(method: Method, settings: ConfigDict) -> aug.Policy:
    return aug.policy(settings.augment, **method.config.augment.get(settings.augment, {}))
