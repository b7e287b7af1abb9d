"""training/heads.py and guard.py: heads that have not seen a label, and what they keep a run from."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from noisy_jax import losses, models, phases, pipeline
from noisy_jax.data.dataset import Dataset
from noisy_jax.labels.agreement import Agreement
from noisy_jax.training import heads, state
from noisy_jax.training.guard import Guard, HeldOut

CLASSES = 10


def _cross_fitted(embeddings, labels, loss, classifier='linear', epochs=20):
    network = models.create({'encoder': 'cnn_small', 'classifier': classifier}, num_classes=CLASSES)
    empty = jnp.zeros((1, embeddings.shape[1]))
    variables = network.init(jax.random.key(0), empty, train=False, method='classify')
    criterion = losses.criterion(loss, **{k: s.default for k, s in losses.settings()[loss].items()})
    settings = {'optimizer': {'learning_rate': 0.5}, 'epochs': epochs, 'batch_size': 64, 'seed': 0}
    return heads.cross_fitted(network, {'batch_stats': {}, **variables}, embeddings, labels, criterion, **settings)


@pytest.mark.parametrize('loss', ['ce', 'elr', 'nfl_rce'])
@pytest.mark.parametrize('classifier', ['linear', 'bn_linear'])
def test_heads_learn_what_generalises(loss, classifier):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, 400)
    embeddings = (4 * np.eye(CLASSES)[labels] + rng.normal(size=(400, CLASSES))).astype(np.float32)
    found = _cross_fitted(embeddings, labels, loss, classifier)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)  # float32 sums of ten probabilities
    assert np.mean(found.argmax(1) == labels) > 0.85


def test_heads_have_not_seen_the_label_that_they_predict():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, 600)
    embeddings = rng.normal(size=(600, 400)).astype(np.float32)  # as many as a head needs to memorise all labels
    found = _cross_fitted(embeddings, labels, 'ce', epochs=40)
    assert abs(np.mean(found.argmax(1) == labels) - 0.1) < 4 * np.sqrt(0.09 / 600)


class _Evaluator:
    """Predicts the class that stands in the only pixel."""

    def log_probabilities(self, variables, dataset):
        return np.log(np.eye(CLASSES)[dataset.image[:, 0, 0, 0]] + 1e-9)


def _guard(sure, predicted, given=None):
    image = np.asarray(predicted, np.uint8)[:, None, None, None]
    given = sure if given is None else given
    known = Agreement(0.4, 0.5, 0.01, 0.8, 0.05, np.asarray(sure))
    return Guard(_Evaluator(), Dataset(image, given, tuple(map(str, range(CLASSES)))), np.asarray(sure), known)


def test_a_classifier_is_worse_where_it_errs_on_sure_images_as_often_as_the_heads_on_any():
    sure, rows = np.arange(100) % CLASSES, np.arange(100)
    predicted = np.where(rows < 72, sure, (sure + 1) % CLASSES)
    given = np.where(rows < 60, sure, (sure + 1) % CLASSES)  # of these 28 are predicted
    guard = _guard(sure, predicted, given)
    found = guard.agreements({})
    assert found == {'sure_agreement': 0.72, 'given_agreement': 0.88}
    assert guard.least == pytest.approx(0.7)  # 0.8 - 2 * 0.05
    assert not guard.memorises(found)
    assert guard.memorises(found | {'sure_agreement': 0.69})
    # 60 % of the given labels are sure; two standard errors of that are 10 %.
    assert not guard.memorises({'sure_agreement': 0.5, 'given_agreement': 0.69})
    assert not guard.memorises({'accuracy': 0.9})  # not evaluated in this epoch


def test_a_selection_is_evaluated_where_the_class_is_sure():
    sure = np.where(np.arange(600) < 400, np.arange(600) % CLASSES, -1)
    guard = _guard(sure[:400], sure[:400])
    guard = dataclasses.replace(guard, heads=dataclasses.replace(guard.heads, sure=sure))
    labels = np.where(np.arange(600) % 4 == 0, (np.arange(600) + 1) % CLASSES, np.arange(600) % CLASSES)
    right = labels == np.arange(600) % CLASSES
    assert guard.auroc(right.astype(float), labels) == 1.0
    assert guard.auroc(1 - right, labels) == 0.0
    assert guard.auroc(np.ones(600), labels) == 0.5
    assert guard.auroc(np.ones(600), np.arange(600) % CLASSES) is None  # none of them is wrong
    unknown = dataclasses.replace(guard.heads, accuracy_error=0.2)
    assert dataclasses.replace(guard, heads=unknown).auroc(1 - right, labels) is None


def _memorising(**changes):
    """All weights by cross-entropy at one rate: they memorise 60 % wrong labels."""
    settings = {
        'guard': True,
        'pretrain__epochs': 4,
        'classify__head_epochs': 8,
        'classify__epochs': 20,
        'classify__optimizer__encoder_scale': 1.0,
        'classify__optimizer__learning_rate': 5e-3,
        'finetune__head_epochs': 4,
        'finetune__epochs': 4,
    }
    config = tiny.config('loss=ce,rate=0.6,phases=finetuned', **(settings | changes))
    config.data.limit = config.data.test_limit = 0
    return config


def _run(folder, **changes):
    summary = pipeline.run(_memorising(**changes), folder, quiet=True)
    lines = [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]
    heads = [line for line in lines if (line['phase'], line['stage']) == ('classify', 'head')]
    head = heads[-1]['test_accuracy'] if heads else None
    return {phase['name']: phase for phase in summary['phases']}, head, lines


@pytest.mark.slow
def test_a_run_that_memorises_returns_to_its_head(tmp_path):
    found, head, lines = _run(tmp_path / 'guarded')
    assert found['classify']['test_accuracy_last'] == head > 0.7
    rejected = found['classify']['rejected']
    assert rejected['sure_agreement'] < rejected['least']
    assert found['classify']['stopped_after_epoch']['all'] < 20  # no later epoch mends it
    assert found['finetune']['test_accuracy_last'] > head - 0.03  # on the labels of the head
    assert all(0 <= line['sure_agreement'] <= 1 for line in lines if line['phase'] in ('classify', 'finetune'))
    unguarded, _, _ = _run(tmp_path / 'unguarded', guard=False, phases=('pretrain', 'classify'))
    assert unguarded['classify']['test_accuracy_last'] < head - 0.2
    assert 'heads' not in unguarded['classify']


def test_without_a_head_before_it_a_run_returns_to_its_best_epoch(tmp_path):
    found, _, lines = _run(tmp_path, phases=('pretrain', 'classify'), classify__head_epochs=0, classify__epochs=15)
    assert found['classify']['rejected']['instead'] == 'its best epoch by this measure'
    epochs = [line for line in lines if line['phase'] == 'classify']
    best = max(epochs, key=lambda line: line['sure_agreement'])
    assert found['classify']['test_accuracy_last'] == best['test_accuracy'] > epochs[-1]['test_accuracy']


def test_by_hand_how_far_a_classifier_is_behind():
    labels = np.zeros(100, int)
    best, now = np.repeat([0, 1], [80, 20]), np.repeat([1, 0, 1], [20, 75, 5])
    held_out = HeldOut(labels)  # 20 are lost and 15 gained: 5 of 35
    assert held_out.behind(now, best) == pytest.approx(5 / np.sqrt(35))
    journal = _Journal()
    assert not held_out.rejects(now, best, journal, 'all', 'the best before')
    assert not journal.record
    assert not journal.said
    assert held_out.rejects(np.repeat([1, 0], [16, 84]), np.repeat([0, 1], [100, 0]), journal, 'all', 'the best before')
    assert journal.record['rejected'] == {'stage': 'all', 'agreement': 0.84, 'best': 1.0, 'instead': 'the best before'}
    assert 'agrees with 84.0 % of the held-out labels, the best before with 100.0 %' in journal.said[0][1]


@pytest.mark.parametrize('head_epochs', [8, 0])
def test_a_run_that_memorises_returns_to_what_agreed_best_with_held_out_labels(tmp_path, head_epochs):
    changes = {'data__valid_fraction': 0.3, 'classify__head_epochs': head_epochs, 'phases': ('pretrain', 'classify')}
    found, _, lines = _run(tmp_path, **changes)
    lines = [line for line in lines if line['phase'] == 'classify']
    if head_epochs:  # with which the next stage begins
        lines = [line for line in lines if line['stage'] == 'all' or line['epoch'] == head_epochs]
    best = max(lines, key=lambda line: line['valid_accuracy'])  # the first of equals
    rejected = found['classify']['rejected']
    assert rejected['agreement'] == lines[-1]['valid_accuracy'] < best['valid_accuracy'] == rejected['best']
    assert lines[-1]['behind_best'] > 3
    assert found['classify']['valid_accuracy_last'] == best['valid_accuracy']
    assert found['classify']['test_accuracy_last'] == best['test_accuracy'] > lines[-1]['test_accuracy'] + 0.1


def test_a_classifier_behind_that_of_the_phase_before_is_not_used(tmp_path):
    """Its pseudo-labels would be worse; the last stage of a phase may have begun worse than the phase before ended."""
    changes = {'data__valid_fraction': 0.3, 'classify__epochs': 0, 'select__epochs': 1, 'contrast__epochs': 1}
    damage = {'finetune__head_epochs': 0, 'finetune__epochs': 1, 'finetune__optimizer__learning_rate': 1e-6}
    found, head, _ = _run(tmp_path, **changes, **damage)
    rejected = found['finetune']['rejected']
    assert rejected['instead'] == 'the classifier of the phase before'
    assert rejected['agreement'] < rejected['best'] == found['classify']['valid_accuracy_last']
    assert found['finetune']['test_accuracy_last'] == found['classify']['test_accuracy_last'] == head


class _Journal:
    name = phase = 'classify'

    def __init__(self):
        self.said, self.record = [], {}
        self.session = self.progress = self

    def note(self, phase, text):
        self.said.append((phase, text))


def test_it_is_said_before_that_elr_will_memorise():
    guard = _guard(np.arange(10), np.arange(10))
    guard = dataclasses.replace(guard, heads=dataclasses.replace(guard.heads, right_labels=0.2))
    unsure, sure = (jnp.full((10, CLASSES), (1 - p) / 9).at[:, 0].set(p) for p in (0.5, 0.9))

    def said(memory, scale=1.0, guard=guard):
        journal = _Journal()
        guard.foresee(state.create({'params': {}}, optax.sgd(0.1), (), memory), scale, journal)
        return journal.said

    [(phase, text)] = said({'elr_targets': unsure})
    assert phase == 'classify'
    assert 'the mean of <p, memory> is 0.28' in text  # 0.5 ** 2 + 9 * (0.5 / 9) ** 2
    assert 'config.classify.optimizer.encoder_scale=0.1' in text
    assert not said({'elr_targets': sure})
    assert not said({'elr_targets': unsure}, scale=0.1)
    assert not said({})  # another loss
    filled = jnp.concatenate([sure, jnp.zeros((6, CLASSES))])  # as memory is that is sharded
    assert not said({'elr_targets': filled})
    assert not said({'elr_targets': jnp.stack([filled, filled])})  # two networks
    unknown = dataclasses.replace(guard.heads, accuracy_error=0.2)
    assert not said({'elr_targets': unsure}, guard=dataclasses.replace(guard, heads=unknown))
    few_wrong = dataclasses.replace(guard, heads=dataclasses.replace(guard.heads, right_labels=0.8))
    assert not said({'elr_targets': unsure}, guard=few_wrong)


@pytest.mark.slow
def test_nothing_is_trained_on_a_selection_of_one_group(tmp_path, monkeypatch):
    monkeypatch.setattr(phases.selection, 'clean_probability', lambda losses, **_: np.ones(losses.shape[-1]))
    config = tiny.config('loss=elr,rate=0.4,phases=finetuned', guard=True)
    summary = pipeline.run(config, tmp_path, quiet=True)
    classify, _, contrast, finetune = summary['phases'][1:]
    assert 'one group' in contrast['skipped']
    assert contrast['skipped'] == finetune['skipped']
    assert finetune['test_accuracy_last'] == classify['test_accuracy_last']
    lines = map(json.loads, (tmp_path / 'metrics.jsonl').read_text().splitlines())
    assert {line['phase'] for line in lines} == {'pretrain', 'classify', 'select'}
    assert pipeline.run(config, tmp_path, quiet=True)['phases'] == summary['phases']
    other = pipeline.run(tiny.config('loss=elr,rate=0.4,phases=finetuned'), tmp_path / 'off', quiet=True)
    assert not any('skipped' in phase for phase in other['phases'])


def test_the_loss_of_the_head_is_chosen_and_kept(tmp_path):
    config = tiny.config('loss=ce,rate=0.4,phases=pretrained', guard=True, classify__head_loss='auto')
    found = pipeline.run(config, tmp_path, quiet=True)['phases'][1]['heads']
    assert found['agreement'].keys() == {'ce', 'elr', 'nfl_rce'}
    assert found['chosen'] in found['agreement']
    kept = np.load(tmp_path / 'labels' / 'classify_head_probabilities.npy')
    given = np.load(tmp_path / 'labels' / 'given.npy')
    assert np.mean(kept.argmax(1) == given) == pytest.approx(found['agreement'][found['chosen']])
    known = Agreement.of(kept, given)
    assert (known.right_labels, known.accuracy) == (found['right_labels'], found['accuracy'])
