"""Runs that are killed, lose power, start twice or find the disk full: whether they end with the same bits."""

import contextlib
import hashlib
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from experiments import record
from experiments.soak import photos
from experiments.soak.photos import Command

_EXACT = ('*.npy', 'labels/*.npy', 'labels.csv', 'data_issues.csv', 'data.json', 'metrics.jsonl')
_MB = 2**20


def start(command: Command) -> subprocess.Popen:
    """`python -m noisy_jax.NAME ...` as a process of its own."""
    name, *options = command
    own = [sys.executable, '-W', 'ignore', '-m', f'noisy_jax.{name}', *options]
    return subprocess.Popen(own, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=record.environment())


def finish(command: Command) -> tuple[int, str]:
    """Exit status, and what went to standard error."""
    process = start(command)
    _, said = process.communicate()
    return process.returncode, said


def bits(run: pathlib.Path) -> dict[str, str]:
    """A digest of each result of a run."""
    paths = sorted(path for pattern in _EXACT for path in run.glob(pattern))
    return {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def place(run: pathlib.Path) -> str:
    """How far a run has come: the phase that has begun last, or what it was doing else."""
    if not (run / 'config.json').exists():
        return 'before the first list'
    begun = [phase for phase in photos.PHASES if (run / 'checkpoints' / phase).exists()]
    if not begun:
        return 'first list'
    is_trained = (run / 'labels' / 'finetune_probabilities.npy').exists()
    return 'list and report' if is_trained else begun[-1]


def kills(count: int, seed: int = 0) -> dict[str, Any]:
    """`count` SIGKILLs at random moments of runs of all phases; each run is killed until it ends by itself.

    Returns:
      How many runs and kills there were, the kills by the place they hit, and how many runs did not end with the bits
      of one that was left alone, or left something unfinished behind.
    """
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as root:
        here = pathlib.Path(root)
        data = photos.noisy(here / 'photos')
        began = time.perf_counter()
        status, said = finish(photos.whole(data, here / 'alone', '--quiet'))
        if status:
            raise RuntimeError(said)
        seconds, wanted = time.perf_counter() - began, bits(here / 'alone')
        result = {'runs': 0, 'kills': 0, 'where': {}, 'other bits': 0, 'refused': 0, 'left behind': 0}
        while result['kills'] < count:
            run = here / f'run{result["runs"]}'
            while result['kills'] < count:
                process = start(photos.whole(data, run, '--quiet'))
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.communicate(timeout=rng.uniform(0.1, 1) * seconds)
                if process.poll() is not None:
                    break
                where = place(run)
                process.kill()
                process.communicate()
                result['kills'] += 1
                result['where'][where] = result['where'].get(where, 0) + 1
            status, _ = finish(photos.whole(data, run, '--quiet'))
            result['runs'] += 1
            result['refused'] += status != 0
            result['other bits'] += status == 0 and bits(run) != wanted
            result['left behind'] += any(run.rglob('*.part'))
    return result


@contextlib.contextmanager
def _mounted(folder: pathlib.Path, *what: str | pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder with a file system, by the arguments of `mount`, which only a superuser may call."""
    folder.mkdir(exist_ok=True)
    subprocess.run(['mount', *map(str, what), str(folder)], check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(['umount', str(folder)], check=True)


def power(count: int) -> dict[str, int]:
    """`count` copies of an ext4 disk while a run writes on it, as a loss of power would leave it; each is gone on with.

    Returns:
      How many there were, from how many the same command went on to other bits, was refused, or left something
      unfinished behind, and from how many it went back to the checkpoint before the newest.
    """
    result = {'disks': 0, 'other bits': 0, 'refused': 0, 'left behind': 0, 'gone back': 0}
    with tempfile.TemporaryDirectory() as root:
        here = pathlib.Path(root)
        data, disk = photos.noisy(here / 'photos'), here / 'disk.img'
        finish(photos.whole(data, here / 'first', '--quiet'))  # compiles
        began = time.perf_counter()
        finish(photos.whole(data, here / 'alone', '--quiet'))
        seconds, wanted, taken = time.perf_counter() - began, bits(here / 'alone'), []
        with disk.open('wb') as file:
            file.truncate(256 * _MB)
        subprocess.run(['mkfs.ext4', '-q', '-F', str(disk)], check=True)
        with _mounted(here / 'now', '-o', 'loop', disk) as folder:
            process = start(photos.whole(data, folder / 'run', '--quiet'))
            for number in range(count):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(seconds / (count + 1))
                if process.poll() is not None:
                    break
                taken.append(here / f'{number}.img')
                subprocess.run(['cp', '--sparse=always', str(disk), str(taken[-1])], check=True)
            process.communicate()
        for copy in taken:
            with _mounted(here / 'later', '-o', 'loop', copy) as folder:
                status, said = finish(photos.whole(data, folder / 'run', '--quiet'))
                result['disks'] += 1
                result['refused'] += status != 0
                result['other bits'] += status == 0 and bits(folder / 'run') != wanted
                result['left behind'] += any(folder.rglob('*.part'))
                result['gone back'] += 'the phase goes on from checkpoint' in said
            copy.unlink()
    return result


def twice(count: int, seed: int = 0) -> dict[str, Any]:
    """The same command twice, the second up to 8 seconds later.

    Returns:
      How often one was told in one line that the other runs, and how often results or exit statuses were wrong.
    """
    rng = np.random.default_rng(seed)
    result = {'rounds': count, 'told': 0, 'traceback': 0, 'wrong': 0}
    with tempfile.TemporaryDirectory() as root:
        here = pathlib.Path(root)
        data = photos.noisy(here / 'photos')
        command = photos.quick(data, here / 'alone', '--config.base.epochs=6')
        finish(command)
        wanted = bits(here / 'alone')
        for number in range(count):
            own = photos.quick(data, here / f'run{number}', '--config.base.epochs=6')
            first = start(own)
            with contextlib.suppress(subprocess.TimeoutExpired):
                first.wait(rng.uniform(0, 8))
            both = first, start(own)
            said = [process.communicate()[1] for process in both]
            statuses = sorted(process.returncode for process in both)
            result['traceback'] += any('Traceback' in text for text in said)
            result['told'] += statuses == [0, 2] and sum('error: ' in text for text in said) == 1
            result['wrong'] += statuses[0] != 0 or bits(here / f'run{number}') != wanted
    return result


def _small_disk(folder: pathlib.Path, megabytes: float, files: int) -> contextlib.AbstractContextManager[pathlib.Path]:
    """A file system in memory, for so many files (0: any)."""
    return _mounted(folder, '-t', 'tmpfs', '-o', f'size={int(megabytes * 1024)}k,nr_inodes={files}', 'tmpfs')


def full_disk(
    sizes: tuple[float, ...] = (0.05, 0.2, 0.5, 1, 2, 3, 4, 6), files: tuple[int, ...] = (3, 12, 30, 60, 100)
) -> dict[str, dict[str, Any]]:
    """main, pack and clean on disks of `sizes` MB or for so many `files`, then again where there is room.

    Returns:
      By command: how often it was refused in one line with status 2, ended otherwise, fitted, and what came of the
      second time.
    """
    result = {}
    with tempfile.TemporaryDirectory() as root:
        here = pathlib.Path(root)
        data = photos.noisy(here / 'photos')
        packed = photos.arrays(here / 'a.npz', 120, images=lambda x: np.repeat(np.repeat(x, 8, 1), 8, 2))
        finish(photos.quick(packed, here / 'arrays'))
        decisions = here / 'decisions.csv'
        decisions.write_text('index,id,given_label,decision,label\n0,0,0,drop,\n')
        commands = {
            'main': lambda disk: photos.quick(data, disk / 'run'),
            'pack': lambda disk: photos.command(
                'data.pack', '--name=folder', f'--path={data}', '--image_size=128', f'--out={disk / "packed"}'
            ),
            'clean': lambda disk: photos.command(
                'clean', f'--workdir={here / "arrays"}', f'--out={disk / "out"}', f'--decisions={decisions}', '--write'
            ),
        }
        for name, command in commands.items():
            (here / name).mkdir()
            finish(command(here / name))
            wanted = _content(here / name)
            counts = {'refused': 0, 'otherwise': 0, 'fitted': 0, 'same bits later': 0, 'other bits later': 0}
            for size, most in [*((size, 0) for size in sizes), *((64, most) for most in files)]:
                with _small_disk(here / f'{name}{size}_{most}', size, most) as disk:
                    status, said = finish(command(disk))
                    if status == 0:
                        counts['fitted'] += 1
                        continue
                    lines = [line for line in said.splitlines() if not line.startswith('warning: ')]
                    told = status == 2 and sum(line.startswith('error: ') for line in lines) == 1 == len(lines)
                    counts['refused' if told else 'otherwise'] += 1
                    subprocess.run(['mount', '-o', f'remount,size={64 * _MB},nr_inodes=0', str(disk)], check=True)
                    status, _ = finish(command(disk))
                    counts['same bits later' if status == 0 and _content(disk) == wanted else 'other bits later'] += 1
            result[name] = counts
    return result


def _content(disk: pathlib.Path) -> dict[str, str]:
    run = disk / 'run'
    paths = [path for path in disk.rglob('*.npy') if path.is_file()]
    return bits(run) if run.exists() else {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
