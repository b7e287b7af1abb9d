"""NT-Xent and SupCon, value and gradient: memory and time of the dense form against blocks, and a batch of 65,536.

  python experiments/speed/contrastive_memory.py            writes results/contrastive_memory.json; minutes on two cores
  python experiments/speed/contrastive_memory.py --smoke    seconds

Memory is the compiled program's temporaries; times are the least of several, dense and blocks in turn.
"""

import functools
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from experiments import record
from noisy_jax import losses
from noisy_jax.training import compiling

DIM = 128


def _compiled(loss: str, batch_size: int, block_size: int | None) -> Callable:
    """value_and_grad of the mean loss over two views [B, D]."""

    def value(z1: jax.Array, z2: jax.Array, labels: jax.Array, weights: jax.Array) -> jax.Array:
        if loss == 'nt_xent':
            return losses.nt_xent(z1, z2, block_size=block_size).mean()
        return losses.sup_con(z1, z2, labels, weights, block_size=block_size).mean()

    shapes = [jax.ShapeDtypeStruct((batch_size, DIM), jnp.float32)] * 2
    shapes += [jax.ShapeDtypeStruct((batch_size,), dtype) for dtype in (jnp.int32, jnp.float32)]
    jitted = jax.jit(jax.value_and_grad(value, argnums=(0, 1)), compiler_options=compiling.compiler_options())
    return jitted.lower(*shapes).compile()


def _batch(batch_size: int) -> tuple[jax.Array, ...]:
    keys = jax.random.split(jax.random.key(0), 4)
    z1, z2 = (jax.random.normal(key, (batch_size, DIM)) for key in keys[:2])
    return z1, z2, jax.random.randint(keys[2], (batch_size,), 0, 10), jax.random.uniform(keys[3], (batch_size,))


def _seconds(programs: dict[str, Callable], batch: tuple, rounds: int) -> dict[str, float]:
    """The least time of each program, run in turn."""
    best = dict.fromkeys(programs, float('inf'))
    for _ in range(rounds + 1):  # the first round warms up
        for name, program in programs.items():
            start = time.perf_counter()
            jax.block_until_ready(program(*batch))
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def compare(loss: str, batch_size: int, blocks: list[int], rounds: int) -> dict[str, Any]:
    """Dense against blocks of each size: temporaries in bytes, seconds, the largest difference of the gradients."""
    programs = {'dense': _compiled(loss, batch_size, 0)}
    programs |= {str(size): _compiled(loss, batch_size, size) for size in blocks}
    batch = _batch(batch_size)
    gradients = {name: program(*batch)[1] for name, program in programs.items()}
    difference = functools.partial(jax.tree.map, lambda a, b: float(jnp.abs(a - b).max() / jnp.abs(b).max()))
    return {
        'loss': loss,
        'rows': 2 * batch_size,
        'seconds': _seconds(programs, batch, rounds),
        'temporary_bytes': {n: program.memory_analysis().temp_size_in_bytes for n, program in programs.items()},
        'gradient_difference': {n: max(difference(gradient, gradients['dense'])) for n, gradient in gradients.items()},
    }


def large(batch_size: int) -> dict[str, Any]:
    """One run of NT-Xent in the blocks that the project chooses; the dense similarities would not fit."""
    program, batch = _compiled('nt_xent', batch_size, None), _batch(batch_size)
    start = time.perf_counter()
    value, _ = jax.block_until_ready(program(*batch))
    return {
        'batch_size': batch_size,
        'rows': 2 * batch_size,
        'seconds': time.perf_counter() - start,
        'loss': float(value),
        'temporary_bytes': program.memory_analysis().temp_size_in_bytes,
        'one_similarity_matrix_bytes': (2 * batch_size) ** 2 * 4,
    }


def _table(result: dict[str, Any]) -> str:
    rows = []
    for case in result['cases']:
        for name, seconds in case['seconds'].items():
            size, dense = case['temporary_bytes'][name], case['temporary_bytes']['dense']
            form = name if name == 'dense' else f'blocks of {name}'
            memory = f'{size / 1e6:.1f}', f'1/{dense / size:.1f}'
            times = f'{seconds:.4f}', f'{seconds / case["seconds"]["dense"]:.2f}'
            rows.append((case['loss'], case['rows'], form, *memory, *times, f'{case["gradient_difference"][name]:.0e}'))
    titles = ('loss', 'rows 2B', 'form', 'MB', 'of dense', 'seconds', 'of dense', 'gradient off by')
    big = result['large']
    return (
        f'{record.markdown(titles, rows)}\n\n'
        f'Batch of {big["batch_size"]:,}: {big["seconds"]:.1f} s, {big["temporary_bytes"] / 1e6:.0f} MB; '
        f'one matrix of its similarities would take {big["one_similarity_matrix_bytes"] / 1e6:,.0f} MB.'
    )


def main() -> None:
    parser = record.parser(__doc__, record.RESULTS / 'contrastive_memory.json')
    parser.add_argument('--rounds', type=int, default=8)
    parser.add_argument('--blocks', type=int, nargs='+', default=[64, 128, 256])
    arguments = parser.parse_args()
    sizes = [64, 256] if arguments.smoke else [256, 512, 1024, 2048, 4096]
    rounds = 2 if arguments.smoke else arguments.rounds
    result = {
        'device': record.device(),
        'jax': jax.__version__,
        'dimension': DIM,
        'cases': [compare(loss, size, arguments.blocks, rounds) for loss in ('nt_xent', 'sup_con') for size in sizes],
        'large': large(2048 if arguments.smoke else 65_536),
    }
    record.save(record.destination(arguments), result)
    print(_table(result))


if __name__ == '__main__':
    main()
