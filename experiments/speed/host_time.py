"""Where the time of a run goes that its steps do not take: what the host does around a step and between epochs.

  python experiments/speed/host_time.py                                 the small CNN on random images
  ... --encoder resnet18 --dtype bfloat16 --batch 256 512 --images 50000    a GPU
  ... --encoder resnet18 --host                                         only `host`: no step is compiled

  step        the least time of a step in windows of many, as throughput.py has it
  fit         of a step through `fit`, from its journal, without an evaluation
  watched     the same, with the evaluation of every epoch, on the clock
  host        what the host does for a step, each alone: dispatch of a program that only counts, with the same
              arguments; the transfer guard; fetching the metrics; the progress bar
  epoch       what it does between two epochs: the order of the images, a line of metrics

`step` against `fit` is the feed and the loop, `fit` against `watched` the evaluation. Where `dispatch` is near `step`
the device waits for the host.
"""

import dataclasses
import itertools
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from experiments import record
from experiments.speed import steps
from noisy_jax.training import compiling, evaluate
from noisy_jax.training import mesh as mesh_lib
from noisy_jax.training.journal import Journal
from noisy_jax.training.loop import fit, runner
from noisy_jax.training.metrics import MetricWriter
from noisy_jax.training.progress import Progress
from noisy_jax.training.state import TrainState

ROUNDS, WINDOWS = 200, 5
METRICS = ('loss', 'accuracy', 'sure', 'agreement')  # as many as a step of ELR has


def microseconds(function: Callable[[], Any], count: int = ROUNDS) -> float:
    """Of a call, the least of several rounds."""
    rounds = []
    for _ in range(WINDOWS):
        started = time.perf_counter()
        for _ in range(count):
            function()
        rounds.append((time.perf_counter() - started) / count)
    return 1e6 * min(rounds)


def of_a_step(program: steps.Program, session: Any) -> dict[str, float]:
    """What the host does for a step, each alone, in microseconds; and how many arrays a step takes."""
    given = next(program.epoch(0, 0))

    def count(state: TrainState, batch: dict, key: jax.Array) -> tuple[TrainState, dict]:
        del batch, key
        return state.replace(step=state.step + 1), {name: state.step.astype(jnp.float32) for name in METRICS}

    counting = runner(count, session, program.state)
    state = program.state

    def dispatch() -> None:
        nonlocal state
        state, _ = counting(state, program.feed.resident, given, program.key)

    def guard() -> None:
        with jax.transfer_guard('disallow'):
            pass

    dispatch()
    jax.block_until_ready(state)
    progress = Progress(quiet=True)
    progress.begin('pretrain', 'all', 1, 1, 1, 0)
    fetches = []
    for _ in range(ROUNDS):
        state, metrics = counting(state, program.feed.resident, given, program.key)
        jax.block_until_ready(metrics)
        started = time.perf_counter()
        mesh_lib.to_host(metrics)
        fetches.append(1e6 * (time.perf_counter() - started))
    found = {
        'arrays': len(jax.tree.leaves(program.arguments)),
        'dispatch': microseconds(dispatch),
        'transfer_guard': microseconds(guard),
        'fetch': statistics.median(fetches),
        'progress': microseconds(progress.step),
    }
    program.state = jax.block_until_ready(state)
    return found


def of_an_epoch(program: steps.Program, number: int, folder: pathlib.Path) -> dict[str, float]:
    """What the host does between two epochs of `number` steps, in microseconds."""
    epochs, writer = itertools.count(), MetricWriter(folder / 'lines.jsonl')
    found = {
        'steps': number,
        'order': microseconds(lambda: jax.block_until_ready(next(program.epoch(0, next(epochs)))), 5),
        'line': microseconds(lambda: writer.write(phase='pretrain', stage='all', epoch=1, step=1, loss=1.0), 20),
    }
    writer.close()
    return found


