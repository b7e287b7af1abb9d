"""Weak scaling: what the devices say to each other in one step, read from the compiled program.

  python experiments/scaling.py             # ResNet-18 on 1, 2, 4 and 8 virtual CPU devices; nothing is trained
  python experiments/scaling.py --smoke     # the small CNN

Bytes are those of the results of the program's collectives, per device and step. The batch per device stays the same.
"""

import argparse
import json
import math
import os
import pathlib
import re
import subprocess
import sys
from typing import Any

RESULTS = pathlib.Path(__file__).resolve().parent / 'results' / 'scaling.json'
_COLLECTIVE = re.compile(r'= (\S.*?) (all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute)(?:-start)?\(')
_ARRAY = re.compile(r'\b(pred|[a-z]+?(\d+))\[([\d,]*)\]')


def communication(program: str) -> list[tuple[str, list[tuple[int, ...]], int]]:
    """The collectives of a compiled program's text: [(kind, the shapes of its results, their bytes), ...]."""
    found = []
    for results, kind in _COLLECTIVE.findall(program):
        shapes, total = [], 0
        for _, bits, sizes in _ARRAY.findall(results):
            shape = tuple(int(size) for size in sizes.split(',') if size)
            shapes.append(shape)
            total += math.prod(shape) * max(int(bits or 8) // 8, 1)
        found.append((kind, shapes, total))
    return found


def compiled_step(name: str, encoder: str, per_device: int, shard_state: bool) -> tuple[str, dict[str, Any]]:
    """The text of a step's program over all devices, as `fit` compiles it, and the sizes it is judged by.

    Args:
      name: 'nt_xent', 'sup_con' (with blocks: 'nt_xent:64') or 'elr'.
      encoder: as in the config.
      per_device: images on each device.
      shard_state: as in the config.
    """
    import jax
    import numpy as np

    from noisy_jax import losses, models
    from noisy_jax.data import augment
    from noisy_jax.data.dataset import Dataset
    from noisy_jax.training import compiling, loop, optim, state, steps
    from noisy_jax.training import mesh as mesh_lib
    from noisy_jax.training.feed import Feed

    mesh = mesh_lib.make_mesh()
    batch_size = per_device * mesh.size
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4 * batch_size, 32, 32, 3), np.uint8)
    data = Dataset(images, np.arange(len(images)) % 10, tuple('0123456789'))
    network = models.create(encoder, num_classes=10, image_size=32)
    variables = jax.jit(lambda key: network.init(key, np.zeros((1, 32, 32, 3), np.float32)))(jax.random.key(0))
    variables = mesh_lib.to_host(variables)
    normalise = steps.normaliser((0.5,) * 3, (0.25,) * 3)
    optimizer = optim.optimizer(
        'sgd', learning_rate=0.03, weight_decay=1e-4, epochs=1, steps_per_epoch=4, batch_size=batch_size
    )
    loss, _, block = name.partition(':')
    if loss == 'elr':
        criterion = losses.criterion('elr', beta=0.7, lam=3.0)
        trained, extra = optim.CLASSIFIER, criterion.init(len(data), 10)
        views = augment.policy('standard')
        step = steps.classification_step(network, optimizer, criterion, views, normalise, trained=trained)
    else:
        trained, extra = optim.REPRESENTATION, {}

        def contrastive(z1: jax.Array, z2: jax.Array, batch: dict) -> jax.Array:
            settings = {'block_size': int(block) if block else None}
            if loss == 'nt_xent':
                return losses.nt_xent(z1, z2, **settings)
            return losses.sup_con(z1, z2, batch['label'], batch['weight'], **settings)

        views = augment.policy('simclr')
        step = steps.contrastive_step(network, optimizer, contrastive, views, normalise, trained=trained)

    options = compiling.compiler_options()
    session = loop.Session(mesh, 0, None, None, shard_state=shard_state, compiler_options=options)
    placed = loop.place(state.create(variables, optimizer, trained, extra), session)
    run = loop.runner(step, session, placed)
    feed = Feed(data, mesh, batch_size, 2**31)
    key = mesh_lib.replicate(jax.random.key_data(jax.random.key(0)), mesh)
    program = run.lower(placed, feed.resident, next(feed.of_epoch(0, 0)), key).compile()
    held = sum(array.addressable_shards[0].data.nbytes for array in jax.tree.leaves(placed))
    sizes = {
        'step': name,
        'devices': mesh.size,
        'batch_per_device': per_device,
        'shard_state': shard_state,
        'gradient_bytes': sum(a.nbytes for part in trained for a in jax.tree.leaves(variables['params'][part])),
        'statistics_bytes': sum(a.nbytes for a in jax.tree.leaves(variables['batch_stats']['encoder'])),
        'feature_bytes': 2 * batch_size * 128 * 4 if loss != 'elr' else 0,
        'state_bytes_per_device': held,
    }
    return program.as_text(), sizes


