"""How a classifier is trained: stage by stage, by one network or by two that teach each other."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from noisy_jax import losses, selection
from noisy_jax.data import augment as aug
from noisy_jax.data.dataset import Dataset
from noisy_jax.training import mesh as mesh_lib
from noisy_jax.training import optim, pair, state
from noisy_jax.training.evaluate import over_dataset
from noisy_jax.training.loop import AfterEpoch, Journal, Stage, fit
from noisy_jax.training.mesh import to_host
from noisy_jax.training.method import Inputs, Method, Outcome, stage_optimizer, views
from noisy_jax.training.state import TrainState, Variables
from noisy_jax.training.steps import Step, classification_step, classify

# By one network: single, bootstrap. By two: elr_plus, dividemix.
METHODS = ('single', 'bootstrap', 'elr_plus', 'dividemix')
PAIRS = ('elr_plus', 'dividemix')
_STABLE_EPOCHS = 5  # of the rolling mean of predictions that changed


# (variables, the losses of the epochs before [E, N] or None) -> what the state remembers of a split.
Split = Callable[[Variables, np.ndarray | None], dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Plan:
    """One stage of a classifier: which parts are trained, how long, by which optimiser.

    Attributes:
      average: decay of the moving average of the variables, which is the result then; 0: none.
      mixup: alpha of the shares; 0: none.
      split: whether each epoch begins by telling labels that are right from wrong ones.
    """

    stage: str
    trained: tuple[str, ...]
    epochs: int
    optimizer: ConfigDict
    average: float = 0.0
    mixup: float = 0.0
    split: bool = False


def classifier_phase(method: Method, inputs: Inputs, journal: Journal, settings: ConfigDict) -> Outcome:
    """A new head alone for `head_epochs`, then all weights by `method`; the projection head rests.

    The outcome has `probabilities` [N, C] of the training set, `valid_probabilities` [V, C] of the images held out.
    """
    stages = plans(method.config, journal.phase)
    first = new_head(method, inputs.variables, journal.phase)
    paired = settings.method in PAIRS
    start = pair.stack(first, new_head(method, inputs.variables, f'{journal.phase}_second')) if paired else first
    trained = _train(method, inputs.train, journal, start, stages, settings.method)
    return _classified(method, inputs.train, journal, pair.unstack(trained) if paired else trained)


def plans(config: ConfigDict, phase: str) -> list[Plan]:
    """The stages of a phase by its method, the head alone first."""
    settings = config[phase]
    optimizer = optim.settings_of(config, phase, head=False)
    head = Plan('head', optim.HEAD, settings.get('head_epochs', 0), optim.settings_of(config, phase, head=True))
    whole = Plan('all', optim.CLASSIFIER, settings.epochs, optimizer, settings.average, settings.mixup)
    if settings.method == 'single':
        return [head, whole]
    own = config[settings.method]
    if settings.method == 'elr_plus':
        return [head, dataclasses.replace(whole, average=own.average, mixup=own.mixup)]
    warm = ConfigDict(optimizer.to_dict() | {'schedule': 'constant', 'warmup_epochs': 0})
    mixup = own.mixup if settings.method == 'bootstrap' else 0.0
    warmup = Plan('warmup', optim.CLASSIFIER, own.warmup_epochs, warm, mixup=mixup)
    return [head, warmup, dataclasses.replace(whole, mixup=own.mixup, split=True)]


def new_head(method: Method, variables: Variables | None, name: str) -> Variables:
    """The encoder so far with a new classifier head: what the old head learnt by heart must not come back."""
    fresh = method.fresh(name)
    if variables is None:
        return fresh
    return {
        kind: {**variables[kind], **({'classifier': tree['classifier']} if 'classifier' in tree else {})}
        for kind, tree in fresh.items()
    }


def _train(
    method: Method, train: Dataset, journal: Journal, variables: Variables, stages: list[Plan], kind: str
) -> Variables:
    """Stage after stage with the loss of the method or of the config, whose memory goes on from each to the next."""
    own = method.config.get(kind, {})
    name = own.get('loss', method.config.loss)
    criterion = losses.criterion(name, **method.config.loss_settings[name])
    of_head = _head_criterion(method.config, journal.phase, name, criterion)
    # Whole rows for every device, on any usual number of them, so that the memory can be spread.
    rows = -(-len(train) // 256) * 256 if journal.session.shard_state else len(train)
    memory = of_head.init(rows, train.num_classes)
    if kind in PAIRS:
        memory = pair.stack(memory, memory)
    watch = _watch(method, journal)
    for plan in stages:
        after, loss = watch, of_head if plan.trained == optim.HEAD else criterion
        if plan.stage == 'warmup' and own.get('negative_entropy'):
            loss = losses.with_negative_entropy(criterion)
        if plan.split and plan.epochs:
            threshold = own.get('threshold', 0.5)
            split = _splitter(method, train, journal, kind, threshold)
            memory = {**memory, **split(variables, None)}
            after = _splitting(watch, split, threshold)
        final = fit_classifier(method, train, journal, variables, plan, loss, memory, after, kind)
        variables, memory = final.averaged, final.extra
    return variables


def _head_criterion(config: ConfigDict, phase: str, name: str, criterion: losses.Criterion) -> losses.Criterion:
    """The loss of a head alone; it also keeps what the loss of all weights, `name`, will need."""
    own = config[phase].get('head_loss', 'same')
    if own in ('same', name):
        return criterion
    return losses.remembering(losses.criterion(own, **config.loss_settings[own]), criterion)


def fit_classifier(
    method: Method,
    train: Dataset,
    journal: Journal,
    variables: Variables,
    plan: Plan,
    criterion: losses.Criterion,
    extra: dict[str, jax.Array],
    after_epoch: AfterEpoch,
    kind: str = 'single',
) -> TrainState:
    """One stage; `extra` is what the state remembers beside the weights."""
    settings = method.config[journal.phase]
    optimizer = stage_optimizer(plan.optimizer, plan.epochs, settings.batch_size, train)
    common = {'trained': plan.trained, 'average': plan.average, 'mixup': plan.mixup}
    step: Step
    if kind == 'dividemix' and plan.split:
        own = method.config.dividemix
        step = pair.dividemix_step(
            method.network,
            optimizer,
            views(method, settings),
            method.normalise,
            threshold=own.threshold,
            temperature=own.temperature,
            unlabelled_weight=own.unlabelled_weight,
            rampup_steps=max(own.rampup_epochs * (len(train) // settings.batch_size), 1),
            **common,
        )
    else:
        make = pair.pair_step if kind in PAIRS else classification_step
        step = make(method.network, optimizer, criterion, views(method, settings), method.normalise, **common)
    if plan.average:
        extra = {**extra, state.AVERAGE: variables}
    stop = None
    if method.valid is not None:
        count = len(method.valid)
        extra = {
            **extra,
            state.PREDICTIONS: np.full(count, -1, np.int32),
            state.CHANGED: np.full(_STABLE_EPOCHS, count, np.float32),
        }
        if method.config.early_stop == 'stable_predictions':
            stop = functools.partial(_is_stable, most=method.config.early_stop_below * count)
    start = state.create(variables, optimizer, plan.trained, extra)
    return fit(Stage(plan.stage, step, plan.epochs, settings.batch_size, stop), start, train, journal, after_epoch)


def _is_stable(values: dict[str, float | None], most: float) -> bool:
    return values.get('valid_changed_mean', np.inf) <= most


def _splitter(method: Method, train: Dataset, journal: Journal, kind: str, threshold: float) -> Split:
    """What tells right labels from wrong ones.

    A mixture of Gaussians on each network's losses (DivideMix), of two beta distributions where one bootstraps itself.
    """
    session, network, own = journal.session, method.network, method.config[kind]

    def per_sample(variables: Variables, batch: dict[str, jax.Array]) -> jax.Array:
        images = method.normalise(aug.to_float(batch['image']))

        def losses_of(variables: Variables) -> jax.Array:
            logits = network.apply(variables, images, train=False, train_encoder=False, method=classify)
            return losses.cross_entropy(logits, batch['label'])

        return pair.of_each(losses_of)(variables).T if kind in PAIRS else losses_of(variables)  # [B, 2] or [B]

    run = over_dataset(per_sample, session.mesh, method.evaluator.batch_size, session.compiler_options)
    mixture = 'beta' if kind == 'bootstrap' else 'gaussian'
    most = own.get('history', 1)

    def clean(recorded: np.ndarray) -> np.ndarray:  # [E, N] -> [N]
        found = selection.clean_probability(recorded, history=most, seed=session.seed, mixture=mixture)
        return selection.keep_every_class(found, train.label, train.num_classes, threshold=threshold)

    def split(variables: Variables, before: np.ndarray | None) -> dict[str, np.ndarray]:
        newest = run(variables, {'image': train.image, 'label': train.label})[None]  # [1, N] or [1, N, 2]
        # Where nothing is known yet, the first epoch stands for those before it.
        recorded = np.repeat(newest, most, axis=0) if before is None else np.append(before[1:], newest, axis=0)
        found = np.stack([clean(each) for each in np.moveaxis(recorded, 2, 0)]) if kind in PAIRS else clean(recorded)
        return {state.CLEAN: found.astype(np.float32), state.LOSSES: recorded}

    return split


def _splitting(watch: AfterEpoch, split: Split, threshold: float) -> AfterEpoch:
    """`watch`, and a new split for the next epoch."""

    def after(current: TrainState, epoch: int) -> tuple[TrainState, dict[str, Any]]:
        current, values = watch(current, epoch)
        newest = split(current.variables, to_host(current.extra[state.LOSSES]))
        placed = {name: mesh_lib.place_like(array, current.extra[name]) for name, array in newest.items()}
        values |= {'trusted_next': float((newest[state.CLEAN] > threshold).mean())}
        return current.replace(extra={**current.extra, **placed}), values

    return after


def _watch(method: Method, journal: Journal) -> AfterEpoch:
    """Accuracies on the held-out data, every `eval_every` epochs of a classifier."""

    def watch(current: TrainState, epoch: int) -> tuple[TrainState, dict[str, Any]]:
        values = {}
        judged = method.config.eval_every and (epoch + 1) % method.config.eval_every == 0
        if not judged and method.valid is None:
            return current, values
        paired = method.config[journal.phase].method in PAIRS
        variables = pair.unstack(current.averaged) if paired else current.averaged
        guesses = None if method.valid is None else method.evaluator.log_probabilities(variables, method.valid)
        if judged:
            values = _accuracies(method, variables, guesses)
            journal.best('test_accuracy_best', values.get('test_accuracy'))
        if guesses is not None:
            current, stability = _stability(current, guesses)
            values |= stability
        return current, values

    return watch


def _stability(current: TrainState, guesses: np.ndarray) -> tuple[TrainState, dict[str, float]]:
    """How many predictions on the validation split changed since the last epoch, and the mean of the last epochs.

    `guesses` [V, C] are its (log) probabilities.

    Needs no right label: while a network learns what is common its predictions settle (Ciortan 2021, section 3).
    """
    before, counts = to_host((current.extra[state.PREDICTIONS], current.extra[state.CHANGED]))
    now = guesses.argmax(-1).astype(np.int32)
    counts = np.append(counts[1:], np.float32(np.sum(now != before)))
    newest = {state.PREDICTIONS: now, state.CHANGED: counts}
    placed = {name: mesh_lib.place_like(array, current.extra[name]) for name, array in newest.items()}
    values = {'valid_changed': float(counts[-1]), 'valid_changed_mean': float(counts.mean())}
    return current.replace(extra={**current.extra, **placed}), values


def _accuracies(method: Method, variables: Variables, guesses: np.ndarray | None) -> dict[str, float]:
    """On the test set against its labels; on the validation split against its given, noisy labels.

    `guesses` [V, C] are the (log) probabilities of the validation split, where there is one.
    """
    values = {}
    if method.test is not None:
        values['test_accuracy'] = method.evaluator.accuracy(variables, method.test, method.test.label)
    if guesses is not None:
        values['valid_accuracy'] = float(np.mean(guesses.argmax(-1) == method.valid.label))
    return values


def _classified(method: Method, train: Dataset, journal: Journal, variables: Variables) -> Outcome:
    of_valid = None if method.valid is None else method.evaluator.predict(variables, method.valid)
    values = _accuracies(method, variables, of_valid)
    if 'test_accuracy' in values:
        journal.record['test_accuracy_last'] = values['test_accuracy']
        journal.best('test_accuracy_best', values['test_accuracy'])
    if 'valid_accuracy' in values:
        journal.record['valid_accuracy_last'] = values['valid_accuracy']
    arrays = {'probabilities': method.evaluator.predict(variables, train)}
    return Outcome(variables, arrays if of_valid is None else {**arrays, 'valid_probabilities': of_valid})
