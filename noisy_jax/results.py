"""The results of a run once everything is trained: label issues, report, TensorBoard."""

from typing import Any

import numpy as np

from noisy_jax import schedule
from noisy_jax.data import lazy
from noisy_jax.data.dataset import Dataset
from noisy_jax.errors import InputError
from noisy_jax.labels import classical, contest, data_issues, embedding_map, issues, judges, selection
from noisy_jax.labels.features import Features
from noisy_jax.labels.issues import LabelIssues
from noisy_jax.labels.verdict import Verdict
from noisy_jax.methods import METHODS
from noisy_jax.report import evidence, page, plots
from noisy_jax.report.data_issues import section
from noisy_jax.report.findings import Findings
from noisy_jax.training.context import Belief, Context
from noisy_jax.training.mesh import is_main, wait_for_all
from noisy_jax.training.tensorboard import Board
from noisy_jax.workdir import WorkDir


def features(context: Context, beliefs: dict[str, Belief]) -> dict[str, np.ndarray]:
    """Features of the labelled images that have seen no label, [N, D] by kind; none without config.report.cross_fit.

    Classical ones, embeddings by model.weights and of the phase `pretrain`, those from outside. `beliefs` are those
    after this phase, after `cross_fit` and after the last classifier's, by name; none is needed for a first list. Only
    the process that writes gets them.
    """
    labelled, config = context.splits.labelled, context.config
    if not config.report.cross_fit:
        return {}
    encoders = {'given encoder': context.pretrained} if context.pretrained else {}
    is_trained = config.pretrain.epochs or not context.pretrained  # else it is the given one still
    if 'pretrain' in beliefs and is_trained and not METHODS[config.pretrain.method].sees_labels:
        encoders['own encoder'] = beliefs['pretrain'].variables
    # By all processes.
    found = {kind: context.evaluator.embed(encoder, labelled) for kind, encoder in encoders.items()}
    faults = {
        'given encoder': (
            f'model.weights: features of {config.model.weights}',
            'take other weights, or the data.mean and data.std that they need',
        ),
        'own encoder': ('features of the phase pretrain', 'lower its learning rate in another work directory'),
    }
    for kind, rows in found.items():
        if not np.isfinite(rows).all():
            what, remedy = faults[kind]
            raise InputError(f'{what} are not finite for these images; {remedy}')
    if context.splits.embeddings is not None:
        found['features from outside'] = context.splits.embeddings
    return {'classical features': context.image_facts.rows, **found} if is_main() else {}


def find_label_issues(
    folder: WorkDir, context: Context, beliefs: dict[str, Belief], known: dict[str, np.ndarray]
) -> LabelIssues | None:
    """Finds the issues of all given labels and writes labels.csv and pred_probs.npy; None without a classifier.

    With config.report.cross_fit, judges that have not seen the label compete: on the features `known`, and the networks
    of the phase `cross_fit`. Else the last classifier judges. `beliefs` as of `features`; a list is made of what there
    is.
    """
    splits, settings = context.splits, context.config.report
    labelled, threshold = splits.labelled, settings.threshold
    if settings.cross_fit:
        judged = _verdict(folder, context, beliefs, known)
        found = issues.of_verdict(judged, labelled.label, labelled.true_label, threshold=threshold)
    elif last := beliefs.get(schedule.last_classifier(beliefs)):
        probabilities = splits.in_order(last.probabilities, last.valid_probabilities)
        rule = {'threshold': threshold, 'seed': context.config.seed}
        found = issues.find(probabilities, labelled.label, labelled.true_label, **rule)
    else:
        return None
    found.save(folder, labelled.id, labelled.class_names, sort=settings.sort)
    return found


def _verdict(folder: WorkDir, context: Context, beliefs: dict[str, Belief], known: dict[str, np.ndarray]) -> Verdict:
    """The verdict of judges on the features `known` and of networks; one process finds it, the others read it."""
    labelled, config = context.splits.labelled, context.config
    facts = context.image_facts
    if is_main():
        features = {
            kind: facts.features if rows is facts.rows else Features(rows, config.seed) for kind, rows in known.items()
        }
        left_out = beliefs['cross_fit'].left_out if 'cross_fit' in beliefs else None
        others = {'folds': config.report.cross_fit, 'left_out': left_out, 'seed': config.seed}
        found, nearest = contest.reach(features, labelled.label, labelled.num_classes, facts.copies, **others)
        found.save(folder)
        folder.save_array(evidence.NEAREST, nearest[:, : evidence.SIMILAR].astype(np.int32))
    wait_for_all('verdict')
    return Verdict.load(folder)


