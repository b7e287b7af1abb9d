"""Measurements after every epoch and at the end of a phase: accuracies, stability, k-NN."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from noisy_jax.data.dataset import NO_LABEL
from noisy_jax.training import knn, optim, probe
from noisy_jax.training.context import Context
from noisy_jax.training.guard import Guard, HeldOut
from noisy_jax.training.mesh import to_host
from noisy_jax.training.stage import Stage, Values
from noisy_jax.training.state import BEFORE, BEST, CHANGED, PREDICTIONS, TrainState, Variables, unstack
from noisy_jax.training.task import Task

_STABLE_EPOCHS = 5  # of the rolling mean of predictions that changed
_NEIGHBOURS = 200  # that vote, as in Wu 2018
_MOST_AGAINST_ITSELF = 50_000  # images whose neighbours are found among themselves; the time grows with the square


class ClassifierWatch:
    """Accuracies every `eval_every` epochs; where images are held out, how many predictions on them change.

    A stage that ends with a worse classifier than it had returns the better one: with images held out its epoch that
    agreed best with their labels, or what it began with. With heads on the pre-trained embeddings alone (`guard`), a
    stage worse than they are returns what it began with; the first, which begins with an untrained head, its epoch that
    agreed best with the sure classes.
    """

    def __init__(self, task: Task, networks: int, guard: Guard | None = None, held_out: HeldOut | None = None) -> None:
        self._context, self._journal, self._networks = task.context, task.journal, networks
        self._valid, self._guard, self._held_out = task.context.splits.valid, guard, held_out

    def memory(self, variables: Variables, stage: Stage, *, is_first: bool) -> dict[str, Any]:
        """Memory of the predictions on held-out images, and of the variables to return to."""
        memory: dict[str, Any] = {}
        judged = 'encoder' in stage.trained  # a head alone has nothing to memorise with
        if self._held_out and judged:
            nothing = np.full(len(self._valid), -1, np.int32)
            memory |= {BEFORE: variables, BEST: nothing if is_first else self._classes(variables)}
        elif self._guard and judged:
            memory |= {BEFORE: variables, BEST: np.float32(-1 if is_first else np.inf)}
        if self._valid is not None:
            count = len(self._valid)
            memory |= {PREDICTIONS: np.full(count, -1, np.int32), CHANGED: np.full(_STABLE_EPOCHS, count, np.float32)}
        return memory

    def stop_when(self, values: Values) -> bool:
        """Whether few held-out predictions still change (Ciortan 2021, section 3), or wrong labels are memorised."""
        config = self._context.config
        if self._guard and self._guard.memorises(values):
            return True
        if self._valid is None or config.early_stop != 'stable_predictions':
            return False
        return values.get('valid_changed_mean', np.inf) <= config.early_stop_below * len(self._valid)

    def __call__(self, state: TrainState, epoch: int) -> tuple[TrainState, Values]:
        config, values = self._context.config, {}
        evaluated = bool(config.eval_every) and (epoch + 1) % config.eval_every == 0
        if not evaluated and self._valid is None:
            return state, values
        variables = self._single(state.averaged)
        classes = None if self._valid is None else self._classes(state.averaged)
        if evaluated:
            values = accuracies(self._context, variables, classes)
            self._journal.best('test_accuracy_best', values.get('test_accuracy'))
            if self._guard:
                values |= (found := self._guard.agreements(variables))
                judged = BEST in state.extra and not self._held_out
                if judged and found['sure_agreement'] > to_host(state.extra[BEST]):
                    state = _keep(state, np.float32(found['sure_agreement']))
        if classes is not None:
            if self._held_out and BEST in state.extra:
                state, values['behind_best'] = self._against_best(state, classes)
            state, stability = _stability(state, classes)
            values |= stability
        return state, values

    def outcome(self, state: TrainState, stage: Stage) -> Variables:
        after = state.averaged
        if self._guard and stage.name == 'head' and self._journal.phase == 'classify':
            scale = optim.settings_of(self._context.config, self._journal.phase, head=False).encoder_scale
            self._guard.foresee(state, scale, self._journal)
        if BEST not in state.extra:
            return after
        best = to_host(state.extra[BEST])
        if self._held_out:
            last = to_host(state.extra[PREDICTIONS])
            rejected = self._held_out.rejects(last, best, self._journal, stage.name, 'the best before')
            return state.extra[BEFORE] if rejected else after
        own = 'its best epoch by this measure' if best >= 0 else 'it all the same'
        instead = 'what was trained before it' if np.isinf(best) else own
        rejected = self._guard.rejects(self._single(after), self._journal, stage.name, instead)
        return state.extra[BEFORE] if rejected and best >= 0 else after

    def _classes(self, variables: Variables) -> np.ndarray:
        """The predicted classes of the held-out images, int32 [V]."""
        guesses = self._context.evaluator.log_probabilities(self._single(variables), self._valid)
        return guesses.argmax(-1).astype(np.int32)

    def _against_best(self, state: TrainState, classes: np.ndarray) -> tuple[TrainState, float]:
        """Keeps variables that agree with more held-out labels; by how many standard errors they agree with fewer."""
        behind = self._held_out.behind(classes, to_host(state.extra[BEST]))
        return (_keep(state, classes) if behind < 0 else state), behind

    def _single(self, variables: Variables) -> Variables:
        """The variables of one network, or of two as they are evaluated."""
        return unstack(variables) if self._networks == 2 else variables


def _keep(state: TrainState, found: np.ndarray) -> TrainState:
    """Remembers the variables of the state as the best, and what was `found` of them."""
    return state.remember({BEFORE: jax.tree.map(jnp.copy, state.averaged), BEST: found})  # a step overwrites its own


def accuracies(context: Context, variables: Variables, classes: np.ndarray | None) -> dict[str, float]:
    """On the test set against its labels; on held-out images against their given, noisy labels.

    `classes` [V]: those predicted for the held-out images, if any.
    """
    values, splits = {}, context.splits
    if splits.test is not None:
        values['test_accuracy'] = context.evaluator.accuracy(variables, splits.test, splits.test.label)
    if classes is not None:
        values['valid_accuracy'] = float(np.mean(classes == splits.valid.label))
    return values


def _stability(state: TrainState, now: np.ndarray) -> tuple[TrainState, dict[str, float]]:
    """How many held-out predictions [V] changed since the last epoch, and the mean of the last epochs."""
    before, counts = to_host((state.extra[PREDICTIONS], state.extra[CHANGED]))
    counts = np.append(counts[1:], np.float32(np.sum(now != before)))
    newest = {PREDICTIONS: now, CHANGED: counts}
    values = {'valid_changed': float(counts[-1]), 'valid_changed_mean': float(counts.mean())}
    return state.remember(newest), values


class EncoderWatch:
    """k-NN accuracy every `knn_every` epochs."""

    def __init__(self, task: Task) -> None:
        self._task = task

    stop_when = None

    def memory(self, variables: Variables, stage: Stage, *, is_first: bool) -> dict[str, Any]:
        del variables, stage, is_first
        return {}

    def outcome(self, state: TrainState, stage: Stage) -> Variables:
        del stage
        return state.averaged

    def __call__(self, state: TrainState, epoch: int) -> tuple[TrainState, Values]:
        every = self._task.settings.knn_every
        if not every or (epoch + 1) % every:
            return state, {}
        return state, embedding_quality(self._task, state.variables)


def embedding_quality(task: Task, variables: Variables, *, linear: bool = False) -> dict[str, float]:
    """Accuracy of weighted k-NN, and with `linear` of a linear probe, on test embeddings by the training embeddings.

    It scores the encoder and trains nothing, so that it may use true labels. Without a test set each training image is
    classified by the others; if labels may be wrong, the result is an agreement rather than an accuracy.
    """
    context, train = task.context, task.train
    if np.any(train.label == NO_LABEL):
        train = train.take(np.flatnonzero(train.label != NO_LABEL))
    known = train.label if train.true_label is None else train.true_label
    k = min(_NEIGHBOURS, max(len(train) // train.num_classes, 1))  # no more than a class has on average
    bank = context.evaluator.embed(variables, train)
    test = context.splits.test
    if test is None:
        if len(train) > _MOST_AGAINST_ITSELF:
            return {}
        votes = knn.label_of_neighbours(bank, known, k=k, num_classes=train.num_classes)
        name = 'knn_agreement' if train.true_label is None else 'knn_accuracy'
        return {name: float(np.mean(votes == known))}
    queries = context.evaluator.embed(variables, test)
    values = {'knn_accuracy': knn.accuracy(bank, known, queries, test.label, k=k, num_classes=train.num_classes)}
    if linear:
        values['linear_probe_accuracy'] = probe.accuracy(bank, known, queries, test.label)
    return values
