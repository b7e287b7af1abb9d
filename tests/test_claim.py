"""A work directory takes nothing of a user's, and every path may begin with `~`."""

import contextlib
import json
import os
import shutil

import digit_files
import numpy as np
import pytest
import tiny
from conftest import refused, refused_by_command

from noisy_jax import claim, errors, pipeline
from noisy_jax.clean import __main__ as clean
from noisy_jax.data import output_places, pack
from noisy_jax.embed import __main__ as embed
from noisy_jax.inference import export, predict
from noisy_jax.training.checkpoints import Checkpoints
from noisy_jax.workdir import WorkDir

PATHS = {
    *(f'data.{name}' for name in ('path', 'list', 'test_list', 'test_path', 'labels', 'test_labels', 'class_names')),
    *('data.embeddings', 'noise.matrix', 'noise.labels', 'model.weights', 'compile_cache'),
}


def _tree(root):
    return {str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in root.rglob('*')}


def _refused(root, work, *words, **changes):
    """A run on class folders in `work` is refused, and nothing in `root` changes."""
    before, config = _tree(root), claim.at_home(tiny.config(**changes))

    def hold():
        with claim.held(WorkDir(work), config, reads_data=True):
            pass

    refused(hold, *words)
    assert _tree(root) == before


@pytest.fixture
def photos(tmp_path):
    """Two class folders."""
    for name in ('cat', 'dog'):
        digit_files.save(tmp_path / 'photos' / name, np.zeros((4, 4, 3), np.uint8))
    return tmp_path / 'photos'


def test_the_home_folder_in_every_path(monkeypatch):
    monkeypatch.setenv('HOME', '/home/me')
    changed = {key.replace('.', '__'): '~/it' for key in PATHS}
    found = claim.at_home(tiny.config(**changed, name='~/it'))
    assert {key: found[key] if '.' not in key else found[key.split('.')[0]][key.split('.')[1]] for key in PATHS} == (
        dict.fromkeys(PATHS, '/home/me/it')
    )
    assert found.name == '~/it'
    assert claim.at_home(tiny.config()).to_dict() == tiny.config().to_dict()


