"""One input that may be bad, tried: what was expected, and what came."""

import contextlib
import dataclasses
import hashlib
import importlib
import io
import os
import pathlib
import shutil
import signal
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator

from experiments.soak.photos import Action

REFUSED, WORKS = 'refused', 'works'
_PATIENCE = 120  # seconds for one input


@dataclasses.dataclass(frozen=True)
class Trial:
    """An input.

    Attributes:
      part: what it is about.
      name: what is odd about it.
      expected: REFUSED: one line, exit status 2, before anything is trained; WORKS: exit status 0.
      make: makes it in a folder; returns the command, or a function to call.
      check: whether what stands in the folder afterwards is right.
    """

    part: str
    name: str
    expected: str
    make: Callable[[pathlib.Path], Action]
    check: Callable[[pathlib.Path], bool] | None = None


def run(trial: Trial) -> tuple[str, str]:
    """The outcome, 'right' or what was wrong, and what was said."""
    place, here, home = pathlib.Path(tempfile.mkdtemp()), os.getcwd(), os.environ['HOME']
    try:
        os.chdir(place)
        action = trial.make(place)
        before, trained = dict(_digests(place)), _trained(place)
        status, said = call(action)
        after = dict(_digests(place))
        altered = [path for path, digest in before.items() if after.get(path) != digest and not _ours(path)]
        return _judge(trial, place, status, said, altered, _trained(place) != trained), said[-300:]
    finally:
        os.chdir(here)
        os.environ['HOME'] = home
        shutil.rmtree(place, ignore_errors=True)


def _judge(trial: Trial, place: pathlib.Path, status: int | None, said: str, altered: list[str], trained: bool) -> str:
    if altered:
        return 'user files changed'
    if status is None:
        return 'traceback'
    if trial.expected == REFUSED:
        if status == 0:
            return 'taken'
        if status != 2 or sum(line.startswith('error: ') for line in said.splitlines()) != 1:
            return 'not one line'
        if len([line for line in said.splitlines() if not line.startswith('warning: ')]) > 1:
            return 'not one line'
        return 'after training' if trained else 'right'
    if status:
        return 'refused'
    try:
        return 'right' if trial.check is None or trial.check(place) else 'wrong result'
    except Exception as error:
        return f'wrong result ({type(error).__name__})'


def _trained(place: pathlib.Path) -> set[pathlib.Path]:
    """The checkpoints of the trial."""
    return {*place.glob('*/checkpoints/*/[0-9]*')}


def call(action: Action) -> tuple[int | None, str]:
    """(exit status, or None after an unexpected exception, and what went to standard error)."""
    error = io.StringIO()
    with contextlib.redirect_stderr(error), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        try:
            signal.alarm(_PATIENCE)
            status = _call(action)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
            status = None
        finally:
            signal.alarm(0)
    return status, error.getvalue()


def _call(action: Action) -> int:
    if callable(action):
        from noisy_jax.cli import exit_status

        return exit_status(lambda: action() and None)
    name, *options = action
    if name == 'main':
        from noisy_jax.training import hosts

        hosts.join = lambda *_: None  # looks for other hosts, once per process
    main = importlib.import_module(f'noisy_jax.{name}' if name != 'clean' else 'noisy_jax.clean.__main__').main
    return main(['noisy-jax', *options] if name == 'main' else options)


def _digests(place: pathlib.Path) -> Iterator[tuple[str, bytes]]:
    for root, _, files in os.walk(os.fsencode(place)):
        for name in files:
            path = os.path.join(root, name)
            if not os.path.isfile(path):  # a FIFO waits for a writer
                continue
            with contextlib.suppress(OSError), open(path, 'rb') as file:
                yield os.fsdecode(path), hashlib.sha256(file.read()).digest()


def _ours(path: str) -> bool:
    """Whether the file lies in the work directory of the trial, named `run`, whose files may change."""
    return 'run' in pathlib.Path(path).parts


def _too_slow(*_: object) -> None:
    raise TimeoutError(f'over {_PATIENCE} s')


signal.signal(signal.SIGALRM, _too_slow)
