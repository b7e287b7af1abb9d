"""The results of a run once everything is trained: label issues, report, TensorBoard."""

import numpy as np

from noisy_jax.data.dataset import Dataset
from noisy_jax.data.splits import Splits
from noisy_jax.labels import cross_fit, embedding_map, issues
from noisy_jax.labels.issues import LabelIssues
from noisy_jax.report import page, plots
from noisy_jax.report.findings import Findings
from noisy_jax.training import tensorboard
from noisy_jax.training.mesh import is_main, wait_for_all
from noisy_jax.training.method import Method, Outcome
from noisy_jax.training.state import Variables
from noisy_jax.workdir import WorkDir


def find_label_issues(
    folder: WorkDir, splits: Splits, method: Method, last_classifier: Outcome, pretrained: Variables | None
) -> LabelIssues:
    """Finds the issues of all given labels and writes labels.csv and pred_probs.npy.

    The probabilities are those of the last classifier, or with config.report.cross_fit those of heads on the
    `pretrained` encoder.
    """
    labelled, settings, seed = splits.labelled, method.config.report, method.config.seed
    if settings.cross_fit:
        probabilities = _cross_fitted(folder, labelled, method, pretrained)
    else:
        arrays = last_classifier.arrays
        probabilities = splits.in_order(arrays['probabilities'], arrays.get('valid_probabilities'))
    found = issues.find(probabilities, labelled.label, labelled.true_label, threshold=settings.threshold, seed=seed)
    found.save(folder, labelled.id, labelled.class_names, sort=settings.sort)
    return found


def _cross_fitted(folder: WorkDir, labelled: Dataset, method: Method, pretrained: Variables) -> np.ndarray:
    """Probabilities [N, C] by heads that did not see the label, on embeddings that saw none; computed once."""
    folds = method.config.report.cross_fit
    name = f'labels/cross_fit_{folds}'
    if not folder.has_array(name):
        embeddings = method.evaluator.embed(pretrained, labelled)
        settings = {'folds': folds, 'seed': method.config.seed}
        folder.save_array(name, cross_fit.cross_fit(embeddings, labelled.label, labelled.num_classes, **settings))
        wait_for_all(name)
    return folder.load_array(name)


def write_report(folder: WorkDir, labelled: Dataset, method: Method, variables: Variables, found: LabelIssues) -> None:
    """Writes report.html and plots/; the map, of the embeddings by `variables`, is laid out once."""
    if not folder.has_array('labels/map'):
        rows = embedding_map.choose(found.by_suspicion)
        embeddings = method.evaluator.embed(variables, labelled.take(rows))  # by all processes together
        if is_main():
            folder.save_array('labels/map_rows', rows.astype(np.int32))
            folder.save_array('labels/map', embedding_map.lay_out(embeddings, method.config.seed))
    if is_main():
        settings, findings = method.config.report, Findings.load(folder)
        page.write(folder, findings, labelled.image, gallery=settings.gallery, thumbnail=settings.thumbnail)
        plots.write(folder, findings)


def show(board: tensorboard.Board, found: LabelIssues, labelled: Dataset) -> None:
    """Shows in TensorBoard the losses and clean probabilities of all labels, and the most suspicious images."""
    board.histogram('labels/loss', found.losses)
    board.histogram('labels/clean_probability', found.clean_probability)
    board.suspects(labelled, found.by_suspicion, found.suggested, found.clean_probability)
