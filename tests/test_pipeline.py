"""The six phases end to end on real digits: files, numbers, and what training may see."""

import csv
import json
import sys

import jax
import numpy as np
import pytest
import sklearn
from tiny import config

from noisy_jax import pipeline
from noisy_jax.data import digits, noise
from noisy_jax.errors import InputError


def _long_enough():
    """Settings that learn."""
    settings = config('rate=0.4', data__limit=0, data__test_limit=0, report__page=True)
    settings.pretrain.epochs, settings.base.epochs = 15, 10
    settings.classify.head_epochs = settings.finetune.head_epochs = 5
    settings.classify.epochs = settings.finetune.epochs = 5
    settings.select.epochs = 5
    return settings


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp('run')
    return pipeline.run(_long_enough(), folder), folder


def test_every_phase_learns(run):
    summary, _ = run
    phases = {phase['name']: phase for phase in summary['phases']}
    assert list(phases) == ['base', 'pretrain', 'classify', 'select', 'contrast', 'finetune']
    assert phases['pretrain']['knn_accuracy'] > 0.9
    assert phases['classify']['test_accuracy_last'] > 0.85
    assert phases['finetune']['test_accuracy_last'] > 0.85
    assert phases['finetune']['test_accuracy_best'] >= phases['finetune']['test_accuracy_last']
    assert all(phase['seconds'] > 0 and phase['images_per_second'] > 0 for phase in phases.values())


def test_selection_and_label_issues_are_better_than_chance(run):
    summary, _ = run
    assert summary['selection']['auroc'] > 0.8
    issues = summary['label_issues']
    assert issues['auroc'] > 0.95
    assert issues['precision'] > 0.8
    assert issues['recall'] > 0.8
    assert issues['suggestion_accuracy'] > 0.8


def test_summary_is_the_contract(run):
    summary, folder = run
    assert summary == json.loads((folder / 'summary.json').read_text())
    assert summary['complete'] is True
    assert summary['config'] == 'digits'
    assert summary['seed'] == 0
    assert {'python', 'jax', 'flax'} <= summary['versions'].keys()
    assert summary['noise']['kind'] == 'symmetric'
    assert summary['noise']['rate'] == 0.4
    assert summary['noise']['realised_rate'] == pytest.approx(0.4, abs=0.005)
    matrix = np.array(summary['noise']['transition_matrix'])
    assert matrix.shape == (10, 10)
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-3)
    np.testing.assert_allclose(matrix.diagonal(), 0.6, atol=0.01)


def test_labels_csv_agrees_with_the_arrays(run):
    summary, folder = run
    with (folder / 'labels.csv').open() as file:
        rows = list(csv.DictReader(file))
    header = 'index,id,given_label,suggested_label,pred_prob,clean_probability,is_suspect,true_label'
    assert ','.join(rows[0]) == header
    data = digits.load('train')
    given = noise.corrupt(data.label, 'symmetric', 0.4, 10, 0)
    probabilities = np.load(folder / 'pred_probs.npy')
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    assert [int(row['given_label']) for row in rows] == given.tolist()
    assert [int(row['true_label']) for row in rows] == data.label.tolist()
    assert [int(row['suggested_label']) for row in rows] == probabilities.argmax(1).tolist()
    suspect = np.array([row['is_suspect'] == '1' for row in rows])
    clean = np.array([float(row['clean_probability']) for row in rows])
    np.testing.assert_array_equal(suspect[np.abs(clean - 0.5) > 1e-5], (clean < 0.5)[np.abs(clean - 0.5) > 1e-5])
    wrong = given != data.label
    issues = summary['label_issues']
    assert issues['suspects'] == suspect.sum()
    assert issues['precision'] == pytest.approx((suspect & wrong).sum() / suspect.sum())
    assert issues['recall'] == pytest.approx((suspect & wrong).sum() / wrong.sum())


def test_metrics_have_a_line_for_every_epoch(run):
    _, folder = run
    lines = [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]
    seen = [(line['phase'], line['stage'], line['epoch']) for line in lines]
    expected = [('base', 'all', e) for e in range(1, 11)]
    expected += [('pretrain', 'encoder', e) for e in range(1, 16)]
    expected += [('classify', stage, e) for stage in ('head', 'all') for e in range(1, 6)]
    expected += [('select', 'head', e) for e in range(1, 6)]
    expected += [('contrast', 'encoder', e) for e in range(1, 3)]
    expected += [('finetune', stage, e) for stage in ('head', 'all') for e in range(1, 6)]
    assert seen == expected
    assert all(np.isfinite(line['loss']) for line in lines)


