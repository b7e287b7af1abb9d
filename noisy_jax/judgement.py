"""What comes of a run when all is trained: the list of wrong labels, the report."""

import numpy as np

from noisy_jax import label_issues, schedule
from noisy_jax import selection as sel
from noisy_jax.belief import Belief
from noisy_jax.data.dataset import Dataset
from noisy_jax.label_issues import LabelIssues
from noisy_jax.report import page, plots
from noisy_jax.report.findings import Findings
from noisy_jax.training import embedding_map, probe, tensorboard
from noisy_jax.training import mesh as mesh_lib
from noisy_jax.training.context import Context
from noisy_jax.training.state import Variables
from noisy_jax.workdir import WorkDir


def find(folder: WorkDir, method: Context, beliefs: dict[str, Belief], board) -> LabelIssues | None:
    last = beliefs.get(schedule.last_classifier(method.config))
    if last is None:
        return None
    issues = list_label_issues(folder, method.splits, method, last, beliefs.get('pretrain'))
    issues.numbers = issues.summary(method.splits.judged.true_label)
    if board:
        show(board, issues, method.splits.judged)
        board.close()
    return issues


def list_label_issues(folder, images, method, last, pretrained) -> LabelIssues:
    """Writes labels.csv and pred_probs.npy: the trust in each given label.

    Judged by the last classifier, or where config.report.cross_fit asks, by heads on the `pretrained` encoder.
    """
    judged, settings = images.judged, method.config.report
    if settings.cross_fit:
        probabilities = _cross_fitted(folder, judged, method, pretrained.variables)
    else:
        probabilities = images.in_order(last.probabilities, last.valid_probabilities)
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


def _cross_fitted(folder: WorkDir, judged: Dataset, method: Context, pretrained: Variables) -> np.ndarray:
    """Probabilities [N, C] by heads that did not see the label they judge, on embeddings that saw none; kept."""
    folds, seed = method.config.report.cross_fit, method.config.seed
    name = f'labels/cross_fit_{folds}'
    if not folder.has_array(name):
        embeddings = method.evaluator.embed(pretrained, judged)
        probabilities = probe.cross_fit(embeddings, judged.label, judged.num_classes, folds=folds, seed=seed)
        folder.save_array(name, probabilities)
        mesh_lib.wait_for_all(name)
    return folder.load_array(name)


def write_report(folder: WorkDir, method: Context, beliefs, issues: LabelIssues) -> None:
    """Writes report.html and plots/; the map of the embeddings is laid out once."""
    judged, last_classifier = method.splits.judged, beliefs[schedule.last_classifier(method.config)]
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


def selection(belief, train, name, board):
    if board:
        board.histogram(f'{name}/losses', belief.selection_losses[-1])
        board.histogram(f'{name}/clean_probability', belief.weight)
    if train.true_label is None:
        return {'selected': int(np.sum(belief.weight > 0.5))}
    return sel.quality(belief.weight, belief.label == train.true_label)