def find_data_issues(
    folder: WorkDir, context: Context, found: LabelIssues | None, known: dict[str, np.ndarray]
) -> dict[str, Any]:
    """Finds what else is wrong with the data and writes data_issues.csv; returns what summary.json says of it.

    `found` are the label issues and `known` the features, as of `features`. Only the process that writes looks.
    """
    if not is_main():
        return {}
    splits = context.splits
    sets = {'train': splits.labelled, 'test': splits.test}
    parts = [data_issues.Part(name, s.id, s.label, s.broken) for name, s in sets.items() if s is not None]
    labels, judged, probabilities = splits.labelled.label, found and found.verdict, None
    if judged and not judged.fault:
        probabilities = judges.balanced(judged.probabilities, labels, judged.size)  # none is preferred for its size
    looked = data_issues.find(labels, context.image_facts.duplicates, known, probabilities, seed=context.config.seed)
    return data_issues.save(folder, looked, parts, splits.labelled.class_names)


def write_report(folder: WorkDir, context: Context, beliefs: dict[str, Belief], found: LabelIssues) -> None:
    """Writes report.html and plots/.

    The map is laid out once, of the last classifier's embeddings; a run that trains none lays out the features of its
    list, anew each time. A first list has no map.
    """
    labelled, settings = context.splits.labelled, context.config.report
    last, trains = schedule.last_classifier(beliefs), bool(context.config.phases)
    is_there = embedding_map.is_there(folder, len(labelled))  # the same in all processes
    if (last and not is_there) or not trains:
        rows = embedding_map.choose(found.by_suspicion)
        if last:
            features = context.evaluator.embed(beliefs[last].variables, labelled.take(rows))  # by all processes
        elif context.splits.embeddings is not None:
            features = context.splits.embeddings[rows]
        elif context.pretrained:
            features = context.evaluator.embed(context.pretrained, labelled.take(rows))
        else:
            features = classical.describe(lazy.take(labelled.image, rows))
        if is_main():
            folder.save_array('labels/map_rows', rows.astype(np.int32))
            folder.save_array('labels/map', embedding_map.lay_out(features, context.config.seed))
    elif not is_there:
        folder.remove('labels/map.npy')  # it may be damaged
    if is_main():
        findings, test = Findings.load(folder), context.splits.test
        sets = {'train': (labelled.id, labelled.image)} | ({'test': (test.id, test.image)} if test else {})
        thumbnail = settings.thumbnail
        about_data = section(folder, sets, thumbnail=thumbnail)
        shown = {'gallery': settings.gallery, 'thumbnail': thumbnail, 'data_issues': about_data}
        page.write(folder, findings, labelled.image, **shown)
        plots.write(folder, findings)


def selection_quality(train: Dataset, belief: Belief) -> dict[str, Any]:
    """How well the weights tell right pseudo-labels from wrong ones, where true labels are known."""
    if train.true_label is None:
        return {'selected': int(np.sum(belief.weight > 0.5))}
    return selection.quality(belief.weight, belief.label == train.true_label)


def show_selection(board: Board, name: str, belief: Belief) -> None:
    """Shows in TensorBoard the losses that a selection was made from, and its weights."""
    board.histogram(f'{name}/losses', belief.selection_losses[-1])
    board.histogram(f'{name}/clean_probability', belief.weight)


def show_label_issues(board: Board, labelled: Dataset, found: LabelIssues) -> None:
    """Shows in TensorBoard the losses and clean probabilities of all labels, and the most suspicious images."""
    board.histogram('labels/loss', found.losses)
    board.histogram('labels/clean_probability', found.clean_probability)
    board.suspects(labelled, found.by_suspicion, found.suggested, found.clean_probability)
