"""The paper's tables: what cells share, how they are named, what is made of their JSON."""

import json
import pathlib

import numpy as np
import pytest

from experiments import record
from experiments.accuracy import cells, cifar10, recipes, rendering, tables
from noisy_jax import config as config_lib
from noisy_jax.errors import InputError
from noisy_jax.schedule import PHASES

FULL_ARGUMENTS = {'scale': 'full', 'data': pathlib.Path('data')}


def config(cell, **changes):
    made = recipes.config_of(cell, **FULL_ARGUMENTS)
    made.update_from_flattened_dict(changes)
    return made


def cell(labels='symmetric', rate=0.8, loss='elr', column='finetuned', seed=0):
    return recipes.Cell(labels, rate, loss, column, seed)


def test_all_cells_of_the_paper_are_there_once():
    ordered = tables.papers_cells('full')
    assert len(ordered) == len(set(ordered)) == len({cell.name for cell in ordered}) == 3 * (36 + 9)
    paper = [c for c in ordered if c.labels == 'symmetric' and c.column != 'finetuned' and c.seed == 0]
    assert len(paper) == 24
    assert {c.loss for c in paper} == rendering.PUBLISHED.keys()
    assert {c.rate for c in paper} == set(rendering.RATES)
    assert ordered[:2] == [cell(column='pretrained'), cell(column='base')]


def test_pretraining_is_shared_by_all_cells_of_a_seed():
    one = cells.digest(config(cell()), 'pretrain', 'symmetric')
    for other in (cell(rate=0.2), cell(loss='ce', column='pretrained'), cell('worst', 0.0)):
        assert cells.digest(config(other), 'pretrain', other.labels) == one
    assert cells.digest(config(cell(seed=1)), 'pretrain', 'symmetric') != one
    assert cells.digest(config(cell(), **{'pretrain.epochs': 7}), 'pretrain', 'symmetric') != one
    assert cells.digest(config(cell(), **{'classify.epochs': 7}), 'pretrain', 'symmetric') == one


def test_a_classifier_is_shared_only_where_everything_before_it_is_the_same():
    one = cells.digest(config(cell()), 'classify', 'symmetric')
    assert cells.digest(config(cell(column='pretrained')), 'classify', 'symmetric') == one
    assert cells.digest(config(cell(), **{'finetune.epochs': 7, 'devices': 2}), 'classify', 'symmetric') == one
    for other in (cell(rate=0.2), cell(loss='ce'), cell(seed=1)):
        assert cells.digest(config(other), 'classify', 'symmetric') != one
    for change in ({'pretrain.epochs': 7}, {'classify.head_epochs': 7}, {'model.width': 7}):
        assert cells.digest(config(cell(), **change), 'classify', 'symmetric') != one
    # Human labels have no noise of ours: only their name tells them apart.
    human = config(cell('worst', 0.0))
    assert cells.digest(human, 'classify', 'worst') != cells.digest(human, 'classify', 'random1')


@pytest.mark.parametrize(
    ('optimizer', 'used_by'),
    [
        ('pretrain.optimizer', {'pretrain', 'cross_fit', 'classify', 'select', 'contrast', 'finetune'}),
        ('head_optimizer', {'classify', 'select', 'contrast', 'finetune'}),
        ('classify.optimizer', {'base', 'classify', 'select', 'contrast', 'finetune'}),
        ('finetune.optimizer', {'finetune'}),
    ],
)
def test_a_phase_depends_on_the_optimizers_of_what_was_trained(optimizer, used_by):
    whole = config(cell(), phases=PHASES)
    changed = config(cell(), phases=PHASES, **{f'{optimizer}.momentum': 0.5})
    apart = {
        phase
        for phase in PHASES
        if cells.digest(whole, phase, 'symmetric') != cells.digest(changed, phase, 'symmetric')
    }
    assert apart == used_by


