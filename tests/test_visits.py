"""Visits to a GPU, tried in small on a CPU: what runs side by side, what is left, and what comes home."""

import argparse
import json
import sys
import time

import numpy as np
import pytest

from experiments import compiled, record
from experiments.accuracy import cells, encoders, features, jobs, tables, visit
from experiments.speed import gpu, host_time, steps
from noisy_jax import config as config_lib
from noisy_jax import settings
from noisy_jax.training.checkpoints import Checkpoints

SCRIPT = str(record.ROOT / 'experiments' / 'accuracy' / 'visit.py')
# Stands for a run: notes how many run beside it, then writes its result, fails, or goes on without end.
PROGRAM = """
import json, pathlib, sys
work, name, fate = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
while fate == 'endless':
    pass
if fate == 'broken':
    sys.exit('a reason')
(work / 'results' / f'{name}.json').write_text(json.dumps({'name': name}))
"""


@pytest.fixture
def work(tmp_path):
    (tmp_path / 'results').mkdir()
    return tmp_path


def _run(work, fates, seconds, together=2):
    """The results, and those that `ended` saw."""
    seen = []

    def command(name, job):
        return [sys.executable, '-c', PROGRAM, str(work), name, job['fate']], {}

    results = jobs.side_by_side(
        {name: {'fate': fate} for name, fate in fates.items()},
        argparse.Namespace(work=work, together=together),
        limit=time.time() + seconds,
        ended=lambda results: seen.append(sorted(results)),
        command=command,
    )
    return results, seen


def test_runs_that_fail_or_run_out_of_time_are_named(work, capsys):
    results, seen = _run(work, {'a': 'well', 'b': 'broken', 'c': 'endless', 'd': 'well'}, seconds=5)
    assert sorted(results) == ['a', 'd']
    assert seen == [['a'], ['a', 'd']]
    printed = capsys.readouterr().out
    assert 'left: b c\n' in printed
    assert 'a reason' in printed
    assert '== c: out of time' in printed


def test_a_result_is_not_computed_again(work, capsys):
    _run(work, {'a': 'well'}, seconds=30)
    results, seen = _run(work, {'a': 'broken', 'b': 'well'}, seconds=30)
    assert sorted(results) == ['a', 'b']
    assert seen == [['a', 'b']]
    assert capsys.readouterr().out.endswith('left: nothing\n')


def test_nothing_starts_when_the_time_is_over(work, capsys):
    assert _run(work, {'a': 'well'}, seconds=-1) == ({}, [])
    assert capsys.readouterr().out == 'left: a\n'


def _config(job):
    changes = jobs.COMMON | encoders.measured()['job']['set'] | job['set']
    return cells.config_of(job['config'], job['argument'], changes)


@pytest.mark.parametrize('name', visit.CELLS)
def test_settings_of_a_cell(name):
    job = visit.CELLS[name]
    config = _config(job)
    settings.validate(config)
    loss, labels, *rest = name.removeprefix('nfl_').split('_')
    assert loss in (config.loss.removeprefix('nfl_'), config.classify.method)
    assert (job['human'] or f'{100 * config.noise.rate:.0f}') == labels
    assert (config.noise.kind == 'none') == bool(job['human'])
    column = rest[-1] if rest and rest[-1] in ('base', 'finetuned') else 'pretrained'
    assert len(config.phases) == {'base': 1, 'pretrained': 2, 'finetuned': 5}[column]
    if 'recipe=ours' in job['argument'] and 'classify.head_loss' not in job['set']:
        assert (config.classify.head_loss, config.guard) == ('auto', job['set'].get('guard', True))
    elif loss != 'ssr' and column == 'pretrained':
        assert config.classify.head_loss != 'auto'
        assert not config.guard


def test_cells_of_the_table_come_first_and_in_order():
    names = list(visit.CELLS)
    assert names[:5] == [f'elr_{labels}_ours' for labels in (80, 60, 40, 20, 'worst')]
    table = {f'{loss}_{rate}_ours{end}' for loss in visit.LOSSES for rate in visit.RATES for end in ('', '_base')}
    assert len(table) == 24
    assert table <= set(names)
    assert {f'ssr_{labels}' for labels in (80, 50, 90, 20, 'worst')} <= set(names)