def test_complete_run_only_rewrites_its_summary(run, capfd):
    summary, folder = run

    def contents():
        return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}

    before = contents()
    assert pipeline.run(_long_enough(), folder) == summary
    assert 'complete' in capfd.readouterr().err
    assert contents() == before
    (folder / 'summary.json').unlink()
    board = folder / 'tensorboard'  # without a summary the run is not over: made anew
    (board / 'notes.txt').write_text('of a user')
    assert pipeline.run(_long_enough(), folder, quiet=True) == summary
    assert capfd.readouterr() == ('', '')
    assert len(list(board.glob('events*'))) == 1
    assert (board / 'notes.txt').read_text() == 'of a user'
    assert {path: text for path, text in contents().items() if board not in path.parents} == {
        path: text for path, text in before.items() if board not in path.parents
    }


def test_quiet_and_without_tensorboard(tmp_path, capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, 'tensorboardX', None)
    pipeline.run(config('phases=base'), tmp_path, quiet=True)
    assert capfd.readouterr() == ('', '')
    assert (tmp_path / 'metrics.jsonl').exists()
    assert not (tmp_path / 'tensorboard').exists()


def test_another_config_in_the_same_folder_is_refused(run):
    _, folder = run
    before = (folder / 'summary.json').read_bytes()
    settings = _long_enough()
    settings.noise.rate = 0.6
    with pytest.raises(InputError, match=r'noise\.rate was 0\.4, is 0\.6'):
        pipeline.run(settings, folder)
    assert (folder / 'summary.json').read_bytes() == before


def test_where_it_computes_may_change(run, tmp_path):
    summary, folder = run
    settings = _long_enough()
    settings.compile_cache, settings.xla_options = str(tmp_path / 'cache'), 'none'
    settings.resident_bytes, settings.checkpoint_every = 0, 7
    settings.devices = 1
    before = jax.config.jax_compilation_cache_dir
    try:
        assert pipeline.run(settings, folder) == summary
    finally:
        jax.config.update('jax_compilation_cache_dir', before)


def _arrays(folder, **more):
    train, test = digits.load('train', limit=300), digits.load('test', limit=100)
    given = noise.corrupt(train.label, 'symmetric', 0.4, 10, 0)
    folder.mkdir()
    path = folder / 'data.npz'
    np.savez(path, images=train.image, labels=given, test_images=test.image, test_labels=test.label, **more)
    return config('noise=none', data__name='arrays', data__path=str(path), data__limit=0)


def test_true_labels_do_not_reach_training(tmp_path):
    """The same images and given labels, with the truth and with nonsense for it: the same bits."""
    truth = digits.load('train', limit=300).label
    nonsense = np.random.default_rng(0).permutation(truth)
    outputs = []
    for name, labels in (('truth', truth), ('nonsense', nonsense)):
        settings = _arrays(tmp_path / name, true_labels=labels)
        settings.phases = settings.phases[1:]  # all but `base`, which is as `classify` is
        summary = pipeline.run(settings, tmp_path / name / 'work')
        outputs.append((np.load(tmp_path / name / 'work' / 'pred_probs.npy'), summary['noise']['realised_rate']))
    np.testing.assert_array_equal(outputs[0][0], outputs[1][0])
    assert outputs[0][1] == pytest.approx(0.4)
    assert outputs[1][1] > 0.8


@pytest.mark.parametrize('loss', ['ce', 'nfl_rce'])
@pytest.mark.parametrize('phases', ['base', 'pretrained'])
def test_other_losses_and_columns(tmp_path, loss, phases):
    summary = pipeline.run(config(f'loss={loss},phases={phases}'), tmp_path)
    assert summary['complete']
    assert summary['label_issues']['suspects'] >= 0
    assert len(summary['phases']) == {'base': 1, 'pretrained': 2}[phases]


