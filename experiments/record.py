"""What all experiments do alike: arguments, what they ran on, JSON that is continued, Markdown tables, workers."""

import argparse
import contextlib
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / 'experiments' / 'results'

Row = dict[str, Any]


def parser(description: str, out: pathlib.Path | None = None) -> argparse.ArgumentParser:
    """A parser with `--smoke` and `--out`; results go to `out` unless one of the two says otherwise."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument('--smoke', action='store_true', help='tiny sizes; the numbers mean nothing')
    made.add_argument('--out', type=pathlib.Path, help=f'JSON; {out.name if out else "nothing"} unless --smoke')
    made.set_defaults(default_out=out)
    return made


def table_parser(description: str, work: str) -> argparse.ArgumentParser:
    """A parser with `--table` and `--work`, for an experiment of many runs."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument('--table', action='store_true', help='only the table, from the JSON')
    made.add_argument('--work', type=pathlib.Path, default=pathlib.Path('runs') / work, help='work directories')
    return made


def add_images(made: argparse.ArgumentParser, required: bool = False) -> None:
    """Adds `--images` and `--human` to a parser."""
    made.add_argument('--images', type=pathlib.Path, required=required, help='a tar of train/CLASS/* and test/CLASS/*')
    made.add_argument('--human', type=pathlib.Path, help='labels of CIFAR-10N, .npz')


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Ends the program with one line and status 2 on a user error."""
    from noisy_jax.errors import InputError

    try:
        yield
    except InputError as error:
        print(f'{pathlib.Path(sys.argv[0]).name}: {error}', file=sys.stderr)
        sys.exit(2)


# ---------------------------------------------------------------- what an experiment ran on


def device() -> str:
    """The accelerator, or the processor with its cores."""
    import jax

    first = jax.devices()[0]
    return first.device_kind + (f', {os.cpu_count()} cores' if first.platform == 'cpu' else '')


def versions(*more: str) -> dict[str, str]:
    """Of Python, JAX and what it stands on, and of the packages `more`."""
    names = ('jax', 'jaxlib', 'flax', 'optax', 'numpy', *more)
    return {'python': platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}


# ---------------------------------------------------------------- JSON


def load(path: pathlib.Path, default: Any = None) -> Any:
    """The JSON of `path`, or `default` where there is none."""
    return json.loads(path.read_text()) if path.exists() else default


def save(path: pathlib.Path | None, result: Any, indent: int | None = 1) -> None:
    """Writes JSON, if there is a path."""
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=indent) + '\n')


def destination(arguments: argparse.Namespace) -> pathlib.Path | None:
    """Where the results of a command with `parser` go."""
    return arguments.out or (None if arguments.smoke else arguments.default_out)


def complete(
    path: pathlib.Path, keys: Iterable[Row], run: Callable[..., Row], indent: int | None = 1, table: bool = False
) -> list[Row]:
    """The rows of a JSON list, after those of `keys` that it lacks have been run and added, one by one.

    Args:
      path: of the JSON.
      keys: what tells a row from the others, by name.
      run: takes a key as keyword arguments and returns the rest of its row.
      indent: of the JSON.
      table: only read what is there.
    """
    done = load(path, [])
    for key in () if table else keys:
        if not any(key.items() <= row.items() for row in done):
            done.append({**key, **run(**key)})
            save(path, done, indent)
    return done


# ---------------------------------------------------------------- tables


def markdown(titles: Iterable[Any], rows: Iterable[Iterable[Any]]) -> str:
    """A Markdown table; cells are made text by `str`."""
    titles = list(titles)
    lines = [f'| {" | ".join(map(str, row))} |' for row in (titles, *rows)]
    return '\n'.join([lines[0], '|---' * len(titles) + '|', *lines[1:]])


def means(rows: list[Row], by: tuple[str, ...], columns: tuple[str, ...]) -> str:
    """A Markdown table of the mean of `columns` over the rows that agree in `by`."""
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in by), []).append(row)
    lines = [
        (*key, *(f'{statistics.mean(row[name] for row in group):.3f}' for name in columns))
        for key, group in groups.items()
    ]
    return markdown((*by, *columns), lines)


def spread(values: Iterable[float]) -> str:
    """Mean and standard deviation of fractions, in %; '-' for none."""
    values = [100 * value for value in values]
    if not values:
        return '-'
    return f'{statistics.mean(values):.1f}' + (f' ± {statistics.stdev(values):.1f}' if len(values) > 1 else '')


# ---------------------------------------------------------------- other processes


def environment(**changes: str) -> dict[str, str]:
    """This process's environment with changes, where `noisy_jax` and `experiments` can be imported."""
    return {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')]), **changes}


def in_own_process(module: str, *arguments: str, **changes: str) -> Any:
    """What the last line of `python -m module --worker arguments...` says in JSON.

    Raises:
      subprocess.CalledProcessError: its exit status is not 0.
    """
    command = [sys.executable, '-m', module, '--worker', *arguments]
    own = environment(**changes)
    done = subprocess.run(command, env=own, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])