def test_what_came_home_has_a_name_of_today():
    kept = record.load(record.RESULTS / 'gpu' / 'cells.json')
    assert kept.keys() <= visit.CELLS.keys()
    for name, result in kept.items():
        today = json.loads(json.dumps(dict(config_lib.flatten(_config(visit.CELLS[name])))))
        own = {key: value for key, value in result['job']['set'].items() if key.startswith('classify.')}
        assert result['name'] == name
        assert own == {key: today[key] for key in own}
        assert own or 'recipe=paper' in result['job']['argument']


def test_probes_differ_in_what_they_say():
    first = visit.PROBES['sgd12_t02']
    assert all(recipe != first for name, recipe in visit.PROBES.items() if name != 'sgd12_t02')
    for recipe in visit.PROBES.values():
        settings.validate(cells.config_of('cifar10', 'data=arrays', recipe))
    assert len(visit.FIRST) == 3


@pytest.mark.slow
def test_an_encoder_comes_home_and_a_cell_starts_from_it(tmp_path, monkeypatch, capsys):
    work, out = tmp_path / 'work', tmp_path / 'out'
    images = tables.random_images(work / 'cifar10')
    np.save(images / 'labels.npy', np.repeat(np.arange(10, dtype=np.int32), 40))
    common = ['--smoke', '--images', 'none', '--work', str(work), '--out', str(out), '--cache', str(out)]

    def call(part, *more):
        monkeypatch.setattr('sys.argv', [SCRIPT, part, *common, *more])
        visit.main()
        return capsys.readouterr().out

    assert 'packed in 1 files' in call('encoder')
    assert 'left: nothing' in call('cells', '--only', 'elr_80_slow')
    trained = record.load(out / 'encoder.json')['encoder']
    (cell,) = record.load(out / 'cells.json').values()
    assert cell['phases'][0] == trained['phases'][0]  # restored, seconds and all
    assert [phase['name'] for phase in cell['phases']] == ['pretrain', 'classify']
    assert cell['noise']['realised_rate'] == pytest.approx(0.8, abs=0.01)
    assert cell['lists'].keys() == {'margin', 'clean_probability'}
    assert 0 < cell['lists']['margin']['best_f1'] <= 1
    with np.load(out / 'cells_probabilities.npz') as file:
        assert file['elr_80_slow'].shape == (200, 10)
    packed = encoders.packed_encoder(out)
    assert packed['params'].keys() == {'encoder', 'projection'}
    assert (out / compiled.NAME).stat().st_size > 0
    # At home it joins what is kept there.
    kept = tmp_path / 'kept'
    monkeypatch.setattr(visit, 'GPU', kept)
    monkeypatch.setattr(encoders, 'KEPT', kept)
    record.save(kept / 'cells.json', {'earlier': 1})
    (kept / 'cifar10_simclr_7.npz').touch()
    call('home')
    assert record.load(kept / 'cells.json').keys() == {'earlier', 'elr_80_slow'}
    assert [path.name for path in kept.glob('*.npz')] == ['cifar10_simclr_0.npz']


def test_the_kept_encoder_is_found_by_cells_of_both_recipes(tmp_path, monkeypatch):
    variables = {'params': {'encoder': {'w': np.ones((2, 3), np.float32)}}, 'batch_stats': {}}
    monkeypatch.setattr(encoders, 'packed_encoder', lambda: variables)
    encoders.unpack(tmp_path / 'encoder')
    targets = {
        tmp_path / cells.digest(_config(visit.CELLS[name]), 'pretrain', '') for name in ('elr_80_ours', 'elr_80_paper')
    }
    assert len(targets) == 2  # their pre-training has other settings of what they do not use
    for target in targets:
        encoders.share(tmp_path / 'encoder', target)
        encoders.share(tmp_path / 'encoder', target)  # of another process
        checkpoints = Checkpoints(target / 'checkpoint')
        np.testing.assert_array_equal(checkpoints.restore_outcome()['params']['encoder']['w'], np.ones((2, 3)))
        assert checkpoints.meta['complete']
        checkpoints.close()


