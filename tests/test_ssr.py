"""SSR: what is relabelled and kept, by hand; what its step learns from; its runs on real digits."""

import functools
import json
import pathlib

import jax
import numpy as np
import pytest
from conftest import refused
from test_steps import NORMALISE, OPTIMIZER, _batch, _learner, _predict, _same, _variables
from tiny import config

from experiments.accuracy import cells
from noisy_jax import config as config_lib
from noisy_jax import pipeline, settings
from noisy_jax.data import augment, digits
from noisy_jax.data.rows import draw
from noisy_jax.methods import CLASSIFIERS, ssr
from noisy_jax.methods.mixing import Mixing, cut
from noisy_jax.models.heads import Consistency
from noisy_jax.training import loop, optim, state
from noisy_jax.training.checkpoints import Checkpoints
from noisy_jax.training.signals import Stopped

CONFIGS = pathlib.Path(__file__).resolve().parents[1] / 'configs'

COUNT, CLASSES = 1437, 10


# ---------------------------------------------------------------- selection


def test_a_sure_prediction_replaces_the_given_label():
    probabilities = np.array([[0.95, 0.05], [0.9, 0.1], [0.2, 0.8]], np.float32)
    given = np.array([1, 1, 0], np.int32)
    np.testing.assert_array_equal(ssr.relabel(given, probabilities, 0.92), [0, 1, 0])
    np.testing.assert_array_equal(ssr.relabel(given, np.eye(3, 2, dtype=np.float32), 1.0), given)
    assert ssr.relabel(given, probabilities, 0.5).dtype == np.int32


def _on_circle(*degrees):
    angle = np.radians(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)


