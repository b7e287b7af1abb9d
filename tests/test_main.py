"""The command as a person calls it: mistakes end in one line and exit status 2, nothing of an earlier run is lost."""

import pathlib
import subprocess
import sys
import types

import numpy as np
import pytest
from conftest import environment, refused_by_command
from PIL import Image

from noisy_jax.clean.__main__ import main as clean
from noisy_jax.cli import exit_status
from noisy_jax.data.pack import main as pack
from noisy_jax.embed.__main__ import main as embed
from noisy_jax.inference.export import main as export
from noisy_jax.inference.predict import main as predict
from noisy_jax.main import main

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture
def call(capsys, monkeypatch):
    """The command within this process, whose signals and warnings stay as they are; it is in no cluster."""

    def no_cluster(*_, **__):
        raise ValueError

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr('noisy_jax.training.signals.end_at_signal', lambda *_: None)
    monkeypatch.setattr('jax.distributed.initialize', no_cluster)

    def run(*arguments):
        status = main(['main', *map(str, arguments)])
        said = capsys.readouterr()
        return types.SimpleNamespace(returncode=status, stdout=said.out, stderr=said.err)

    return run


def refused(result, *words):
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith('error: ')
    assert result.stderr.count('\n') == 1, result.stderr
    for word in words:
        assert word in result.stderr


def test_a_process_of_its_own_ends_with_the_status():
    """What is refused before and what is refused after JAX is loaded: one line, no traceback."""
    for change, word in (('--config.sed=1', 'config.sed'), ('--config.data.limit=30', 'batch_size')):
        command = [sys.executable, '-m', 'noisy_jax.main', '--config=configs/digits.py', '--workdir=W', change]
        result = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
        refused(result, word)
    assert not (ROOT / 'W').exists()


def test_help_names_the_options(call):
    result = call('--help')
    assert result.returncode == 0
    assert '--config=' in result.stdout
    assert '--workdir=' in result.stdout


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ([], ['--config']),
        (['--config=configs/digits.py'], ['--workdir']),
        (['--config=configs/nothing.py', '--workdir=W'], ['configs/nothing.py']),
        (['--config=~/nothing.py', '--workdir=W'], ['nothing.py']),
        (['--config=n' + 'n' * 300, '--workdir=W'], ['--config: no file']),
        (['--config=digits', '--workdir=V', '--workdir', 'W'], ['--workdir', "'W' is a second value"]),
        (['--config=configs/digits.py', '--workdir='], ["workdir: ''"]),
        (['--config=configs/digits.py', '--workdir=tests'], ['workdir: tests', 'conftest.py', 'other files']),
        (['--config=configs/digits.py', f'--workdir={"n" * 300}'], ['workdir', 'too long']),
        (['--config=configs/digits.py', '--workdir=README.md'], ['workdir: README.md', 'Not a directory']),
        (['--config=configs/digits.py', '--workdir=W', '--config.data.path=a\0b'], ['data.path', 'x00', 'path']),
        (['--config=configs/digits.py:rte=0.4', '--workdir=W'], ["'rte'", "'rate'"]),
        (['--config=configs/digits.py:phases=none', '--workdir=W'], ['none', 'pretrained']),
        (['--config=configs/digits.py', '--workdir=W', '--config.sed=1'], ['config.sed', "'seed'"]),
        (['--config=configs/digits.py', '--workdir=W', '--config.seed', 'one'], ['config.seed', "'one'", 'int']),
        (['--config=configs/digits.py', '--workdir=W', '--confg.seed=1'], ['confg']),
        (['--config=configs/digits.py', '--workdir=W', 'more'], ["'more'"]),
        (['--config=configs/digits.py', '--workdir=W', '--coordinator=localhost:1'], ['give all three']),
        (
            ['--config=configs/digits.py', '--workdir=W', '--coordinator=h:1', '--num_processes=2', '--process_id=2'],
            ['--process_id: 2 is not allowed'],
        ),
        *[
            (
                [
                    '--config=configs/digits.py',
                    '--workdir=W',
                    f'--coordinator={c}',
                    f'--num_processes={n}',
                    f'--process_id={i}',
                ],
                [word],
            )
            for c, n, i, word in [
                ('localhost', 2, 0, "'localhost' is not of the form HOST:PORT"),
                ('localhost:abc', 2, 1, "'localhost:abc'"),
                ('localhost:0', 2, 1, '1 to 65535'),
                ('localhost:99999', 2, 1, '1 to 65535'),
                (':5', 2, 1, "':5'"),
                ('localhost:5', 0, 0, '--num_processes: 0 is not allowed; from 1 to 100,000'),
                ('localhost:5', 10**9, 0, '--num_processes: 1000000000 is not allowed'),
                ('localhost:5', 2, -1, '--process_id: -1 is not allowed; from 0 to 1'),
                ('no such host:5', 2, 1, "'no such host'"),
            ]
        ],
    ],
)
def test_mistakes_on_the_command_line(call, arguments, words):
    refused(call(*arguments), *words)


