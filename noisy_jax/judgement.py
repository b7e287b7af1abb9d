"""What comes of a run when all is trained: the list of wrong labels, the report."""

import numpy as np

from noisy_jax import label_issues, splits
from noisy_jax.data.dataset import Dataset
from noisy_jax.label_issues import LabelIssues
from noisy_jax.report import page, plots
from noisy_jax.report.findings import Findings
from noisy_jax.training import embedding_map, probe, tensorboard
from noisy_jax.training import mesh as mesh_lib
from noisy_jax.training.method import Method, Outcome
from noisy_jax.training.state import Variables
from noisy_jax.workdir import WorkDir


def list_label_issues(
    folder: WorkDir, images: splits.Splits, method: Method, last_classifier: Outcome, pretrained: Variables | None
) -> LabelIssues:
    """Writes labels.csv and pred_probs.npy: the trust in each given label.

    Judged by the last classifier, or where config.report.cross_fit asks, by heads on the `pretrained` encoder.
    """
    judged, settings = images.judged, method.config.report
    if settings.cross_fit:
        probabilities = _cross_fitted(folder, judged, method, pretrained)
    else:
        arrays = last_classifier.arrays
        probabilities = images.in_order(arrays['probabilities'], arrays.get('valid_probabilities'))
    issues = label_issues.find(probabilities, judged.label, threshold=settings.threshold, seed=method.config.seed)
    folder.save_array('pred_probs', issues.probabilities)
    folder.save_array('labels/noise_matrix', issues.noise_matrix())
    folder.save_labels(
        order=issues.by_suspicion if settings.sort == 'suspicion' else np.arange(len(judged)),
        ids=judged.id,
        class_names=judged.class_names,
        given=judged.label,
        suggested=issues.suggested,
        pred_prob=issues.pred_prob,
        clean_probability=issues.clean_probability,
        is_suspect=issues.is_suspect,
        true=judged.true_label,
    )
    return issues


def _cross_fitted(folder: WorkDir, judged: Dataset, method: Method, pretrained: Variables) -> np.ndarray:
    """Probabilities [N, C] by heads that did not see the label they judge, on embeddings that saw none; kept."""
    folds, seed = method.config.report.cross_fit, method.config.seed
    name = f'labels/cross_fit_{folds}'
    if not folder.has_array(name):
        embeddings = method.evaluator.embed(pretrained, judged)
        probabilities = probe.cross_fit(embeddings, judged.label, judged.num_classes, folds=folds, seed=seed)
        folder.save_array(name, probabilities)
        mesh_lib.wait_for_all(name)
    return folder.load_array(name)


def write_report(
    folder: WorkDir, judged: Dataset, method: Method, last_classifier: Outcome, issues: LabelIssues
) -> None:
    """Writes report.html and plots/; the map of the embeddings is laid out once."""
    if not folder.has_array('labels/map'):
        rows = embedding_map.choose(issues.by_suspicion)
        embeddings = method.evaluator.embed(last_classifier.variables, judged.take(rows))  # by all processes together
        if mesh_lib.is_main():
            folder.save_array('labels/map_rows', rows.astype(np.int32))
            folder.save_array('labels/map', embedding_map.lay_out(embeddings, method.config.seed))
    if mesh_lib.is_main():
        settings = method.config.report
        findings = Findings.of(folder)
        page.write(folder, findings, judged.image, gallery=settings.gallery, thumbnail=settings.thumbnail)
        plots.write(folder, findings)


def show(board: tensorboard.Board, issues: LabelIssues, judged: Dataset) -> None:
    """The list in TensorBoard: its losses and clean probabilities, the most suspicious images."""
    of_given = issues.probabilities[np.arange(len(judged)), issues.given]
    with np.errstate(divide='ignore'):
        board.histogram('labels/loss', -np.log(of_given))
    board.histogram('labels/clean_probability', issues.clean_probability)
    board.suspects(judged, issues.by_suspicion, issues.suggested, issues.clean_probability)
