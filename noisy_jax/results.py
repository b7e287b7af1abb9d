"""The results of a run once everything is trained: label issues, report, TensorBoard."""

from typing import Any

import numpy as np

from noisy_jax import schedule
from noisy_jax.data import lazy
from noisy_jax.data.dataset import Dataset
from noisy_jax.labels import classical, embedding_map, issues, judges, planted, selection
from noisy_jax.labels.features import Features
from noisy_jax.labels.issues import LabelIssues
from noisy_jax.methods import METHODS
from noisy_jax.report import evidence, page, plots
from noisy_jax.report.findings import Findings
from noisy_jax.training.context import Belief, Context
from noisy_jax.training.mesh import is_main, wait_for_all
from noisy_jax.training.tensorboard import Board
from noisy_jax.workdir import WorkDir


def find_label_issues(folder: WorkDir, context: Context, beliefs: dict[str, Belief]) -> LabelIssues | None:
    """Finds the issues of all given labels and writes labels.csv and pred_probs.npy; None without a classifier.

    With config.report.cross_fit, judges that have not seen the label compete: on classical features, on embeddings by
    model.weights and of the phase `pretrain`, on features from outside, and the networks of the phase `cross_fit`. Else
    the last classifier judges. `beliefs` are those after these phases and after the last classifier's, by name; a list
    is made of what there is.
    """
    splits, settings = context.splits, context.config.report
    labelled, threshold = splits.labelled, settings.threshold
    if settings.cross_fit:
        verdict = _verdict(folder, context, beliefs)
        found = issues.of_verdict(verdict, labelled.label, labelled.true_label, threshold=threshold)
    elif last := beliefs.get(schedule.last_classifier(beliefs)):
        probabilities = splits.in_order(last.probabilities, last.valid_probabilities)
        rule = {'threshold': threshold, 'seed': context.config.seed}
        found = issues.find(probabilities, labelled.label, labelled.true_label, **rule)
    else:
        return None
    found.save(folder, labelled.id, labelled.class_names, sort=settings.sort)
    return found


def _verdict(folder: WorkDir, context: Context, beliefs: dict[str, Belief]) -> planted.Verdict:
    """That of judges on all features that have seen no label; the process that writes finds it, the others read it."""
    labelled, config = context.splits.labelled, context.config
    encoders = {'given encoder': context.pretrained} if context.pretrained else {}
    is_trained = config.pretrain.epochs or not context.pretrained  # else it is the given one still
    if 'pretrain' in beliefs and is_trained and not METHODS[config.pretrain.method].sees_labels:
        encoders['own encoder'] = beliefs['pretrain'].variables
    # By all processes.
    rows = {kind: context.evaluator.embed(encoder, labelled) for kind, encoder in encoders.items()}
    if context.splits.embeddings is not None:
        rows['features from outside'] = context.splits.embeddings
    if is_main():
        rows = {'classical features': classical.describe(labelled.image), **rows}
        features = {kind: Features(of_kind, config.seed) for kind, of_kind in rows.items()}
        network = None
        if 'cross_fit' in beliefs and beliefs['cross_fit'].left_out is not None:
            network = judges.of_networks(labelled.label, beliefs['cross_fit'].left_out)
        judged = {'folds': config.report.cross_fit, 'network': network}
        compared = judges.all_judges(features, labelled.num_classes, **judged)
        verdict = planted.compete(compared, labelled.label, labelled.num_classes, seed=config.seed)
        verdict.save(folder)
        similar = features[judges.kind_of(verdict.judge, features)].nearest[:, : evidence.SIMILAR]
        folder.save_array(evidence.NEAREST, similar.astype(np.int32))
    wait_for_all('verdict')
    return planted.Verdict.load(folder)


def write_report(folder: WorkDir, context: Context, beliefs: dict[str, Belief], found: LabelIssues) -> None:
    """Writes report.html and plots/.

    The map is laid out once, of the last classifier's embeddings; a run that trains none lays out the features of its
    list, anew each time. A first list has no map.
    """
    labelled, settings = context.splits.labelled, context.config.report
    last, trains = schedule.last_classifier(beliefs), bool(context.config.phases)
    if (last and not folder.has_array('labels/map')) or not trains:
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
    if is_main():
        findings = Findings.load(folder)
        page.write(folder, findings, labelled.image, gallery=settings.gallery, thumbnail=settings.thumbnail)
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