def test_pretraining_that_sees_labels_is_not_shared():
    one, other = (config(c, **{'pretrain.method': 'sup_con'}) for c in (cell(), cell(rate=0.2)))
    assert cells.digest(one, 'pretrain', 'symmetric') != cells.digest(other, 'pretrain', 'symmetric')


@pytest.mark.parametrize('scale', ['full', 'cpu'])
def test_every_part_of_our_recipe_changes_something(scale):
    whole = recipes.changes_of('all parts', scale)
    papers = dict(config_lib.flatten(recipes.config_of(cell(), scale, pathlib.Path('data'))))
    made = recipes.config_of(tables.Cell('symmetric', 0.8, 'elr', 'finetuned', 0, 'all parts'), scale, 'data')
    for part, changes in recipes.parts_of(scale).items():
        assert whole == recipes.changes_of(f'all parts without {part}', scale) | changes
        assert recipes.changes_of(f'all parts without {part}', scale) != whole
        assert all(papers[key] != value for key, value in changes.items())
        assert all(dict(config_lib.flatten(made))[key] == value for key, value in changes.items())
    with pytest.raises(ValueError, match="'all parts without luck' is unknown"):
        recipes.changes_of('all parts without luck', scale)
    folder = pathlib.Path('data')
    ours, papers = (
        recipes.config_of(recipes.Cell('symmetric', 0.8, 'elr', 'finetuned', 0, recipe), scale, folder)
        for recipe in ('ours', 'paper')
    )
    assert ours != papers


@pytest.fixture
def images(tmp_path):
    return tables.random_images(tmp_path / 'images')


def test_fewer_and_smaller_images(images, tmp_path):
    folder = cifar10.smaller(images, tmp_path / 'small', count=20, test_count=10, shrink=2)
    big, small = (np.load(path / 'images.npy') for path in (images, folder))
    assert small.shape == (20, 16, 16, 3)
    assert np.load(folder / 'labels.npy').tolist() == 2 * list(range(10))
    assert np.load(folder / 'test_images.npy').shape == (10, 16, 16, 3)
    assert small[3, 2, 1, 0] == round(float(big[3, 4:6, 2:4, 0].mean()))


def test_human_labels_find_their_images(images, tmp_path):
    """CIFAR-10N is in the order of the data set, the images are class by class."""
    original = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 40))
    human = (original + np.arange(400) % 3) % 10
    np.savez(tmp_path / 'human.npz', clean_label=original, worse_label=human)
    for name, labels in (('labels', np.repeat(np.arange(10), 40)), ('test_labels', np.arange(200) % 10)):
        np.save(images / f'{name}.npy', labels)
    small = cifar10.smaller(images, tmp_path / 'small', count=100)
    folder = cifar10.with_human_labels(small, tmp_path / 'human.npz', 'worst', tmp_path / 'worst')
    true, given = (np.load(folder / f'{name}.npy') for name in ('true_labels', 'labels'))
    assert true.tolist() == np.repeat(np.arange(10), 10).tolist()
    for label in range(10):  # the first ten of each class, in the order of the data set
        assert given[true == label].tolist() == human[original == label][:10].tolist()


def test_human_labels_of_other_images_are_refused(images, tmp_path):
    np.savez(tmp_path / 'human.npz', clean_label=np.zeros(400, int), worse_label=np.zeros(400, int))
    with pytest.raises(InputError, match='not the labels of the images in'):
        cifar10.with_human_labels(images, tmp_path / 'human.npz', 'worst', tmp_path / 'worst')
    assert not (tmp_path / 'worst').exists()


def row(accuracy, column, seed=0, loss='elr', rate=0.4, labels='symmetric', seconds=60.0):
    phases = {'base': ['base'], 'pretrained': ['pretrain', 'classify']}[column]
    return {
        **{'labels': labels, 'rate': rate, 'loss': loss, 'column': column, 'seed': seed, 'recipe': 'paper'},
        'accuracy_last': accuracy,
        **{
            'seconds': dict.fromkeys(phases, seconds) | dict.fromkeys(phases[:-1], 60.0),
            'device': '1 x cpu',
            'knn': {'pretrain': 0.5} if phases[1:] else {},
        },
    }


