"""Ctrl-C and SIGTERM as the command gets them: status 130 or 143, no traceback, and the command that resumes."""

import os
import pathlib
import shlex
import signal
import subprocess
import sys

import pytest

from noisy_jax.training.signals import StopSignal

ROOT = pathlib.Path(__file__).resolve().parents[1]


def _start(*arguments, start=('-m', 'noisy_jax.main')):
    return subprocess.Popen(
        [sys.executable, *start, *arguments],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _read_until(process, words):
    for line in process.stderr:
        if words in line:
            return
    pytest.fail(f'{words!r} was not said')


def _ended(process, number=signal.SIGINT):
    """The lines of stderr, and the command after them."""
    rest = process.stderr.read()
    assert process.wait() == 128 + number, rest
    assert 'Traceback' not in rest
    said, _, command = rest.partition('to resume:\n')
    return [line for line in f'{said}to resume:'.splitlines() if line], shlex.split(command)


def _tiny(workdir, epochs=60):
    changes = {'data.limit': 200, 'data.test_limit': 50, 'pretrain.batch_size': 64, 'classify.batch_size': 64}
    changes |= {'pretrain.augment': 'none', 'pretrain.epochs': epochs, 'classify.head_epochs': 0, 'classify.epochs': 1}
    changes['report.page'] = False
    options = [f'--config.{key}={value}' for key, value in changes.items()]
    return '--config=configs/digits.py:phases=pretrained', f'--workdir={workdir}', *options


def test_once_saves_and_says_the_command_that_goes_on(tmp_path):
    workdir = tmp_path / "a run's folder"
    process = _start(*_tiny(workdir))
    _read_until(process, 'for all phases')  # the first epoch is over
    process.send_signal(signal.SIGTERM)
    lines, command = _ended(process, signal.SIGTERM)
    assert lines[0] == 'stopping after this step, saving ... (Ctrl-C again: at once)'
    assert lines[-1].startswith('stopped in pretrain, stage encoder, epoch ')
    assert lines[-1].endswith(' of 60, saved; rerun to resume:')
    assert command == [sys.executable, '-m', 'noisy_jax.main', *_tiny(workdir)]
    before = (workdir / 'metrics.jsonl').read_text()
    quiet = subprocess.run([*command, '--quiet'], cwd=ROOT, capture_output=True, text=True)
    assert quiet.returncode == 0, quiet.stderr
    assert all(line.startswith('warning: ') for line in quiet.stderr.splitlines())
    assert quiet.stdout.startswith('digits, seed 0')
    assert (workdir / 'metrics.jsonl').read_text().startswith(before)


def test_twice_ends_at_once(tmp_path):
    process = _start(*_tiny(tmp_path, epochs=100_000))
    _read_until(process, 'for all phases')
    process.send_signal(signal.SIGTERM)
    _read_until(process, 'stopping after this step')
    process.send_signal(signal.SIGTERM)
    lines, command = _ended(process, signal.SIGTERM)
    assert lines[-1].endswith('rerun to resume:')
    assert command[1:] == ['-m', 'noisy_jax.main', *_tiny(tmp_path, epochs=100_000)]


_LOADING = """
import signal, sys
from noisy_jax import main
from noisy_jax.data import splits

def load(*_):
    print('reading images', file=sys.stderr, flush=True)
    signal.pause()

splits.load = load
sys.exit(main.main(sys.argv))
"""


def test_before_training(tmp_path):
    process = _start(*_tiny(tmp_path / 'work'), start=('-c', _LOADING))
    _read_until(process, 'reading images')
    process.send_signal(signal.SIGINT)
    lines, command = _ended(process)
    assert lines[0] == 'stopped; rerun to resume:'
    assert command[-1] == _tiny(tmp_path)[-1]
    assert [path.name for path in (tmp_path / 'work').iterdir()] == ['lock']  # which the next run takes


@pytest.fixture
def ctrl_c():
    """Ctrl-C as a program has it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: signal.raise_signal(signal.SIGINT)
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


def test_within_a_program_the_second_is_as_it_was(ctrl_c):
    with StopSignal() as stop:
        stop.saves = True
        ctrl_c()
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            ctrl_c()


def test_with_nothing_to_save_the_first_is_too(ctrl_c):
    with StopSignal(), pytest.raises(KeyboardInterrupt):
        ctrl_c()


def test_within_one_that_waits_both_know(ctrl_c):
    with StopSignal() as outer, StopSignal() as inner:
        outer.saves = True
        ctrl_c()
        assert outer.requested
        assert inner.requested


def test_another_signal_of_a_program_is_no_stop():
    code = (
        'import signal, sys\n'
        'from noisy_jax.training.signals import end_at_signal\n'
        'signal.signal(signal.SIGUSR1, lambda *_: print("heard", flush=True))\n'
        'end_at_signal("stopped")\n'
        'print("ready", flush=True)\n'
        'sys.stdin.read()\n'
    )
    pipes = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE, 'text': True}
    with subprocess.Popen([sys.executable, '-c', code], **pipes) as process:
        assert process.stdout.readline() == 'ready\n'
        for _ in range(3):
            process.send_signal(signal.SIGUSR1)
            assert process.stdout.readline() == 'heard\n'
        process.stdin.close()
        assert process.wait(60) == 0