def test_validation_split_is_held_out_with_its_noise_and_stops_in_time(tmp_path):
    """The stage ends once few predictions change; a rerun knows where it ended."""
    changes = {'data__valid_fraction': 0.2, 'base__epochs': 30, 'early_stop': 'stable_predictions'}
    settings = config('phases=base', early_stop_below=0.4, **changes)
    summary = pipeline.run(settings, tmp_path)
    assert 0 <= summary['phases'][0]['valid_accuracy_last'] <= 1
    assert len(np.load(tmp_path / 'pred_probs.npy')) == 300, 'the images held out are judged too'
    assert len(np.load(tmp_path / 'labels' / 'base_probabilities.npy')) == pytest.approx(240, abs=5)
    lines = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
    changed = [line['valid_changed'] for line in lines]
    means = [line['valid_changed_mean'] for line in lines]
    held_out = 300 - len(np.load(tmp_path / 'labels' / 'base_probabilities.npy'))
    assert changed[0] == held_out  # no prediction before the first
    padded = [held_out] * 4 + changed
    assert means == pytest.approx([np.mean(padded[i : i + 5]) for i in range(len(changed))])
    assert means[-1] <= 0.4 * held_out < min(means[:-1])
    assert summary['phases'][0]['stopped_after_epoch'] == {'all': len(lines)}
    assert len(lines) < 30
    assert pipeline.run(settings, tmp_path) == summary


def test_early_stop_needs_a_validation_split(tmp_path):
    with pytest.raises(InputError, match=r"config\.early_stop: 'stable_predictions' needs data\.valid_fraction"):
        pipeline.run(config(early_stop='stable_predictions'), tmp_path)


def test_changed_data_is_refused(tmp_path):
    settings = _arrays(tmp_path / 'a')
    settings.phases = ('base',)
    pipeline.run(settings, tmp_path / 'work')
    path = settings.data.path
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays['labels'] = np.roll(arrays['labels'], 1)
    np.savez(path, **arrays)
    with pytest.raises(InputError, match='the data has changed since this run began: the given label of image '):
        pipeline.run(settings, tmp_path / 'work')


def test_streamed_and_resident_batches_learn_the_same(tmp_path):
    outputs = []
    for name, size in (('resident', 2**31), ('streamed', 0)):
        pipeline.run(config('phases=pretrained', resident_bytes=size, classify__head_epochs=0), tmp_path / name)
        outputs.append(np.load(tmp_path / name / 'pred_probs.npy'))
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-5)


def test_a_loss_that_is_not_finite_stops_the_run_saying_where(tmp_path):
    with pytest.raises(InputError, match=r'loss is (nan|inf).* in phase base, stage all, epoch \d'):
        pipeline.run(
            config(
                'phases=base,loss=ce', classify__optimizer__learning_rate=1000.0, classify__optimizer__weight_decay=1.0
            ),
            tmp_path,
        )


def test_averages_and_neighbours_in_a_run(tmp_path):
    changes = {'classify__average': 0.9, 'finetune__average': 0.9, 'select__neighbours': 20}
    summary = pipeline.run(config('rate=0.4,phases=finetuned', **changes), tmp_path)
    assert summary['complete']
    pseudo = np.load(tmp_path / 'labels' / 'classify_probabilities.npy').argmax(1)
    corrected = np.load(tmp_path / 'labels' / 'select_label.npy')
    assert 0 < np.mean(pseudo != corrected) < 0.9
    assert summary['selection']['selected'] > 0


def test_a_second_round_starts_from_the_labels_of_the_first(tmp_path):
    settings = config('rate=0.4,phases=finetuned', rounds=2)
    summary = pipeline.run(settings, tmp_path)
    names = [phase['name'] for phase in summary['phases']]
    assert names == ['pretrain', 'classify', 'select', 'contrast', 'finetune', 'select_2', 'contrast_2', 'finetune_2']
    labels = tmp_path / 'labels'
    first, second = (np.load(labels / f'{name}.npy') for name in ('finetune_probabilities', 'select_2_label'))
    assert second.tolist() == first.argmax(1).tolist()
    assert np.array_equal(np.load(tmp_path / 'pred_probs.npy'), np.load(labels / 'finetune_2_probabilities.npy'))
    lines = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
    assert {line['phase'] for line in lines} == set(names)
    before = (tmp_path / 'metrics.jsonl').read_bytes()
    again = pipeline.run(settings, tmp_path)  # complete: everything is read back
    assert again == summary
    assert (tmp_path / 'metrics.jsonl').read_bytes() == before


def test_rounds_need_finetune(tmp_path):
    with pytest.raises(InputError, match=r'config\.rounds: 2 needs the phase finetune'):
        pipeline.run(config('phases=pretrained', rounds=2), tmp_path)


def test_a_run_without_projection_head_and_with_parts_of_a_batch(tmp_path):
    settings = {'projection': 'none', 'classifier': 'multilayer', 'batch_norm_splits': 2, 'batch_norm_blocks': 4}
    changes = {f'model__{name}': value for name, value in settings.items()}
    summary = pipeline.run(config(phases=('base', 'pretrain'), **changes), tmp_path)
    assert summary['complete']
    assert summary['phases'][1]['knn_accuracy'] > 0.5