def through_fit(case: steps.Case, data: Any, session: Any, folder: pathlib.Path, epochs: int, test: Any) -> float:
    """Seconds of an epoch but the first on the clock, evaluated on `test` after each unless that is None."""
    step, start = steps.build(case, data)
    network = steps.network_of(case)
    evaluator = evaluate.Evaluator(
        network, steps.normaliser(*steps.RGB_MOMENTS), session.mesh, 512, session.compiler_options
    )
    clock = []

    def after_epoch(state: TrainState, epoch: int) -> tuple[TrainState, dict]:
        del epoch
        clock.append(time.perf_counter())
        if test is not None:
            evaluator.accuracy(state.variables, test, test.label)
        return state, {}

    checkpoints = steps.Checkpoints(folder)
    journal = Journal('pretrain', session, checkpoints)
    fit(case.stage(epochs), step, start, data, journal, after_epoch)
    checkpoints.close()
    # From after the second epoch, whose evaluation is compiled: each span has one evaluation and one epoch.
    return min(after - before for before, after in itertools.pairwise(clock[1:]))


def measure(case: steps.Case, images: int, epochs: int, *, only_host: bool) -> dict[str, Any]:
    """Everything about one case."""
    data, test = steps.images(images), steps.images(max(images // 5, 1))
    number = len(data) // case.batch_size
    row: dict[str, Any] = {'case': dataclasses.asdict(case), 'images': images}
    with tempfile.TemporaryDirectory() as name, steps.session(pathlib.Path(name)) as session:
        folder = pathlib.Path(name)
        program = steps.Program(*steps.build(case, data), session, data, case.batch_size)
        row |= {'host': of_a_step(program, session), 'epoch': of_an_epoch(program, number, folder)}
        if only_host:
            return row
        program.steps(3)
        window = max(number, 20)
        row['step'] = microseconds(lambda: program.steps(window), 1) / window
        row['fit'] = 1e6 * through_fit(case, data, session, folder / 'fit', epochs, None) / number
        row['watched'] = 1e6 * through_fit(case, data, session, folder / 'watched', epochs, test) / number
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """Microseconds of a step, those of an epoch divided by its steps."""
    titles = ['step', 'batch', 'arrays', 'bare step', 'fit', 'watched']
    host, epoch = ('dispatch', 'transfer_guard', 'fetch', 'progress'), ('order', 'line')
    lines = [
        (
            *(row['case']['step'], row['case']['batch_size'], row['host']['arrays']),
            *(f'{row[name]:.0f}' if name in row else '' for name in ('step', 'fit', 'watched')),
            *(f'{row["host"][name]:.1f}' for name in host),
            *(f'{row["epoch"][name] / row["epoch"]["steps"]:.1f}' for name in epoch),
        )
        for row in rows
    ]
    return record.markdown([*titles, *host, *(f'{name}, by step' for name in epoch)], lines)


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument('--steps', nargs='+', choices=steps.NAMES, default=['simclr', 'elr'])
    parser.add_argument('--batch', nargs='+', type=int, default=[32])
    parser.add_argument('--encoder', default='cnn_small')
    parser.add_argument('--dtype', default='float32')
    parser.add_argument('--images', type=int, default=2048)
    parser.add_argument('--epochs', type=int, default=5)
    parser.add_argument('--host', action='store_true', help='only what the host does')
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.images, arguments.epochs, arguments.steps = 128, 3, ['elr']
    compiling.keep_compiled()
    result = {'device': record.device(), 'versions': record.versions(), 'rows': []}
    for step in arguments.steps:
        for batch in arguments.batch:
            case = steps.Case(step, arguments.dtype, batch, arguments.encoder)
            row = measure(case, arguments.images, arguments.epochs, only_host=arguments.host)
            result['rows'].append(row)
            record.save(record.destination(arguments), result)
    print(table(result['rows']))


if __name__ == '__main__':
    main()
