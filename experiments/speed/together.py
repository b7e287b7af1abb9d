"""Whether cells of a table train faster together: `vmap` of a step over runs that differ in their labels alone.

  python experiments/speed/together.py                          ResNet-18; on a CPU the small CNN
  ... --runs 2 4 --batch 256

Images, order and augmentation are shared by the runs, the best case. Times are the least of several steps.

And whether the two networks of a pair (ELR+, DivideMix) do: their passes by `vmap`, or written out.
"""

import dataclasses
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from experiments import record
from experiments.speed import steps
from noisy_jax.methods import pair
from noisy_jax.training import compiling


def least_seconds(program: Callable, states: Any, batch: dict, key: jax.Array, rounds: int) -> float:
    """Of one step; each starts from the state of the one before."""
    best = float('inf')
    for _ in range(rounds + 1):
        started = time.perf_counter()
        states, _ = jax.block_until_ready(program(states, batch, key))
        best = min(best, time.perf_counter() - started)
    return best


def compare(case: steps.Case, runs: int, rounds: int) -> dict[str, Any]:
    """Seconds of a step of one run, and of `runs` runs in one program."""
    data = steps.images(4 * case.batch_size)
    step, state = steps.build(case, data)
    options, key = compiling.compiler_options(), jax.random.key(0)
    batch = jax.tree.map(jnp.asarray, next(data.batches(0, 0, batch_size=case.batch_size)))
    alone = jax.jit(step, compiler_options=options)
    axes = {name: 0 if name == 'label' else None for name in batch}
    together = jax.jit(jax.vmap(step, in_axes=(0, axes, None)), compiler_options=options)
    states = jax.tree.map(lambda leaf: jnp.stack([jnp.asarray(leaf)] * runs), state)
    labels = jnp.stack([(batch['label'] + run) % steps.CLASSES for run in range(runs)])
    one = least_seconds(alone, state, batch, key, rounds)
    all_at_once = least_seconds(together, states, {**batch, 'label': labels}, key, rounds)
    return {
        **{name: getattr(case, name) for name in ('step', 'encoder', 'dtype', 'batch_size')},
        'runs': runs,
        'seconds_alone': one,
        'seconds_together': all_at_once,
        'gain': runs * one / all_at_once,
    }


def compare_pair(case: steps.Case, rounds: int) -> dict[str, Any]:
    """Seconds of a step of two networks, written out and by `vmap`."""
    data = steps.images(4 * case.batch_size)
    batch = jax.tree.map(jnp.asarray, next(data.batches(0, 0, batch_size=case.batch_size)))
    seconds = {}
    for name, of_each in (('written_out', pair.of_each), ('vmap', jax.vmap)):
        with mock.patch.object(pair, 'of_each', of_each):
            step, state = steps.build(dataclasses.replace(case, paired=True), data)
            program = jax.jit(step, compiler_options=compiling.compiler_options())
            seconds[name] = least_seconds(program, state, batch, jax.random.key(0), rounds)
    known = {name: getattr(case, name) for name in ('encoder', 'dtype', 'batch_size')}
    return {**known, **seconds, 'gain': seconds['vmap'] / seconds['written_out']}


def main() -> None:
    parser = record.parser(__doc__, record.RESULTS / 'together.json')
    parser.add_argument('--runs', type=int, nargs='+', default=[2, 4])
    parser.add_argument('--batch', type=int, default=256)
    parser.add_argument('--rounds', type=int, default=5)
    arguments = parser.parse_args()
    dtype, encoder = ('float32', 'cnn_small') if jax.default_backend() == 'cpu' else ('bfloat16', 'resnet18')
    case = steps.Case('elr', dtype, 16 if arguments.smoke else arguments.batch, encoder)
    found = [compare(case, runs, arguments.rounds) for runs in arguments.runs]
    both = compare_pair(case, arguments.rounds)
    result = {'device': record.device(), 'jax': jax.__version__, 'cases': found, 'pair': both}
    record.save(record.destination(arguments), result)
    rows = [
        (
            *(row['encoder'], row['batch_size'], row['runs']),
            *(f'{1e3 * row[key]:.0f}' for key in ('seconds_alone', 'seconds_together')),
            f'{row["gain"]:.2f}',
        )
        for row in found
    ]
    titles = ('encoder', 'batch', 'runs', 'one alone, ms', 'all together, ms', 'gain')
    print(record.markdown(titles, rows))
    times = f'{1e3 * both["vmap"]:.0f} ms by vmap, {1e3 * both["written_out"]:.0f} ms written out'
    print(f'a step of two networks: {times}, {both["gain"]:.2f} times as fast')


if __name__ == '__main__':
    main()
