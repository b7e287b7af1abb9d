"""Whether cells of a table train faster together: `vmap` of a step over runs that differ in their labels alone.

  python experiments/together.py                          ResNet-18; on a CPU the small CNN
  python experiments/together.py --runs 2 4 --batch 256 --out together.json

Images, order and augmentation are shared by the runs, the best case. Times are the least of several steps.

And whether the two networks of a pair (ELR+, DivideMix) do: their passes by `vmap`, or written out.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import throughput

from noisy_jax.training import compiling, pair


def least_seconds(program: Callable, states: Any, batch: dict, key: jax.Array, rounds: int) -> float:
    """Of one step; the state goes on."""
    best = float('inf')
    for _ in range(rounds + 1):
        started = time.perf_counter()
        states, _ = jax.block_until_ready(program(states, batch, key))
        best = min(best, time.perf_counter() - started)
    return best


def compare(case: throughput.Case, runs: int, rounds: int) -> dict[str, Any]:
    """Seconds of a step of one run, and of `runs` runs in one program."""
    data = throughput.images(4 * case.batch_size)
    step, state = throughput.build(case, data)
    options, key = compiling.compiler_options(), jax.random.key(0)
    batch = jax.tree.map(jnp.asarray, next(data.batches(0, 0, batch_size=case.batch_size)))
    alone = jax.jit(step, compiler_options=options)
    axes = {name: 0 if name == 'label' else None for name in batch}
    together = jax.jit(jax.vmap(step, in_axes=(0, axes, None)), compiler_options=options)
    states = jax.tree.map(lambda leaf: jnp.stack([jnp.asarray(leaf)] * runs), state)
    labels = jnp.stack([(batch['label'] + run) % throughput.CLASSES for run in range(runs)])
    one = least_seconds(alone, state, batch, key, rounds)
    all_at_once = least_seconds(together, states, {**batch, 'label': labels}, key, rounds)
    return {
        **{name: getattr(case, name) for name in ('step', 'encoder', 'dtype', 'batch_size')},
        'runs': runs,
        'seconds_alone': one,
        'seconds_together': all_at_once,
        'gain': runs * one / all_at_once,
    }


def compare_pair(case: throughput.Case, rounds: int) -> dict[str, Any]:
    """Seconds of a step of two networks, written out and by `vmap`."""
    data = throughput.images(4 * case.batch_size)
    batch = jax.tree.map(jnp.asarray, next(data.batches(0, 0, batch_size=case.batch_size)))
    seconds = {}
    for name, of_each in (('written_out', pair.of_each), ('vmap', jax.vmap)):
        with mock.patch.object(pair, 'of_each', of_each):
            step, state = throughput.build(dataclasses.replace(case, paired=True), data)
            program = jax.jit(step, compiler_options=compiling.compiler_options())
            seconds[name] = least_seconds(program, state, batch, jax.random.key(0), rounds)
    known = {name: getattr(case, name) for name in ('encoder', 'dtype', 'batch_size')}
    return {**known, **seconds, 'gain': seconds['vmap'] / seconds['written_out']}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--runs', type=int, nargs='+', default=[2, 4])
    parser.add_argument('--batch', type=int, default=256)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--smoke', action='store_true')
    parser.add_argument('--out', type=pathlib.Path, help='JSON')
    arguments = parser.parse_args()
    device = jax.devices()[0]
    cpu = device.platform == 'cpu'
    dtype, encoder = ('float32', 'cnn_small') if cpu else ('bfloat16', 'resnet18')
    case = throughput.Case('elr', dtype, 16 if arguments.smoke else arguments.batch, encoder)
    found = [compare(case, runs, arguments.rounds) for runs in arguments.runs]
    result = {
        'device': device.device_kind + (f', {os.cpu_count()} cores' if cpu else ''),
        'jax': jax.__version__,
        'cases': found,
        'pair': compare_pair(case, arguments.rounds),
    }
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + '\n')
    print('| encoder | batch | runs | one alone, ms | all together, ms | gain |\n' + '|---' * 6 + '|')
    for row in found:
        times = f'{1e3 * row["seconds_alone"]:.0f} | {1e3 * row["seconds_together"]:.0f} | {row["gain"]:.2f}'
        print(f'| {row["encoder"]} | {row["batch_size"]} | {row["runs"]} | {times} |')
    both = result['pair']
    times = f'{1e3 * both["vmap"]:.0f} ms by vmap, {1e3 * both["written_out"]:.0f} ms written out'
    print(f'a step of two networks: {times}, {both["gain"]:.2f} times as fast')


if __name__ == '__main__':
    main()