def test_a_run_that_was_begun_with_the_home_folder_unread(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', '/home/me')
    config = tiny.config(model__weights='~/w.npz')
    folder = WorkDir(tmp_path)
    folder.claim(config.to_dict())
    folder.claim(claim.at_home(config).to_dict(), meant=claim.meant(folder))
    other = claim.at_home(tiny.config(model__weights='~/v.npz')).to_dict()
    refused(lambda: folder.claim(other, meant=claim.meant(folder)), 'model.weights', '~/w.npz', '/home/me/v.npz')


@pytest.mark.parametrize('written', ['photos/', './x/../photos', '{}/photos', '~/photos'])
def test_a_path_may_be_written_in_several_ways(tmp_path, monkeypatch, written):
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.chdir(tmp_path)
    folder = WorkDir(tmp_path / 'run')
    folder.claim(tiny.config(data__path='photos', name='a').to_dict())
    folder.claim(tiny.config(data__path=written.format(tmp_path), name='a').to_dict(), meant=claim.meant(folder))
    assert folder.load_config().data.path == 'photos'
    moved = tiny.config(data__path='moved', name='a/').to_dict()
    refused(
        lambda: folder.claim(moved, meant=claim.meant(folder)), "data.path was 'photos', is 'moved'", "name was 'a', is"
    )


def test_a_relative_path_of_data_means_the_place_where_the_run_began(tmp_path, monkeypatch):
    folder = WorkDir(tmp_path / 'run')
    folder.claim(tiny.config(data__path='photos').to_dict())
    folder.save_json('data', {'classes': ['a'], 'image_shape': [8, 8, 1], 'place': str(tmp_path / 'photos')})
    (tmp_path / 'elsewhere').mkdir()
    monkeypatch.chdir(tmp_path / 'elsewhere')
    (tmp_path / 'home').symlink_to('.')  # a folder may have several names
    for path in ('photos', str(tmp_path / 'photos'), str(tmp_path / 'home/photos')):
        folder.claim(tiny.config(data__path=path).to_dict(), meant=claim.meant(folder))
    other = tiny.config(data__path=str(tmp_path / 'elsewhere/photos')).to_dict()
    refused(lambda: folder.claim(other, meant=claim.meant(folder)), "data.path was 'photos'")


@pytest.mark.parametrize('name', ['labels.csv', 'data.npz'])
def test_a_copied_project_has_its_own_data(photos, tmp_path, name):
    """Also where that is a list in the folder of its images, or one file of arrays."""
    folder, first = WorkDir(tmp_path / 'run'), sorted(path.name for path in photos.rglob('*.png'))[0]
    (photos / name).touch()
    noted = {'id': [f'cat/{first}'], 'mark': None}
    folder.save_json(
        'labels/images', {'version': 1, 'classes': ['cat'], 'train': noted, 'unlabelled': noted, 'test': None}
    )
    assert output_places.holds(str(photos / name), folder)
    assert not output_places.holds(str(tmp_path / 'elsewhere' / name), folder)


def test_a_description_that_was_damaged_is_written_anew(tmp_path):
    """As its error advises: rerun the command."""
    work = tmp_path / 'run'
    pipeline.run(tiny.config(phases=('base',)), work, quiet=True)
    before = (work / 'data.json').read_text()
    for damaged in ('', before[:40], '\ufeff' + before):
        (work / 'data.json').write_text(damaged)
        with pytest.warns(UserWarning, match=r'data\.json is damaged; it is written anew'):
            pipeline.run(tiny.config(phases=('base',)), work, quiet=True)
        errors.warn_anew()
        assert (work / 'data.json').read_text() == before


@pytest.mark.parametrize(
    ('command', 'options', 'named'),
    [
        (clean, ['--workdir=~/run', '--out=~/new', '--all-suspects'], "'{}/run'"),
        (export, ['--workdir=~/run', '--out=~/new'], "'{}/run'"),
        (export, ['--workdir=~/work', '--out=~/there'], '{}/there already'),
        (predict, ['--workdir=~/work', '--images=~/none', '--out=new'], '{}/none'),
        (predict, ['--workdir=~/run', '--images=~/there', '--out=new'], "'{}/run'"),
        (predict, ['--workdir=~/work', '--images=~/there', '--out=~/there'], '{}/there already'),
        (embed, ['--images=~/none', '--model=m', '--out=new.npy'], '{}/none'),
        (embed, ['--images=~', '--model=m', '--out=~/none/new.npy'], '{}/none'),
        (embed, ['--images=~/photos', '--model=m', '--weights=~/none', '--out=new.npy'], '{}/none'),
        (pack, ['--path=~/none', '--out=new'], "'{}/none'"),
        (pack, ['--path=~/none', '--out=~/there'], '{}/there'),
    ],
)
def test_commands_know_the_home_folder(photos, tmp_path, monkeypatch, capsys, command, options, named):
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'there').touch()
    (tmp_path / 'elsewhere').mkdir()
    WorkDir(tmp_path / 'work').claim(tiny.config().to_dict())
    monkeypatch.chdir(tmp_path / 'elsewhere')
    refused_by_command(capsys, command.main(options), named.format(tmp_path))
    assert not list((tmp_path / 'elsewhere').iterdir())