def test_lists_by_every_score(tmp_path):
    (tmp_path / 'labels').mkdir()
    given, true = np.array([0, 1, 1, 0]), np.array([0, 1, 0, 1])
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]], np.float32)
    arrays = {'given': given, 'true': true, 'clean_probability': [0.9, 0.8, 0.1, 0.2], 'classify_vote': [0, 0.1, 1, 1]}
    for name, array in arrays.items():
        np.save(tmp_path / 'labels' / f'{name}.npy', np.asarray(array))
    np.save(tmp_path / 'pred_probs.npy', probabilities)
    lists = features.all_lists(tmp_path)
    # Margins -.8, -.6, .2, -.4: the wrong ones are the last two and stand first. The vote has them last.
    assert lists['margin'] == lists['clean_probability'] == {'best_f1': 1.0, 'auroc': 1.0}
    assert lists['vote'] == {'best_f1': pytest.approx(2 / 3), 'auroc': 0.0}


def test_compiled_programs_travel_as_far_as_they_fit(tmp_path):
    folder, out = tmp_path / 'compiled', tmp_path / 'out'
    out.mkdir()
    (folder / 'autotune').mkdir(parents=True)
    sizes = {'jit_run-1-cache': 4000, 'jit_run-2-cache': 3000, 'jit_embed-1-cache': 100, 'autotune/a': 2000}
    for name, size in sizes.items():
        (folder / name).write_bytes(b'x' * size)
    assert compiled.pack(folder, out, most=9000) == ['a']
    assert (out / compiled.NAME).stat().st_size < 9000
    compiled.unpack(out, tmp_path / 'next')
    assert {path.name for path in (tmp_path / 'next').iterdir()} == {name for name in sizes if '/' not in name}
    assert compiled.pack(folder, out) == []
    compiled.unpack(out, tmp_path / 'all')
    assert (tmp_path / 'all' / 'autotune' / 'a').stat().st_size == 2000
    compiled.unpack(None, tmp_path / 'empty')
    assert not list((tmp_path / 'empty').iterdir())


def test_a_part_of_the_speed_visit_that_fails_leaves_the_others(tmp_path, monkeypatch, capfd):
    scripts = {
        'well': 'import sys, pathlib; pathlib.Path(sys.argv[-1]).write_text("{}")',
        'broken': 'raise SystemExit(1)',
        'begun': 'import sys, pathlib; pathlib.Path(sys.argv[-1]).write_text("[]"); sys.exit(1)',
    }
    for name, text in scripts.items():
        (tmp_path / f'{name}.py').write_text(text)
    parts = {name: gpu.Part(name, '', '', 10) for name in ('broken', 'begun', 'well')} | {
        'long': gpu.Part('well', '', '', 1000)
    }
    monkeypatch.setattr(gpu, 'PARTS', parts)
    monkeypatch.setattr(gpu, '__file__', str(tmp_path / 'gpu.py'))
    out = tmp_path / 'out'
    monkeypatch.setattr('sys.argv', ['gpu.py', '--out', str(out), '--seconds', '60'])
    gpu.main()
    assert sorted(path.name for path in out.iterdir()) == ['begun_begun.json', 'well.json']
    assert 'left: broken begun long\n' in capfd.readouterr().out


def test_parts_of_the_speed_visit_are_scripts_that_exist():
    for part in gpu.PARTS.values():
        assert (record.ROOT / 'experiments' / 'speed' / f'{part.script}.py').exists()
        assert part.seconds < 600


def test_what_the_host_does_is_measured_without_the_step():
    case = steps.Case('elr', 'float32', 16, 'cnn_small')
    row = host_time.measure(case, images=64, epochs=0, only_host=True)
    assert json.loads(json.dumps(row)) == row
    assert row['epoch']['steps'] == 4
    assert all(value > 0 for value in row['host'].values())
    assert '| elr | 16 |' in host_time.table([row])
