"""The method's phases, each a short function (context, belief, journal) -> the next belief.

base      the classifier from scratch on the given labels, for comparison only
pretrain  (a1) contrast of views of the images alone (SimCLR, MoCo)
cross_fit networks that each leave out a fold and predict its labels, for judges of labels only
classify  (a2) head, then all weights, on the given labels; its predictions are the pseudo-labels
select    (b1) head on the pseudo-labels; a mixture on the losses gives each pseudo-label's clean probability
contrast  (b2) supervised contrastive with the pseudo-labels, pairs weighted by clean probability
finetune  (b3) head, then all weights, on the pseudo-labels
"""

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
from ml_collections import ConfigDict

from noisy_jax import schedule
from noisy_jax.data.dataset import Dataset
from noisy_jax.data.splits import Splits
from noisy_jax.errors import InputError
from noisy_jax.labels import cross_fit as labels_cross_fit
from noisy_jax.labels import planted, selection
from noisy_jax.methods import METHODS
from noisy_jax.methods.cross_fit import CrossFit, LeftOut
from noisy_jax.methods.selection_head import SelectionHead
from noisy_jax.training import heads, knn
from noisy_jax.training.context import Belief, Context
from noisy_jax.training.guard import Guard, HeldOut
from noisy_jax.training.journal import Journal
from noisy_jax.training.mesh import of_main, to_host
from noisy_jax.training.method import Method
from noisy_jax.training.state import LEFT_OUT, LOSSES, VOTE, Variables, stack, unstack
from noisy_jax.training.task import Task
from noisy_jax.training.time_left import Work, WorkPlan
from noisy_jax.training.train import train
from noisy_jax.training.watch import ClassifierWatch, EncoderWatch, accuracies, embedding_quality

_LEAST_AUROC = 0.65


def base(context: Context, belief: Belief, journal: Journal) -> Belief:
    """All weights from scratch, for as many epochs as head and network have in `classify`."""
    return _classifier(context, dataclasses.replace(belief, variables=None), journal)


def pretrain(context: Context, belief: Belief, journal: Journal) -> Belief:
    """(a1) Contrast of two views of each image; labels are ignored (SimCLR, MoCo) unless the method reads them."""
    start = belief.variables or context.initial('encoder')
    images = context.splits.pool if _takes_unlabelled(context.config, 'pretrain') else _believed(context, belief)
    return dataclasses.replace(belief, variables=_representation(context, images, journal, start))


def cross_fit(context: Context, belief: Belief, journal: Journal) -> Belief:
    """All labels by networks that have not seen them; again where a tenth of the labels are planted errors."""
    settings, labelled, seed = context.config.cross_fit, context.splits.labelled, context.config.seed
    start = belief.variables or context.initial('encoder')
    belief = dataclasses.replace(belief, variables=start)
    if not context.config.report.cross_fit:
        return _skipped(belief, journal, 'no judges of labels compete (report.cross_fit=0)')
    if not settings.epochs:
        return belief
    wrong = planted.plant(labelled.label, labelled.num_classes, None, np.random.default_rng([seed, 0]))[1]
    original = labels_cross_fit.originals(of_main(context.image_facts.copies)[1], labelled.label, settings.folds)
    parts = labels_cross_fit.split(labelled.label, settings.folds, seed, original, least=settings.batch_size)
    found = np.zeros((2, len(labelled), labelled.num_classes), np.float32)
    for number, (labels, (fitted, rows)) in enumerate(itertools.product((labelled.label, wrong), parts)):
        task = Task(context, journal, labelled.take(fitted).replace(label=labels[fitted]))
        _, memory = train(LeftOut(number, rows, found), task, _new_head(context, start, 'classify'))
        found = to_host(memory[LEFT_OUT])
    if missed := np.count_nonzero(~found.any(2).all(0)):
        raise InputError(
            f'{journal.checkpoints.folder}: {missed} labels are judged by no network, as an earlier version began the '
            'phase with other folds; remove this folder and rerun'
        )
    return dataclasses.replace(belief, left_out=np.asarray(found))


def classify(context: Context, belief: Belief, journal: Journal) -> Belief:
    """(a2) A new head, then all weights, on the given labels; its predictions are the next labels."""
    config = context.config
    if 'pretrain' not in config.phases:  # cross_fit alone hands on a random encoder
        belief = dataclasses.replace(belief, variables=context.pretrained)
    has_seen_labels = 'pretrain' in config.phases and method_of(config, 'pretrain').sees_labels
    if belief.variables and not has_seen_labels:
        head, loss = _new_head(context, belief.variables, journal.phase), method_of(config, 'classify').loss(config)
        belief = dataclasses.replace(belief, head_probabilities=heads.compare(context, head, loss, journal))
    return _relabelled(_classifier(context, belief, journal))