def test_the_nearest_others_vote_alike_and_classes_in_balance():
    """Two groups; of five labels 0 and two labels 1, a vote for 1 counts 5 / 2 of one for 0."""
    embeddings = _on_circle(0, 1, 2, 3, 90, 91, 92) * np.arange(1, 8, dtype=np.float32)[:, None]
    labels = np.array([0, 0, 0, 1, 1, 0, 0], np.int32)
    shares = ssr.vote(embeddings, labels, k=2, num_classes=2)
    one_each = np.array([1 / 5, 1 / 2]) / (1 / 5 + 1 / 2)
    expected = [[1, 0], [1, 0], one_each, [1, 0], [1, 0], one_each, one_each]
    np.testing.assert_allclose(shares, expected, rtol=1e-6)  # of sums of two
    np.testing.assert_array_equal(ssr.keep(shares, labels, 1.0), [1, 1, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(ssr.keep(shares, labels, 0.4), [1, 1, 1, 0, 0, 1, 1])


def test_a_class_without_labels_gets_no_votes():
    shares = ssr.vote(_on_circle(0, 1, 90, 91), np.array([0, 0, 2, 2], np.int32), k=200, num_classes=3)
    np.testing.assert_allclose(shares, [[1 / 3, 0, 2 / 3]] * 2 + [[2 / 3, 0, 1 / 3]] * 2, rtol=1e-6)


def test_kept_samples_of_all_classes_come_equally_often():
    labels = np.array([0, 0, 0, 0, 1, 2, 2], np.int32)
    kept = np.array([1, 1, 1, 1, 1, 0, 0], bool)
    weights = ssr.balance_classes(labels, kept, 4)
    np.testing.assert_array_equal(weights, np.float32([0.25, 0.25, 0.25, 0.25, 1, 0, 0]))
    for seed in range(20):
        rows = draw(weights, 7, np.random.default_rng(seed))
        drawn = np.bincount(labels[rows], minlength=3)
        assert drawn[2] == 0
        assert set(drawn[:2]) == {3, 4}, 'half of 7, rounded up or down'
        assert np.bincount(rows, minlength=7)[:4].max() <= 1


@pytest.mark.parametrize('weights', [[0, 0, 1, 0], [0, 3e-8, 0, 0]])
def test_samples_without_weight_are_never_drawn(weights):
    weights = np.float32(weights)
    rng = np.random.default_rng(0)
    rows = [draw(weights, 4, rng) for _ in range(1000)]
    assert set(np.ravel(rows)) == {int(weights.argmax())}


def test_with_equal_weights_every_sample_is_drawn_once_in_an_order_of_chance():
    rng = np.random.default_rng(0)
    for weights in (np.full(8, 0.5, np.float32), np.zeros(8, np.float32)):
        drawn = [draw(weights, 8, rng) for _ in range(20)]
        np.testing.assert_array_equal(np.sort(drawn), np.tile(np.arange(8), (20, 1)))
        assert len({tuple(rows) for rows in drawn}) > 15


# ---------------------------------------------------------------- step


def test_consistency_by_hand_and_without_a_gradient_for_what_is_predicted():
    p, z = np.float32([[3, 4], [0, 2]]), np.float32([[2, 0], [0, 5]])
    np.testing.assert_allclose(ssr.consistency_loss(p, z), [-0.6, -1], rtol=1e-6)
    of_p, of_z = jax.grad(lambda p, z: ssr.consistency_loss(p, z).sum(), (0, 1))(p, z)
    assert not np.any(of_z)
    # d/dp of -<p, e> / |p| for e = (1, 0): -(e - <p, e> p / |p|^2) / |p|
    np.testing.assert_allclose(of_p, [[-0.128, 0.096], [0, 0]], atol=1e-6)


def test_a_box_of_the_partner_has_its_share_of_the_labels():
    images = np.broadcast_to(np.float32([0, 1])[:, None, None, None], (2, 8, 8, 1))
    mixing = Mixing(np.array([1, 0]), np.float32(0.75))
    for seed in range(10):
        mixed, of_labels = cut(jax.random.key(seed), images, mixing)
        pasted = np.asarray(mixed[0, :, :, 0])
        assert pasted.mean() == pytest.approx(1 - float(of_labels.share))
        assert 4 / 64 <= pasted.mean() <= 16 / 64, 'a quarter, or what is inside'
        height, width = pasted.any(1).sum(), pasted.any(0).sum()
        assert pasted.sum() == height * width, 'a box'
        np.testing.assert_array_equal(mixed[1], 1 - mixed[0])


def _with_heads():
    made = jax.jit(functools.partial(Consistency().init, train=False))(jax.random.key(5), np.zeros((1, 128)))
    return {kind: {**tree, ssr.HEADS: made[kind]} for kind, tree in _variables().items()}


@functools.cache
def _step(cutmix=False, consistency=1.0):
    trained = (*optim.CLASSIFIER, ssr.HEADS) if consistency else optim.CLASSIFIER
    weak = _learner(trained, augment.policy('none'))
    return jax.jit(ssr.ssr_step(weak, _learner(trained), mixup=4.0, cutmix=cutmix, consistency=consistency)), trained


def _start(label, kept, consistency=1.0):
    _, trained = _step(consistency=consistency)
    extra = {ssr.LABEL: label, ssr.BALANCE: ssr.balance_classes(label, kept, CLASSES)}
    return state.create(_with_heads() if consistency else _variables(), OPTIMIZER, trained, extra)


def _labels():
    label = np.zeros(COUNT, np.int32)
    label[_batch()['index']] = _batch()['label']
    return label


def _drawing(kept):
    """The batch, beside which images are drawn from those of it that are kept."""
    inside = np.isin(np.arange(COUNT), _batch()['index'])
    weights = ssr.balance_classes(_labels(), kept & inside, CLASSES)
    return next(digits.load('train').batches(0, 0, batch_size=len(_batch()['index']), weights=weights))


def test_a_step_trains_the_network_and_its_heads():
    step, trained = _step()
    start = _start(_labels(), np.ones(COUNT, bool))
    new, metrics = step(start, _drawing(np.ones(COUNT, bool)), jax.random.key(1))
    for name in start.params:
        assert _same(new.params[name], start.params[name]) == (name not in trained), name
    assert not _same(new.batch_stats['encoder'], start.batch_stats['encoder'])
    for name, tree in new.batch_stats[ssr.HEADS].items():
        assert not _same(tree, start.batch_stats[ssr.HEADS][name]), name
    assert set(metrics) == {'loss', 'accuracy', 'consistency'}
    assert -1 <= metrics['consistency'] <= 1
    for leaf in jax.tree.leaves((new.params, new.batch_stats, metrics['loss'])):
        assert leaf.dtype == np.float32


@pytest.mark.parametrize(('cutmix', 'consistency'), [(False, 1.0), (True, 0.0)])
def test_it_learns_by_the_labels_that_are_kept_alone(cutmix, consistency):
    """Kept labels are right, all others wrong; the labels of the batch play no part."""
    kept = np.arange(COUNT) % 2 == 0
    label = np.where(kept, _labels(), (_labels() + 1) % CLASSES).astype(np.int32)
    step, _ = _step(cutmix, consistency)
    now, batch = _start(label, kept, consistency), {**_drawing(kept), 'label': (_batch()['label'] + 5) % CLASSES}
    for _ in range(40):
        now, _ = step(now, batch, jax.random.key(1))
    logits, _ = _predict(now.variables, NORMALISE(batch['image'] / np.float32(255)))
    right = np.asarray(logits).argmax(-1) == _batch()['label']
    unkept = ~kept[batch['index']]
    assert right[unkept].mean() > 0.7
    assert right[~unkept].mean() > 0.8


def test_without_kept_labels_only_consistency_teaches():
    step, _ = _step(cutmix=True, consistency=0.0)
    start, batch = _start(_labels(), np.zeros(COUNT, bool), consistency=0.0), _drawing(np.zeros(COUNT, bool))
    new, metrics = step(start, batch, jax.random.key(1))
    assert metrics['loss'] == 0
    assert _same(new.params, start.params)
    step, _ = _step()
    start = _start(_labels(), np.zeros(COUNT, bool))
    new, metrics = step(start, batch, jax.random.key(1))
    assert float(metrics['loss']) == -float(metrics['consistency'])
    assert _same(new.params['classifier'], start.params['classifier'])
    assert not _same(new.params['encoder'], start.params['encoder'])


# ---------------------------------------------------------------- runs


def _config(argument, **changes):
    own = {'ssr__strong_augment': 'handwriting', 'ssr__neighbours': 20}
    return config(argument, **own, **changes)


def _metrics(folder):
    return [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]


@pytest.mark.slow
def test_a_run_beats_cross_entropy_at_sixty_percent(tmp_path):
    """After a short pre-training; what is kept and relabelled is told, and the votes for the given labels are saved."""
    changes = {'pretrain__epochs': 12, 'classify__head_epochs': 0, 'classify__epochs': 8, 'data__test_limit': 360}
    changes |= {'classify__optimizer__encoder_scale': 1.0, 'data__limit': 400, 'eval_every': 0}
    accuracy = {}
    for method in ('single', 'ssr'):
        run = _config('loss=ce,rate=0.6,phases=pretrained', classify__method=method, **changes)
        summary = cells.run(run, tmp_path / method, tmp_path / 'phases', shared=('pretrain',))
        accuracy[method] = summary['phases'][1]['test_accuracy_last']
    assert accuracy['ssr'] > accuracy['single'] + 0.1
    last = _metrics(tmp_path / 'ssr')[-1]
    assert 0 < last['relabelled_next'] < 1
    assert 0 < last['kept_next'] < 1
    labels = tmp_path / 'ssr' / 'labels'
    vote, given, true = (np.load(labels / f'{name}.npy') for name in ('classify_vote', 'given', 'true'))
    assert vote.dtype == np.float32
    assert np.all((vote >= 0) & (vote <= 1))
    assert vote[given == true].mean() > vote[given != true].mean() + 0.2
    assert pipeline.run(run, tmp_path / 'ssr', quiet=True)['complete'], 'the votes are read back'


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
    """From scratch by SSR, with averaged weights and boxes; then a phase by another method."""
    folder = tmp_path_factory.mktemp('undisturbed')
    pipeline.run(_scratch('classify', 'finetune'), folder, quiet=True)
    return folder


def _scratch(*phases, **changes):
    for phase in phases:
        changes |= {f'{phase}__head_epochs': 0, f'{phase}__epochs': 1}
    changes |= {'classify__method': 'ssr', 'classify__epochs': 3, 'classify__average': 0.9}
    changes |= {'ssr__cutmix': True, 'ssr__relabel_above': 0.2, 'eval_every': 0}
    return _config('rate=0.4', phases=phases, **changes)


def _of_classify(folder):
    return [line for line in _metrics(folder) if line['phase'] == 'classify']


def test_stopped_in_an_epoch_and_streamed_a_run_ends_with_the_same_bits(undisturbed, tmp_path, monkeypatch):
    streamed, asked = _scratch('classify', resident_bytes=0), []
    with monkeypatch.context() as patch:
        patch.setattr(loop, '_stop_asked', lambda session, step: asked.append(step) or len(asked) == 7)
        with pytest.raises(Stopped):  # in the second of three epochs of four steps
            pipeline.run(streamed, tmp_path, quiet=True)
    pipeline.run(streamed, tmp_path, quiet=True)
    assert len(_of_classify(tmp_path)) == 3
    assert _of_classify(tmp_path)[-1] == _of_classify(undisturbed)[-1]
    assert _of_classify(tmp_path)[-1]['relabelled_next'] > 0
    for name in ('vote', 'probabilities'):
        first, second = (np.load(folder / 'labels' / f'classify_{name}.npy') for folder in (undisturbed, tmp_path))
        np.testing.assert_array_equal(first, second)


def test_its_heads_and_votes_end_with_the_phase(undisturbed):
    for phase in ('classify', 'finetune'):
        checkpoints = Checkpoints(undisturbed / 'checkpoints' / phase)
        outcome = checkpoints.restore_outcome()
        checkpoints.close()
        assert set(outcome['params']) == {'encoder', 'projection', 'classifier'}
        assert ssr.HEADS not in outcome['batch_stats']
    assert not (undisturbed / 'labels' / 'finetune_vote.npy').exists()


def test_a_setting_of_the_phase_that_it_replaces_is_refused():
    run = config('phases=base', base__method='ssr', base__mixup=0.5)
    refused(lambda: CLASSIFIERS['ssr'].check(run, 'base'), 'config.base.mixup', 0.5, 'ssr')


def test_the_defaults_are_the_authors():
    own = settings.default().ssr
    assert (own.relabel_above, own.keep_from, own.neighbours, own.mixup, own.consistency) == (0.9, 1.0, 200, 4.0, 1.0)
    rates = config_lib.load(str(CONFIGS / 'cifar10_ssr.py')).classify
    assert rates.optimizer.learning_rate * rates.batch_size / 256 == pytest.approx(0.02)


def test_under_x64_types_stay_as_they_are():
    step, _ = _step(cutmix=True)
    start = _start(_labels(), np.ones(COUNT, bool))
    with jax.enable_x64(True):
        new, metrics = jax.eval_shape(step, start, _drawing(np.ones(COUNT, bool)), jax.random.key(1))
        shares = ssr.vote(_on_circle(*range(50)), np.arange(50, dtype=np.int32) % 5, k=7, num_classes=5)
    assert metrics['loss'].dtype == shares.dtype == np.float32
    for path, leaf in jax.tree_util.tree_leaves_with_path(new):
        assert leaf.dtype == (np.int32 if jax.tree_util.keystr(path) in _WHOLE else np.float32), path


_WHOLE = ('.step', f".extra['{ssr.LABEL}']")