def test_a_setting_that_is_given_twice_is_warned_of(call):
    """The last one counts: scripts append theirs to others."""
    given = ['--config.data.path=a', '--config.data.path=b', *['--config.nothing=1'] * 2]
    with pytest.warns(UserWarning, match=r"^--config\.data\.path is given twice: 'b' is taken, not 'a'$") as warned:
        refused(call('--config=configs/digits.py', '--workdir=W', *given), 'config.nothing is unknown')
    assert len(warned) == 1


@pytest.mark.parametrize('command', [clean, predict, export, pack, embed])
def test_mistakes_on_the_command_line_of_the_others(command, capsys):
    refused_by_command(capsys, command([]), '--out', 'see --help')
    options = [f'--{name}=x' for name in ('workdir', 'images', 'model', 'out')]
    refused_by_command(capsys, command([*options, f'--{"n" * 5000}\n']), 'unrecognized', 'nnn…nnn', '; see --help')
    refused_by_command(capsys, command([*options, '--out=y']), '--out', "'y' is a second value; one is allowed")
    with pytest.raises(SystemExit, match='0'):
        command(['--help'])
    assert '--out' in capsys.readouterr().out


@pytest.fixture
def photos(tmp_path):
    """Two class folders of four images."""
    for name in ('cat', 'dog'):
        (tmp_path / 'photos' / name).mkdir(parents=True)
        for i in range(4):
            pixels = np.random.default_rng(i).integers(0, 255, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / 'photos' / name / f'{i}.png')
    return tmp_path / 'photos'


@pytest.fixture
def call_with(call):
    """The command with a folder of images, in a work directory that has been used."""

    def run(photos, *changes):
        workdir = photos.parent / 'work'
        workdir.mkdir(exist_ok=True)
        (workdir / 'config.json').write_text('{}')
        (workdir / 'summary.json').write_text('of an earlier run')
        arguments = ['--config=configs/cifar10.py:smoke', f'--config.data.path={photos}', f'--workdir={workdir}']
        result = call(*arguments, *changes)
        assert (workdir / 'summary.json').read_text() == 'of an earlier run'
        return result

    return run


def test_a_missing_folder(call_with, photos):
    refused(call_with(photos / 'nothing'), 'photos/nothing')


def test_an_empty_class_folder(call_with, photos):
    (photos / 'horse').mkdir()
    refused(call_with(photos), 'photos/horse')


def test_a_truncated_image(call_with, photos):
    file = photos / 'dog' / '2.png'
    file.write_bytes(file.read_bytes()[:80])
    refused(call_with(photos), 'dog/2.png')


def test_a_batch_larger_than_the_data(call_with, photos):
    refused(call_with(photos), 'batch_size', '128', '8 training images')


def test_a_noise_rate_above_one(call_with, photos):
    refused(call_with(photos, '--config.noise.rate=1.5'), 'noise.rate', '1.5', '0.0 to 1.0')


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'images': np.full((20, 8, 8, 3), np.nan, np.float32)}, ['images[0]', 'NaN']),
        ({'labels': np.arange(20) - 2}, ['labels[0]', '-2']),
        ({'test_labels': np.full(5, 99)}, ['test_label', '99']),
    ],
)
def test_bad_arrays(call, tmp_path, change, words):
    arrays = {
        'images': np.zeros((20, 8, 8, 3), np.uint8),
        'labels': np.arange(20) % 2,
        'test_images': np.zeros((5, 8, 8, 3), np.uint8),
        'test_labels': np.arange(5) % 2,
    }
    np.savez(tmp_path / 'data.npz', **{**arrays, **change})
    result = call(
        '--config=configs/cifar10.py:smoke,data=arrays',
        f'--config.data.path={tmp_path / "data.npz"}',
        f'--workdir={tmp_path / "work"}',
    )
    refused(result, 'data.npz', *words)
    assert not (tmp_path / 'work').exists()


@pytest.mark.parametrize(
    ('error', 'said'),
    [
        (PermissionError(13, 'Permission denied', 'a/photos'), 'error: a/photos: Permission denied\n'),
        (OSError(28, 'No space left on device'), 'error: No space left on device\n'),
        (OSError('a disk of its own kind'), 'error: a disk of its own kind\n'),
        (FileNotFoundError(2, 'No such file', 'a\nb'), 'error: a\\nb: No such file\n'),
    ],
)
def test_what_the_system_refuses(capsys, error, said):
    def work():
        raise error

    assert exit_status(work) == 2
    assert capsys.readouterr().err == said


def test_the_installed_command_is_the_same(monkeypatch, capsys):
    monkeypatch.setattr('noisy_jax.training.signals.end_at_signal', lambda *_: None)
    monkeypatch.setattr(
        sys, 'argv', ['noisy-jax', '--config=digits', '--workdir=W', '--config.contrast.optimizer.name=sgd']
    )
    assert main() == 2
    assert capsys.readouterr().err == 'error: config.contrast.optimizer.name is now pretrain.optimizer.name\n'


def test_help_needs_no_jax():
    program = "import sys; from noisy_jax.main import main; main(['', '--help']); sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', program], cwd=ROOT, capture_output=True).returncode == 0