def test_table_and_claims_are_made_of_the_json():
    done = [
        row(0.5, 'base', seconds=60.1),
        row(0.6, 'base', seed=1, seconds=60.2),
        row(0.7, 'pretrained', seconds=60.3),
        row(0.4, 'base', loss='ce', seconds=60.4),
        row(0.3, 'pretrained', loss='ce', seconds=60.5),
    ]
    rows = rendering.table(done, 'cpu').splitlines()
    assert rows[0] == '| loss |  | 20% | 40% | 60% | 80% |'
    assert '| elr | Base | - | 55.0 ± 7.1 | - | - |' in rows
    assert '|  | Pre-trained | - | 70.0 | - | - |' in rows
    assert rendering.claims(done) == (
        'Pre-training helps in 1 of 2 pairs, on average +2.5 points; not with ce at 40% (-10.0).'
    )
    # Five cells of a minute, and one encoder.
    assert '5 cells in 6 minutes' in rendering.notes(done)
    assert 'published' not in rendering.table(done, 'cpu')
    assert '|  | Base, published | 90.3 | 82.3 | 64.2 | 18.3 |' in rendering.table(done, 'full')


def test_what_a_part_brings_is_what_is_lost_without_it():
    part, other = list(recipes.PARTS)[:2]
    done = [
        {'recipe': recipe, 'accuracy_held_out': held_out, 'accuracy_last': last}
        for recipe, held_out, last in [
            ('all parts', 0.3, 0.5),
            (f'all parts without {part}', 0.28, 0.51),
            (f'all parts without {other}', 0.3, 0.5),
        ]
    ]
    assert rendering.parts_table(done, 'cpu').splitlines()[2:] == [
        '| all parts | 30.0 |  | 50.0 |  |',
        f'| all parts without {part} | 28.0 | +2.0 | 51.0 | -1.0 |',
        f'| all parts without {other} | 30.0 | +0.0 | 50.0 | +0.0 |',
    ]


@pytest.mark.parametrize('scale', ['cpu', 'full'])
def test_the_page_shows_the_table_of_the_json(scale):
    results = tables.RESULTS / scale
    if not results.exists():
        pytest.skip(f'no cells of --scale={scale} are committed')
    assert rendering.render(results, scale) in (record.ROOT / 'docs' / 'reproducing.md').read_text()


@pytest.mark.slow
def test_a_budget_stops_in_time_and_a_rerun_resumes(tmp_path, monkeypatch, capsys):
    """Two cells instead of 36, of two phases: the second takes both from the first."""

    def config_of(cell, scale, data):
        made = recipes.config_of(cell, scale, data)
        made.phases = ('pretrain', 'classify')
        return made

    monkeypatch.setattr(tables, 'config_of', config_of)
    monkeypatch.setitem(tables.TABLES, 'paper', lambda scale: [cell(column='pretrained'), cell()])
    command = ['tables.py', '--scale', 'smoke', '--work', str(tmp_path)]
    monkeypatch.setattr('sys.argv', [*command, '--budget', '0.001'])
    tables.main()
    assert '2 cells are left' in capsys.readouterr().out
    monkeypatch.setattr('sys.argv', command)
    tables.main()
    assert 'left' not in capsys.readouterr().out
    results = tmp_path / 'smoke' / 'results'
    first, second = (
        json.loads((results / f'{name}.json').read_text()) for name in (cell(column='pretrained').name, cell().name)
    )
    assert first['seconds'] == second['seconds']  # the shared phases were not trained again
    assert first['accuracy_last'] == second['accuracy_last']
    assert first['config']['phases'] == ['pretrain', 'classify']
    assert second['knn'].keys() == {'pretrain'}
    assert abs(first['realised_rate'] - 0.8) < 0.01
    monkeypatch.setattr('sys.argv', [*command, '--list'])
    tables.main()
    assert capsys.readouterr().out == '2 of 2 cells are done\n\n'
