"""Weak scaling: what the devices say to each other in one step, read from the compiled program.

  python experiments/speed/scaling.py            ResNet-18 on 1, 2, 4 and 8 virtual CPU devices; nothing is trained
  python experiments/speed/scaling.py --smoke    the small CNN

Bytes are those of the results of the program's collectives, per device and step. The batch per device stays the same.
"""

import itertools
import json
import math
import os
import pathlib
import re
import sys
import tempfile
from typing import Any

import jax

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from experiments import record
from experiments.speed import steps
from noisy_jax.training import mesh as mesh_lib

LOSSES = {'nt_xent': 'simclr', 'sup_con': 'sup_con', 'elr': 'elr'}
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
    """The text of a step's program over all devices, as `fit` compiles it, and the sizes of what it must send.

    Args:
      name: 'nt_xent', 'sup_con' (with blocks: 'nt_xent:64') or 'elr'.
      encoder: as in the config.
      per_device: images on each device.
      shard_state: as in the config.
    """
    mesh = mesh_lib.make_mesh()
    batch_size = per_device * mesh.size
    loss, _, block = name.partition(':')
    case = steps.Case(LOSSES[loss], 'float32', batch_size, encoder, int(block) if block else None)
    data = steps.images(4 * batch_size)
    step, start = steps.build(case, data)
    parameters, statistics = (start.variables[kind] for kind in ('params', 'batch_stats'))
    sizes = {
        'step': name,
        'devices': mesh.size,
        'batch_per_device': per_device,
        'shard_state': shard_state,
        'gradient_bytes': sum(_bytes(parameters[part]) for part in case.trained),
        'statistics_bytes': _bytes(statistics['encoder']),
        'feature_bytes': 2 * batch_size * 128 * 4 if loss != 'elr' else 0,
    }
    with tempfile.TemporaryDirectory() as folder:
        with steps.session(pathlib.Path(folder), mesh, shard_state=shard_state) as session:
            program = steps.Program(step, start, session, data, batch_size)
        compiled = program.run.lower(*program.arguments).compile()
    held = sum(array.addressable_shards[0].data.nbytes for array in jax.tree.leaves(program.state))
    return compiled.as_text(), sizes | {'state_bytes_per_device': held}


def _bytes(tree: Any) -> int:
    return sum(array.nbytes for array in jax.tree.leaves(tree))


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
    size = ['--smoke'] if smoke else []
    return record.in_own_process('experiments.speed.scaling', *size, XLA_FLAGS=flags, JAX_PLATFORMS='cpu')


def _table(rows: list[dict[str, Any]]) -> str:
    titles = 'step,devices,state sharded,collectives,MB sent a step,size of: gradients,all embeddings,BatchNorm sums'
    sizes = ('bytes', 'gradient_bytes', 'feature_bytes', 'statistics_bytes')
    lines = [
        (
            *(row['step'], row['devices'], 'yes' if row['shard_state'] else 'no', row['collectives']),
            *(f'{row[key] / 1e6:.2f}' for key in sizes),
            f'{row["state_bytes_per_device"] / 1e6:.0f} MB',
        )
        for row in rows
    ]
    return record.markdown((*titles.split(','), 'state per device'), lines)


def main() -> None:
    parser = record.parser(__doc__, record.RESULTS / 'scaling.json')
    parser.add_argument('--worker', action='store_true', help='print the JSON of these devices')
    arguments = parser.parse_args()
    encoder, per_device = ('cnn_small', 16) if arguments.smoke else ('resnet18', 128)
    if arguments.worker:
        cases = itertools.product(('nt_xent', 'nt_xent:256', 'sup_con', 'elr'), (False, True))
        print(json.dumps([measure(name, encoder, per_device, sharded) for name, sharded in cases]))
        return
    counts = (1, 2) if arguments.smoke else (1, 2, 4, 8)
    rows = [row for devices in counts for row in _on_devices(devices, arguments.smoke)]
    record.save(record.destination(arguments), {'encoder': encoder, 'jax': jax.__version__, 'rows': rows})
    print(_table(rows))


if __name__ == '__main__':
    main()
