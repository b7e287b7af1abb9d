"""How a command ends."""

import contextlib
import errno
import importlib
import io
import os
import shlex
import signal
import subprocess
import sys

import numpy as np
import pytest

from noisy_jax import NoisyLabelClassifier, pipeline, streams
from noisy_jax.cli import exit_status, import_jax, of_command
from noisy_jax.errors import InputError
from noisy_jax.interrupts import cleans_up, undisturbed
from noisy_jax.training.signals import Stopped


def _raises(error):
    raise error


def _signalled(number):
    with cleans_up():
        try:
            signal.raise_signal(number)
        finally:
            with undisturbed():
                signal.raise_signal(signal.SIGTERM)  # once more
                print('cleaned up')


def test_a_number_of_cores_that_is_empty_is_not_set(monkeypatch):
    """As in a job of Slurm that has none."""
    monkeypatch.setenv('LOKY_MAX_CPU_COUNT', '')
    assert exit_status(lambda: print(os.environ.get('LOKY_MAX_CPU_COUNT'))) == 0
    assert 'LOKY_MAX_CPU_COUNT' not in os.environ


@pytest.mark.parametrize(
    ('work', 'status', 'said'),
    [
        (lambda: None, 0, ''),
        (lambda: 1, 1, ''),
        (lambda: _raises(InputError('two\nlines')), 2, 'error: two\\nlines\n'),
        (lambda: _signalled(signal.SIGINT), 130, 'stopped; nothing was written\n'),
        (lambda: _signalled(signal.SIGTERM), 143, 'stopped; nothing was written\n'),
    ],
)
def test_a_status_and_a_line(capsys, work, status, said):
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert exit_status(work) == status
    found = capsys.readouterr()
    assert found.err == said
    assert ('cleaned up' in found.out) == (status > 128)
    assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def test_an_option_that_is_two_dashes(capsys):
    def work():
        parser = of_command('predict', 'What it does.')
        parser.add_argument('--out', required=True)
        assert parser.parse_args(['--out=--']).out == '--'  # by newer versions of Python

    assert exit_status(work) in (0, 2)
    assert 'Traceback' not in capsys.readouterr().err


def test_an_error_ends_a_process_of_which_a_thread_waits():
    code = (
        'import threading\nfrom noisy_jax import cli\nfrom noisy_jax.errors import InputError\n'
        'def work():\n'
        '    threading.Thread(target=threading.Event().wait).start()\n'
        '    print("said before")\n'
        '    raise InputError("full")\n'
        'cli.end_process(cli.exit_status(work))\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (2, 'said before\n', 'error: full\n')


def test_letters_that_the_encoding_of_the_terminal_lacks(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(written, 'ascii'))
    assert exit_status(lambda: print('café 𝄞 caf\udce9')) == 0  # the last is a name in Latin-1
    assert written.getvalue() == b'caf\\xe9 \\U0001d11e caf\xe9\n'


def test_a_variable_that_jax_does_not_understand(monkeypatch, capsys):
    monkeypatch.setattr(importlib, 'import_module', lambda _: _raises(ValueError("invalid value 'x' of JAX_Y")))
    assert exit_status(import_jax) == 2
    assert capsys.readouterr().err == "error: an environment variable that JAX reads: invalid value 'x' of JAX_Y\n"


@pytest.fixture
def without_reader(monkeypatch):
    """Makes a standard stream a pipe whose reader has gone."""
    with contextlib.ExitStack() as stack:

        def replace(name):
            reader, writer = os.pipe()
            os.close(reader)
            monkeypatch.setattr(sys, name, stack.enter_context(open(writer, 'w', buffering=1)))

        yield replace


@pytest.mark.parametrize('buffering', [1, 2**16])
def test_work_goes_on_when_the_disk_of_standard_error_is_full(monkeypatch, buffering):
    with open('/dev/full', 'w', buffering=buffering) as full:
        monkeypatch.setattr(sys, 'stderr', full)
        assert exit_status(lambda: print('a bar', file=sys.stderr)) == 0
        assert exit_status(lambda: _raises(InputError('refused'))) == 2


def test_work_goes_on_when_nobody_reads_standard_error(without_reader):
    without_reader('stderr')
    done = []

    def work():
        for _ in range(2):
            print('a bar', file=sys.stderr, flush=True)
        done.append('the report')

    assert exit_status(work) == 0
    assert done


@pytest.mark.parametrize('closed', ['>&-', '2>&-', '>&- 2>&- <&-'])
def test_closed_standard_streams_lead_nowhere(tmp_path, closed):
    """Nor does a file get their number, into which a library would print."""
    code = 'import os, sys; from noisy_jax.cli import exit_status; from noisy_jax.errors import InputError\n'
    code += 'def work():\n  print(1); print(2, file=sys.stderr)\n'
    code += '  with open("made", "wb") as file: os.write(1, b"3"); os.write(2, b"4"); file.write(b"5")\n'
    code += '  raise InputError("6")\n'
    code += 'sys.exit(exit_status(work))'
    command = f'{sys.executable} -c {shlex.quote(code)} {closed}'
    assert subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True).returncode == 2
    assert (tmp_path / 'made').read_bytes() == b'5'