def select(context: Context, belief: Belief, journal: Journal) -> Belief:
    """(b1) A new head on the pseudo-labels; a mixture on its losses tells clean from noisy (Arazo 2019, eq. 1).

    With `neighbours`, an image's pseudo-label is first replaced by that of its neighbours. The encoder stays as it is:
    the head serves the losses alone.
    """
    settings, images = context.config.select, _believed(context, belief)
    variables = _new_head(context, belief.variables, journal.phase)
    embeddings = context.evaluator.embed(variables, images)  # [N, D]: the encoder is frozen, so once is enough
    if settings.neighbours:
        classes = images.num_classes
        label = knn.label_of_neighbours(embeddings, images.label, k=settings.neighbours, num_classes=classes)
        images = images.replace(label=label)
    _, memory = train(SelectionHead(embeddings), Task(context, journal, images), variables)
    recorded = to_host(memory[LOSSES])[-min(settings.epochs, settings.history) :]  # [E, N]
    weight = selection.clean_probability(recorded, history=settings.history, seed=journal.session.seed)
    label = images.label.copy()  # a version of its own, so that it is saved
    return dataclasses.replace(belief, label=label, weight=weight.astype(np.float32), selection_losses=recorded)


def contrast(context: Context, belief: Belief, journal: Journal) -> Belief:
    """(b2) Supervised contrastive on the pseudo-labels, positives weighted by clean probability."""
    if reason := selection_fault(context, belief):
        return _skipped(belief, journal, reason)
    # Without a floor, a row whose pairs all have weight 0 would have no gradient.
    weight = np.maximum(belief.weight, context.config.contrast.min_weight)
    images = _believed(context, belief).replace(weight=weight)
    return dataclasses.replace(belief, variables=_representation(context, images, journal, belief.variables))


def finetune(context: Context, belief: Belief, journal: Journal) -> Belief:
    """(b3) A new head, then all weights, on the pseudo-labels."""
    if reason := selection_fault(context, belief):
        _record_accuracies(context, belief.classifier, belief.valid_probabilities, journal)
        return _skipped(belief, journal, reason)
    if not context.config.finetune.weighted:
        belief = dataclasses.replace(belief, weight=np.ones_like(belief.weight))
    return _relabelled(_classifier(context, belief, journal))


def selection_fault(context: Context, belief: Belief) -> str | None:
    """Why the newest selection of pseudo-labels cannot be used; None where it can, or where no guard is asked."""
    if not context.config.guard or belief.selection_losses is None:
        return None
    if np.ptp(belief.weight) == 0:
        return 'the losses of the selection form one group: they do not tell right pseudo-labels from wrong ones'
    guard = Guard.of(context, belief)
    auroc = guard and guard.auroc(belief.weight, belief.label)
    if auroc is None or auroc >= _LEAST_AUROC:
        return None
    return (
        'the selection does not tell right pseudo-labels from wrong ones: where the class is sure, its AUROC is '
        f'{auroc:.2f}; at least {_LEAST_AUROC} is needed'
    )


Phase = Callable[[Context, Belief, Journal], Belief]
PHASES: dict[str, Phase] = {
    'base': base,
    'pretrain': pretrain,
    'cross_fit': cross_fit,
    'classify': classify,
    'select': select,
    'contrast': contrast,
    'finetune': finetune,
}


def method_of(config: ConfigDict, phase: str) -> Method:
    """The training method of a phase."""
    own = {'select': SelectionHead, 'cross_fit': CrossFit}.get(phase)
    return own() if own else METHODS[config[phase].method]


def fewest_images(config: ConfigDict, phase: str, splits: Splits) -> int:
    """How many images a network of the phase is trained on, at least.

    Raises:
      InputError: there are fewer than folds of cross-fitted networks.
    """
    if phase != 'cross_fit':
        return len(splits.pool if _takes_unlabelled(config, phase) else splits.train)
    images, folds = len(splits.labelled), config.cross_fit.folds
    if folds > images:
        raise InputError(f'config.cross_fit.folds: {folds} is more than the {images} images; at most {images}')
    return labels_cross_fit.fewest_fitted(images, folds)


