"""The results of a run once everything is trained: label issues, report, TensorBoard."""

from typing import Any

import numpy as np

from noisy_jax import schedule
from noisy_jax.data.dataset import Dataset
from noisy_jax.labels import cross_fit, embedding_map, issues, selection
from noisy_jax.labels.issues import LabelIssues
from noisy_jax.report import page, plots
from noisy_jax.report.findings import Findings
from noisy_jax.training.context import Belief, Context
from noisy_jax.training.mesh import is_main, wait_for_all
from noisy_jax.training.state import Variables
from noisy_jax.training.tensorboard import Board
from noisy_jax.workdir import WorkDir


def find_label_issues(folder: WorkDir, context: Context, beliefs: dict[str, Belief]) -> LabelIssues | None:
    """Finds the issues of all given labels and writes labels.csv and pred_probs.npy; None without a classifier.

    The probabilities are those of the last classifier, or with config.report.cross_fit those of heads on the encoder of
    the phase `pretrain`. `beliefs` are those after that phase and after the last classifier's, by name.
    """
    last = beliefs.get(schedule.last_classifier(beliefs))
    if last is None:
        return None
    splits, settings = context.splits, context.config.report
    labelled = splits.labelled
    if settings.cross_fit:
        probabilities = _cross_fitted(folder, context, beliefs['pretrain'].variables)
    else:
        probabilities = splits.in_order(last.probabilities, last.valid_probabilities)
    rule = {'threshold': settings.threshold, 'seed': context.config.seed}
    found = issues.find(probabilities, labelled.label, labelled.true_label, **rule)
    found.save(folder, labelled.id, labelled.class_names, sort=settings.sort)
    return found


def _cross_fitted(folder: WorkDir, context: Context, pretrained: Variables) -> np.ndarray:
    """Probabilities [N, C] by heads that did not see the label, on embeddings that saw none; computed once."""
    labelled, folds = context.splits.labelled, context.config.report.cross_fit
    name = f'labels/cross_fit_{folds}'
    if not folder.has_array(name):
        embeddings = context.evaluator.embed(pretrained, labelled)
        settings = {'folds': folds, 'seed': context.config.seed}
        folder.save_array(name, cross_fit.cross_fit(embeddings, labelled.label, labelled.num_classes, **settings))
        wait_for_all(name)
    return folder.load_array(name)


def write_report(folder: WorkDir, context: Context, beliefs: dict[str, Belief], found: LabelIssues) -> None:
    """Writes report.html and plots/; the map, of the last classifier's embeddings, is laid out once."""
    labelled, settings = context.splits.labelled, context.config.report
    if not folder.has_array('labels/map'):
        rows = embedding_map.choose(found.by_suspicion)
        variables = beliefs[schedule.last_classifier(beliefs)].variables
        embeddings = context.evaluator.embed(variables, labelled.take(rows))  # by all processes together
        if is_main():
            folder.save_array('labels/map_rows', rows.astype(np.int32))
            folder.save_array('labels/map', embedding_map.lay_out(embeddings, context.config.seed))
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