def test_files_of_a_user_are_not_taken_for_a_run(photos, tmp_path):
    listed = photos / 'labels.csv'
    listed.write_text('cat/000.png,cat\ndog/000.png,dog\n')
    found = ('workdir', '(cat, dog, labels.csv)')
    _refused(tmp_path, photos, *found, data__name='filelist', data__path=str(listed))
    _refused(tmp_path, tmp_path, 'workdir', '(photos)', data__name='folder', data__path=str(photos))
    deep = tmp_path / ('n' * 200 + '/') / '/'.join(['n' * 200] * (os.pathconf(tmp_path, 'PC_PATH_MAX') // 201 - 2))
    _refused(tmp_path, deep / ('n' * 200), 'workdir', 'too long')  # a file in it would fit, a checkpoint would not
    _refused(tmp_path, '', 'workdir', "''")
    _refused(tmp_path, 'a\0b', 'workdir', 'x00')
    _refused(tmp_path, tmp_path / 'r\udcfc', 'workdir', 'r\\xfc is not UTF-8')  # Orbax takes none
    for letter in '[?*\\':  # Orbax looks for files by patterns
        _refused(tmp_path, tmp_path / f'run {letter}1]', 'workdir', f'has {letter} in its path')
    for address in ('gs://bucket/run', 's3:/bucket', 'file:///run'):
        _refused(tmp_path, address, f"workdir: '{address}' is not allowed")


@pytest.mark.parametrize('name', ['photos', 'photos/run', 'photos/cat/run', 'link/run'])
@pytest.mark.parametrize('loader', ['folder', 'arrays', 'auto'])
def test_a_work_directory_in_the_data(photos, tmp_path, name, loader):
    (tmp_path / 'link').symlink_to('photos')
    words = ('workdir', f'{tmp_path / name} lies in {photos}')
    _refused(tmp_path, tmp_path / name, *words, data__name=loader, data__path=str(photos))


@pytest.mark.parametrize('link', ['photos/bird', 'photos/train/bird'])
def test_a_work_directory_in_a_class_folder_that_is_a_link(photos, tmp_path, link):
    (tmp_path / 'birds').mkdir()
    (photos / 'train').mkdir()
    (tmp_path / link).symlink_to(tmp_path / 'birds')
    (photos / 'broken').symlink_to(tmp_path / 'none')
    (photos / 'a loop').symlink_to(photos / 'a loop')
    work = tmp_path / 'birds/run'
    _refused(tmp_path, work, f'{work} lies in {tmp_path / link}, inside', data__name='auto', data__path=str(photos))


def test_a_work_directory_where_a_link_deep_in_the_data_leads(photos, tmp_path):
    """Also by a link in what a link leads to; those upwards and hidden ones are not followed."""
    settings = {'name': 'folder', 'path': str(photos)}
    (photos / 'train/cat/old').mkdir(parents=True)
    (photos / 'train/cat/old/more').symlink_to(tmp_path / 'else')
    for name in ('else', 'third', 'hidden'):
        (tmp_path / name).mkdir()
    (tmp_path / 'else/again').symlink_to(tmp_path / 'third')
    (photos / 'train/.hidden').symlink_to(tmp_path / 'hidden')
    (photos / 'train/cat/up').symlink_to(tmp_path)
    for place, link in (('else/run', 'old/more'), ('third/run', 'more/again')):
        refused(lambda: output_places.check(tmp_path / place, settings, 'workdir'), 'lies in', link, 'inside the data')  # noqa: B023
    for place in ('run', 'hidden/run'):
        output_places.check(tmp_path / place, settings, 'workdir')


@pytest.mark.parametrize('is_named_anew', [False, True])
def test_a_work_directory_that_is_moved_while_a_run_writes_there(tmp_path, is_named_anew):
    """Neither is it made anew, nor is another one that has its name now written in."""
    folder, other = WorkDir(tmp_path / 'run'), WorkDir(tmp_path / 'run')
    with contextlib.ExitStack() as stack:
        stack.enter_context(claim.held(folder, tiny.config(), reads_data=False))
        folder.claim(tiny.config().to_dict())
        checkpoints = Checkpoints(folder.checkpoints('base'), folder.check_held)
        folder.path.rename(tmp_path / 'moved')
        if is_named_anew:
            stack.enter_context(claim.held(other, tiny.config(), reads_data=False))
        said = f'workdir: {folder.path} was moved or removed'
        refused(lambda: folder.save_json('summary', {}), said)
        refused(lambda: checkpoints.save_outcome(1, {'x': np.zeros(3)}, {}), said)
        refused(lambda: Checkpoints(folder.checkpoints('next'), folder.check_held), said)
        assert [path.name for path in folder.path.rglob('*')] == ['lock'] * is_named_anew


def test_a_work_directory_beside_the_images_of_a_list(photos, tmp_path):
    config = tiny.config(data__name='filelist', data__path=str(tmp_path), data__list='list.csv')
    with claim.held(WorkDir(tmp_path / 'run'), config, reads_data=True):
        assert (tmp_path / 'run').is_dir()


@pytest.mark.parametrize('key', ['data__embeddings', 'model__weights', 'noise__labels', 'compile_cache'])
def test_a_run_does_not_read_what_it_writes(tmp_path, key):
    WorkDir(tmp_path).claim(tiny.config().to_dict())
    name = key.replace('__', '.')
    for file in ('pred_probs.npy', 'labels/given.npy', 'labels.csv.part'):
        _refused(tmp_path, tmp_path, f'config.{name}', f'{tmp_path / file} is among', **{key: str(tmp_path / file)})


def test_compiled_programs_do_not_go_into_the_data(photos, monkeypatch):
    config = tiny.config(data__name='folder', data__path=str(photos), compile_cache=f'{photos}/cat/cache')
    refused(lambda: claim.check_cache(config), 'config.compile_cache', 'inside the data')
    for cache in ('auto', 'off', f'{photos}/../cache'):
        config.compile_cache = cache
        claim.check_cache(config)
    config.compile_cache = 'auto'
    monkeypatch.setattr(claim.compiling, 'place_of', lambda _: photos / 'cat/xla')  # by a variable of the environment
    refused(lambda: claim.check_cache(config), 'JAX_COMPILATION_CACHE_DIR', 'inside the data')
    monkeypatch.setattr(claim.compiling, 'place_of', lambda _: photos / '.cache/noisy_jax/xla')
    claim.check_cache(config)
    monkeypatch.setenv('XDG_CACHE_HOME', str(photos / 'cache'))  # Matplotlib writes there
    for cache in ('auto', f'{photos}/../cache'):
        config.compile_cache = cache
        refused(lambda: claim.check_cache(config), 'XDG_CACHE_HOME', 'inside the data')


def test_an_earlier_run_and_what_a_killed_one_leaves(tmp_path):
    """Also the folder of compiled programs, which may be inside."""
    for name in ('lock', 'config.json.part', 'cache/xla'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    folder, config = WorkDir(tmp_path), tiny.config(compile_cache=str(tmp_path / 'cache' / 'xla'))
    with claim.held(folder, config, reads_data=False):
        folder.claim(config.to_dict())
    _refused(tmp_path, tmp_path / 'cache', '(xla)')
    (tmp_path / 'notes.txt').touch()
    with claim.held(folder, config, reads_data=False):
        _refused(tmp_path, tmp_path, 'workdir', 'is in use', f'process {os.getpid()}')
    assert not (tmp_path / 'lock').exists()


def test_a_result_does_not_go_into_the_run_or_its_data(photos, tmp_path, capsys, monkeypatch):
    work = tmp_path / 'run'
    WorkDir(work).save_json('config', tiny.config(data__name='folder', data__path=str(photos)).to_dict())
    for name in ('labels/new', 'Report.HTML', 'plots', 'data_issues.csv.part', '../photos/new', '../photos/cat/new'):
        for command, options in ((export, []), (predict, [f'--images={photos}'])):
            (work / name).parent.mkdir(exist_ok=True)
            status = command.main([f'--workdir={work}', f'--out={work / name}', *options])
            refused_by_command(capsys, status, '--out', 'inside the data' if '..' in name else 'among the files')
    status = predict.main([f'--workdir={work}', f'--images={photos}', f'--out={work / "mine.csv"}'])
    refused_by_command(capsys, status, 'data.json')  # the place is fine, the run has no more than a config
    config = tiny.config(data__name='folder', data__path='photos').to_dict()  # as seen from where the run began
    WorkDir(work).save_json('config', config)
    WorkDir(work).save_json('data', {'classes': ['a'], 'image_shape': [8, 8, 1], 'place': str(photos)})
    status = predict.main([f'--workdir={work}', f'--images={photos}', f'--out={photos / "new"}'])
    refused_by_command(capsys, status, '--out', 'inside the data')
    WorkDir(work).save_json('config', tiny.config(data__name='folder', data__path='.').to_dict())
    monkeypatch.chdir(tmp_path)
    folder, ids = WorkDir(work), {'id': ['cat/000.png'], 'mark': None}
    noted = {'classes': [], 'train': ids, 'unlabelled': {'id': [], 'mark': None}, 'test': None}
    folder.save_bytes('labels/images.json', json.dumps(noted).encode())
    output_places.check_of_run('pred.csv', folder, '--out')  # "." was the folder of the photos
    shutil.copytree(photos, tmp_path / 'copy')
    monkeypatch.chdir(tmp_path / 'copy')
    refused(lambda: output_places.check_of_run('pred.csv', folder, '--out'), '--out', 'pred.csv lies in .,')
    status = embed.main([f'--images={photos}', '--model=m', f'--out={photos / "f.npy"}'])
    refused_by_command(capsys, status, '--out', 'inside the data')
    assert {path.name for path in photos.iterdir()} == {'cat', 'dog'}