def work_plan(config: ConfigDict, *, images: int, pool: int) -> WorkPlan:
    """The work of every stage by the name of its phase: images times passes through the network.

    Args:
      config: a full config.
      images: how many are trained on.
      pool: how many pre-training by a method that reads no label sees.
    """
    plan: WorkPlan = {}
    for entry in schedule.entries(config):
        method = method_of(config, entry.phase)
        count = pool if _takes_unlabelled(config, entry.phase) else images
        stages = [stage for stage in method.stages(config, entry.phase) if stage.epochs]
        plan[entry.name] = {stage.name: Work(stage.epochs, count * stage.passes) for stage in stages}
    return plan


def _takes_unlabelled(config: ConfigDict, phase: str) -> bool:
    return phase == 'pretrain' and not method_of(config, phase).sees_labels


def _believed(context: Context, belief: Belief) -> Dataset:
    return context.splits.train.replace(label=belief.label, weight=belief.weight)


def _relabelled(belief: Belief) -> Belief:
    label = selection.pseudo_labels(belief.probabilities)
    return dataclasses.replace(belief, label=label, weight=np.ones(len(label), np.float32))


def _new_head(context: Context, variables: Variables | None, name: str) -> Variables:
    """The encoder so far with a new classifier head: what the old head memorised must not come back."""
    initial = context.initial(name)
    if variables is None:
        return initial
    return {
        kind: {**variables[kind], **({'classifier': tree['classifier']} if 'classifier' in tree else {})}
        for kind, tree in initial.items()
    }


def _classifier(context: Context, belief: Belief, journal: Journal) -> Belief:
    """A new head, then all weights, by the method of the phase; the projection head is frozen."""
    method, task = method_of(context.config, journal.phase), Task(context, journal, _believed(context, belief))
    starts = [_new_head(context, belief.variables, journal.phase + end) for end in ('', '_second')[: method.networks]]
    start = stack(*starts) if method.networks == 2 else starts[0]
    guards = (None, None) if journal.phase == 'base' else (Guard.of(context, belief), HeldOut.of(context))
    variables, memory = train(method, task, start, ClassifierWatch(task, method.networks, *guards))
    if method.networks == 2:
        variables = unstack(variables)
    vote = to_host(memory[VOTE]) if VOTE in memory else None
    valid, of_valid = context.splits.valid, None
    if valid is not None:
        of_valid = context.evaluator.predict(variables, valid)
    if belief.classifier and _is_worse(variables, of_valid, belief, journal, *guards):
        variables, of_valid, vote = belief.classifier, belief.valid_probabilities, belief.vote
    _record_accuracies(context, variables, of_valid, journal)
    probabilities = context.evaluator.predict(variables, task.train)
    newest = {'probabilities': probabilities, 'valid_probabilities': of_valid, 'vote': vote}
    return dataclasses.replace(belief, variables=variables, **newest)


def _is_worse(
    variables: Variables,
    of_valid: np.ndarray | None,
    belief: Belief,
    journal: Journal,
    guard: Guard | None,
    held_out: HeldOut | None,
) -> bool:
    """Whether a guard rejects a classifier, that predicts `of_valid` [V, C], for the one of the phase before."""
    instead = 'the classifier of the phase before'
    if held_out and belief.valid_probabilities is not None:
        classes = of_valid.argmax(-1), belief.valid_probabilities.argmax(-1)
        return held_out.rejects(*classes, journal, 'all', instead)
    return guard is not None and guard.rejects(variables, journal, 'all', instead)


def _record_accuracies(context: Context, variables: Variables, of_valid: np.ndarray | None, journal: Journal) -> None:
    """Records the accuracies of the classifier that the phase hands on."""
    values = accuracies(context, variables, None if of_valid is None else of_valid.argmax(-1))
    journal.record |= {f'{name}_last': value for name, value in values.items()}
    journal.best('test_accuracy_best', values.get('test_accuracy'))


def _skipped(belief: Belief, journal: Journal, reason: str) -> Belief:
    journal.record['skipped'] = reason
    journal.session.progress.note(journal.name, f'skipped: {reason}')
    return belief


def _representation(context: Context, images: Dataset, journal: Journal, start: Variables) -> Variables:
    """Encoder and projection head (MoPro: the classifier too) by the method of the phase; k-NN scores the outcome."""
    task = Task(context, journal, images)
    variables, _ = train(method_of(context.config, journal.phase), task, start, EncoderWatch(task))
    journal.record |= embedding_quality(task, variables, linear=context.config.linear_probe)
    return variables