def test_a_broken_standard_output_is_a_status(without_reader):
    without_reader('stdout')
    assert exit_status(lambda: print('a table')) == 141


def test_a_fit_that_prints_goes_on_when_nobody_reads(without_reader, monkeypatch):
    without_reader('stdout')
    without_reader('stderr')
    done = []

    def run(*_, **__):
        print('a table')
        print('a bar', file=sys.stderr)
        done.append(True)
        raise Stopped('enough', signal.SIGTERM)

    monkeypatch.setattr(pipeline, 'run', run)
    with pytest.raises(KeyboardInterrupt):
        NoisyLabelClassifier(verbose=True).fit(np.zeros((4, 8, 8, 3), np.uint8), [0, 1, 0, 1])
    assert done


@pytest.mark.parametrize('work', [lambda: print('a table'), lambda: print('a table', flush=True)])
def test_a_terminal_that_was_closed_is_a_status(monkeypatch, work):
    master, slave = os.openpty()
    with open(slave, 'w') as terminal:
        monkeypatch.setattr(sys, 'stdout', terminal)
        os.close(master)
        assert exit_status(work) == 141


def test_a_disk_that_fails_is_no_reader_who_has_gone(tmp_path, capsys):
    assert exit_status(lambda: _raises(OSError(errno.EIO, 'Input/output error', 'a.png'))) == 2
    assert capsys.readouterr().err == 'error: a.png: Input/output error\n'
    with open(tmp_path / 'log', 'w') as log:
        assert not streams.is_unread(OSError(errno.EIO, 'Input/output error'), log)
        assert not streams.is_unread(OSError(errno.ENOSPC, 'No space left on device'), log)


def test_a_stream_that_is_no_file():
    class Text:
        def write(self, text):
            raise BrokenPipeError

    stream = streams.unfailing(Text())
    assert not stream.isatty()
    assert stream.write('a bar') == 5
    assert stream.write('another') == 7


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='the system has none')
@pytest.mark.parametrize('buffering', [1, 2**16])
@pytest.mark.parametrize(
    'work',
    [
        lambda: print('a table'),
        lambda: print('a long table\n' * 2**14),  # longer than any buffer
        lambda: of_command('x', 'what it does').parse_args(['-h']),
    ],
)
def test_a_full_disk_is_one_line(capsys, monkeypatch, work, buffering):
    with open('/dev/full', 'w', buffering=buffering) as full:  # whose end, as Python's, writes what is left
        monkeypatch.setattr(sys, 'stdout', full)
        assert exit_status(work) == 2
    assert capsys.readouterr().err == 'error: standard output: No space left on device\n'