def measure(name: str, encoder: str, per_device: int, shard_state: bool) -> dict[str, Any]:
    """Bytes and number of the collectives, by kind, beside what a step must send."""
    program, sizes = compiled_step(name, encoder, per_device, shard_state)
    found = communication(program)
    kinds = sorted({kind for kind, _, _ in found})
    return sizes | {
        'bytes': sum(size for _, _, size in found),
        'collectives': len(found),
        'by_kind': {kind: sum(size for other, _, size in found if other == kind) for kind in kinds},
    }


def _on_devices(devices: int, smoke: bool) -> list[dict[str, Any]]:
    """`measure` of every case in a process of its own with so many virtual devices."""
    flags = f'{os.environ.get("XLA_FLAGS", "")} --xla_force_host_platform_device_count={devices}'
    command = [sys.executable, __file__, '--worker', *(['--smoke'] if smoke else [])]
    environment = {**os.environ, 'XLA_FLAGS': flags, 'JAX_PLATFORMS': 'cpu'}
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(result.stdout.splitlines()[-1])


def _table(rows: list[dict[str, Any]]) -> str:
    sizes = 'MB sent a step | size of: gradients | all embeddings | BatchNorm sums | state per device'
    lines = [f'| step | devices | state spread | collectives | {sizes} |', '|---' * 9 + '|']
    for row in rows:
        megabytes = [
            f'{row[key] / 1e6:.2f}' for key in ('bytes', 'gradient_bytes', 'feature_bytes', 'statistics_bytes')
        ]
        cells = [row['step'], row['devices'], 'yes' if row['shard_state'] else 'no', row['collectives'], *megabytes]
        lines.append(f'| {" | ".join(map(str, cells))} | {row["state_bytes_per_device"] / 1e6:.0f} MB |')
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--smoke', action='store_true', help='the small CNN on 1 and 2 devices')
    parser.add_argument('--out', type=pathlib.Path, help=f'the JSON; {RESULTS.name} unless --smoke')
    parser.add_argument('--worker', action='store_true', help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    encoder, per_device = ('cnn_small', 16) if arguments.smoke else ('resnet18', 128)
    if arguments.worker:
        cases = [(name, spread) for name in ('nt_xent', 'nt_xent:256', 'sup_con', 'elr') for spread in (False, True)]
        print(json.dumps([measure(name, encoder, per_device, spread) for name, spread in cases]))
        return
    import jax

    rows = [row for n in ((1, 2) if arguments.smoke else (1, 2, 4, 8)) for row in _on_devices(n, arguments.smoke)]
    result = {'encoder': encoder, 'jax': jax.__version__, 'rows': rows}
    out = arguments.out or (None if arguments.smoke else RESULTS)
    if out:
        out.write_text(json.dumps(result, indent=1) + '\n')
    print(_table(rows))


if __name__ == '__main__':
    main()