@pytest.mark.parametrize(
    ('labels', 'words'),
    [
        (np.full(100, 3), "all 100 labelled training images are of the class '3'; at least 2 are needed"),
        (np.arange(100), 'each of the 100 labelled training images is a class of its own; 2 of one are needed'),
    ],
)
def test_labels_that_tell_nothing_are_refused_before_training(tmp_path, labels, words):
    train = digits.load('train', limit=100).replace(true_label=None)
    train = train.replace(label=labels, class_names=tuple(map(str, range(100))))
    with pytest.raises(InputError, match=words):
        pipeline.run(config('phases=base,noise=none'), tmp_path / 'work', (train, None))
    assert not (tmp_path / 'work').exists()


def test_a_limit_that_leaves_one_image_of_each_class_is_named(tmp_path):
    with pytest.raises(InputError, match=r'data\.limit: 13 leaves one image of each of 10 classes; at least 20 are'):
        pipeline.run(config('phases=base,noise=none', data__limit=13), tmp_path / 'work')


def test_a_finished_run_is_read_by_a_version_with_more_settings(tmp_path):
    settings = config('phases=base', base__epochs=1, data__limit=100)
    summary = pipeline.run(settings, tmp_path)
    path = tmp_path / 'config.json'
    saved = json.loads(path.read_text())
    del saved['mopro']
    path.write_text(json.dumps(saved))
    assert pipeline.run(settings, tmp_path) == summary


def test_batches_that_do_not_divide_into_parts_are_refused(tmp_path):
    # 60 images are 120 rows of contrastive training.
    changes = {'model__batch_norm_splits': 8, 'pretrain__batch_size': 60, 'classify__batch_size': 60}
    with pytest.raises(InputError, match=r'config\.classify\.batch_size: its 60 rows do not divide into 8 groups'):
        pipeline.run(config(phases=('pretrain', 'classify'), **changes), tmp_path / 'work')
    assert not (tmp_path / 'work').exists(), 'the folder is free for better settings'


def test_a_classifier_that_is_not_trained_is_refused(tmp_path):
    for phase, rest in (('base', {}), ('classify', {'classify__head_epochs': 0})):
        settings = config(phases=(phase,), **{f'{phase}__epochs': 0}, **rest)
        with pytest.raises(InputError, match=rf'config\.{phase}\.epochs: 0 trains no classifier'):
            pipeline.run(settings, tmp_path)


def test_a_stem_that_an_encoder_does_not_have_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"model\.stem: 'large', but cnn_small has no stem"):
        pipeline.run(config(model__stem='large'), tmp_path / 'work')
    assert not (tmp_path / 'work').exists()


def test_what_a_notebook_asks_of_other_packages_stays_outside(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, '_run', lambda *_: (sklearn.get_config()['transform_output'], np.geterr()['under']))
    with sklearn.config_context(transform_output='pandas'), np.errstate(all='raise'):
        assert pipeline.run(config(), tmp_path / 'work') == ('default', 'ignore')
        assert sklearn.get_config()['transform_output'] == 'pandas'
        assert np.geterr()['under'] == 'raise'


def _hardly_labelled():
    """Digits of which 40 of 200 have a label."""
    train = digits.load('train', limit=200)
    return train.replace(label=np.where(np.arange(200) % 5, -1, train.label).astype(np.int32), true_label=None)


def test_pre_training_takes_images_without_a_label_and_no_right_ones(tmp_path):
    """Its batch may be larger than there are labels; nothing in it is a label before the noise."""
    settings = config('phases=pretrained', pretrain__batch_size=100, pretrain__epochs=1)
    settings.phases = ('pretrain',)
    assert pipeline.run(settings, tmp_path / 'run', (_hardly_labelled(), None))['complete']
    settings.noise.rate = 0.8
    found = pipeline.splits_lib.load(settings, (_hardly_labelled(), None))
    assert (found.labelled.label != found.labelled.true_label).any()
    np.testing.assert_array_equal(found.pool.label[::5], found.labelled.label)
    assert (found.pool.label.reshape(-1, 5)[:, 1:] == -1).all()
    settings.pretrain.batch_size = 201
    with pytest.raises(InputError, match=r'pretrain\.batch_size: 201'):
        pipeline.run(settings, tmp_path / 'other', (_hardly_labelled(), None))
