"""Training steps of ResNet-18 on one device: images/s, epochs end to end, memory, FLOPs against the matrix rate.

  python experiments/throughput.py --out throughput.json                 simclr, sup_con, supervised, elr; bfloat16
  python experiments/throughput.py --steps simclr --batch 512 --trace    and how long the device waits between kernels
  python experiments/throughput.py --xla=name=value,...                  with other options of the compiler
  python experiments/throughput.py --xla-sweep --steps simclr            XLA's GPU options one at a time, against none
  python experiments/throughput.py --check                               is the first loss the CPU's, do losses fall
  python experiments/throughput.py --smoke                               the small CNN; the numbers mean nothing

The programs are those of `fit`: its placement, its jitted function, its feed; the images are random. Each case has a
process of its own, so that memory, compilation and autotuning are its own too.

  ms a step   median and least over windows of many steps, synchronised at their ends only
  epoch       through `fit`, from its journal: epochs 2 and 3 of 3, with order, feed, metrics; steps x batch images
  memory      the most that was in use on the device, else what the compiled program needs
  FLOPs       2 x multiply-adds of all convolutions and matrix products of the step's jaxpr
  MFU         FLOPs a second / those of one large matrix product in the step's dtype, measured in the same process
"""

import argparse
import dataclasses
import importlib.metadata
import itertools
import json
import math
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from noisy_jax import losses, models
from noisy_jax.data import augment
from noisy_jax.data.dataset import Dataset
from noisy_jax.errors import InputError
from noisy_jax.training import compiling, loop, optim, pair, state
from noisy_jax.training import mesh as mesh_lib
from noisy_jax.training.checkpoints import Checkpoints
from noisy_jax.training.feed import Feed
from noisy_jax.training.metrics import MetricWriter
from noisy_jax.training.signals import StopSignal
from noisy_jax.training.steps import Step, classification_step, contrastive_step, normaliser

SEED, CLASSES, SIDE, IMAGES = 0, 10, 32, 50_000
STEPS = ('simclr', 'sup_con', 'supervised', 'elr')
CONTRASTIVE = STEPS[:2]
TRACED_STEPS, CHECKED_STEPS = 20, 200
TOLERANCE = {'float32': 2e-2, 'bfloat16': 5e-2}  # of the first loss; a GPU multiplies float32 in TF32
SWEEP = (
    'xla_gpu_enable_latency_hiding_scheduler=true',
    'xla_gpu_enable_triton_gemm=false',
    'xla_gpu_enable_command_buffer=',
    'xla_gpu_graph_min_graph_size=1',
    'xla_gpu_cudnn_gemm_fusion_level=2',
    'xla_gpu_force_conv_nhwc=true',
    'xla_gpu_use_runtime_fusion=true',
    'xla_gpu_experimental_enable_fusion_autotuner=true',
)

Event = tuple[str, float, float]  # name, start and end in ns


@dataclasses.dataclass(frozen=True)
class Case:
    """One measurement.

    Attributes:
      images: of the data set; 0: as CIFAR-10, on a CPU four batches.
      epochs: through `fit`; 0: only steps.
      matrix: the side of the matrix product; 0: 8192, on a CPU 2048.
      xla: options as in the config.
      check: only the losses of so many steps.
      paired: two networks that teach each other, where the step is a classifier's.
    """

    step: str
    dtype: str
    batch_size: int
    encoder: str = 'resnet18'
    images: int = 0
    windows: int = 5
    window_seconds: float = 2.0
    epochs: int = 3
    matrix: int = 0
    trace: bool = False
    xla: str = ''
    check: int = 0
    paired: bool = False


# ---------------------------------------------------------------- what a step computes


def flops(jaxpr: Any) -> int:
    """2 x the multiply-adds of the matrix products and convolutions of a jaxpr and of those inside it.

    A scan counts by its length, a branch by the largest; of a `while`, whose length nobody knows, one turn.
    """
    return sum(_equation_flops(equation) for equation in getattr(jaxpr, 'jaxpr', jaxpr).eqns)


def _equation_flops(equation: Any) -> int:
    name, params = equation.primitive.name, equation.params
    if name == 'dot_general':
        left, (contracted, _) = equation.invars[0].aval.shape, params['dimension_numbers'][0]
        return 2 * equation.outvars[0].aval.size * math.prod(left[axis] for axis in contracted)
    if name == 'conv_general_dilated':
        kernel = equation.invars[1].aval
        taps = kernel.size // kernel.shape[params['dimension_numbers'].rhs_spec[0]]
        # The holes of a dilated input are zeros that nobody needs to multiply: the gradient of a stride.
        return 2 * equation.outvars[0].aval.size * taps // math.prod(params['lhs_dilation'])
    if name == 'cond':
        return max(flops(branch) for branch in params['branches'])
    inner = sum(flops(value) for value in params.values() if hasattr(value, 'eqns') or hasattr(value, 'jaxpr'))
    return inner * (params['length'] if name == 'scan' else 1)


def matrix_rate(dtype: str, side: int, repeats: int = 5, products: int = 10) -> float:
    """FLOPs a second of a product of two random matrices, the best of several."""
    keys = jax.random.split(jax.random.key(SEED))
    a, b = (jax.random.normal(key, (side, side), jnp.dtype(dtype)) for key in keys)
    product = jax.jit(jnp.matmul)
    seconds = []
    for _ in range(repeats + 1):  # the first compiles
        started = time.perf_counter()
        for _ in range(products):
            last = product(a, b)
        jax.block_until_ready(last)
        seconds.append(time.perf_counter() - started)
    return 2 * side**3 * products / min(seconds[1:])


# ---------------------------------------------------------------- the programs of `fit`


def images(count: int) -> Dataset:
    rng = np.random.default_rng(SEED)
    coarse = rng.integers(0, 256, (count, 4, 4, 3), np.uint8)  # squares of colour: what SimCLR can tell apart
    pixels = coarse.repeat(SIDE // 4, axis=1).repeat(SIDE // 4, axis=2)
    return Dataset(pixels, rng.integers(0, CLASSES, count, np.int32), tuple(map(str, range(CLASSES))))


def build(case: Case, data: Dataset) -> tuple[Step, state.TrainState]:
    """The step and a fresh state, with the settings of configs/cifar10.py."""
    network = models.create(case.encoder, num_classes=CLASSES, dtype=jnp.dtype(case.dtype), image_size=SIDE)
    init = jax.jit(lambda key: network.init(key, jnp.zeros((1, SIDE, SIDE, 3)), train=False))
    variables = mesh_lib.to_host(init(jax.random.key(SEED)))
    contrastive = case.step in CONTRASTIVE
    optimizer = optim.optimizer(
        'sgd',
        learning_rate=0.03 if contrastive else 0.01,
        weight_decay=1e-4,
        epochs=200,
        steps_per_epoch=len(data) // case.batch_size,
        batch_size=case.batch_size,
    )
    normalise = normaliser((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
    if contrastive:
        trained, extra, views = optim.REPRESENTATION, {}, augment.policy('simclr')

        def loss(z1: jax.Array, z2: jax.Array, batch: dict) -> jax.Array:
            if case.step == 'simclr':
                return losses.nt_xent(z1, z2, temperature=0.5)
            return losses.sup_con(z1, z2, batch['label'], batch['weight'], temperature=0.07)

        step = contrastive_step(network, optimizer, loss, views, normalise, trained=trained)
    else:
        criterion = losses.criterion('elr', beta=0.7, lam=3.0) if case.step == 'elr' else losses.criterion('ce')
        trained, extra, views = optim.CLASSIFIER, criterion.init(len(data), CLASSES), augment.policy('standard')
        make = classification_step
        if case.paired:
            make, variables, extra = pair.pair_step, pair.stack(variables, variables), pair.stack(extra, extra)
        step = make(network, optimizer, criterion, views, normalise, trained=trained)
    return step, state.create(variables, optimizer, trained, extra)


class Program:
    """A step as `fit` runs it: its placed state, its jitted function, its feed."""

    def __init__(self, case: Case, session: loop.Session, data: Dataset) -> None:
        step, start = build(case, data)
        self.state = loop.place(start, session)
        self.run = loop.runner(step, session, self.state)
        self.feed = Feed(data, session.mesh, case.batch_size, session.resident_bytes)
        self.key = mesh_lib.replicate(jax.random.key_data(jax.random.key(SEED)), session.mesh)
        self._given = (given for epoch in itertools.count() for given in self.feed.of_epoch(SEED, epoch))

    def compiled(self) -> dict[str, Any]:
        """FLOPs, seconds of compilation and bytes of the program."""
        traced = self.run.trace(self.state, self.feed.resident, next(self.feed.of_epoch(SEED, 0)), self.key)
        started = time.perf_counter()
        memory = traced.lower().compile().memory_analysis()
        seconds = time.perf_counter() - started
        results = memory.output_size_in_bytes - memory.alias_size_in_bytes
        return {
            'flops': flops(traced.jaxpr),
            'compile_seconds': seconds,
            'program_bytes': memory.argument_size_in_bytes + memory.temp_size_in_bytes + results,
        }

    def steps(self, count: int) -> list[dict[str, jax.Array]]:
        """Does `count` steps and waits for the last; their metrics."""
        metrics = []
        for given in itertools.islice(self._given, count):
            self.state, values = self.run(self.state, self.feed.resident, given, self.key)
            metrics.append(values)
        jax.block_until_ready((self.state, metrics))
        return metrics

    def windows(self, number: int, seconds: float) -> dict[str, Any]:
        """Seconds of a step in each of several windows of about so many seconds."""

        def timed(count: int) -> float:
            started = time.perf_counter()
            self.steps(count)
            return (time.perf_counter() - started) / count

        timed(3)
        count = max(round(seconds / timed(5)), 5)
        return {'window_steps': count, 'window_step_seconds': [timed(count) for _ in range(number)]}


def epochs_through_fit(case: Case, session: loop.Session, data: Dataset, folder: pathlib.Path) -> dict[str, Any]:
    """Seconds of every epoch but the first, as the journal counts them."""
    step, start = build(case, data)
    checkpoints = Checkpoints(folder / 'checkpoints')
    journal = loop.Journal('pretrain', session, checkpoints)
    counted = []

    def after_epoch(current: state.TrainState, epoch: int) -> tuple[state.TrainState, dict]:
        counted.append(journal.record['image_seconds'])
        return current, {}

    loop.fit(loop.Stage('all', step, case.epochs, case.batch_size), start, data, journal, after_epoch)
    checkpoints.close()
    steps = len(data) // case.batch_size
    return {
        'epoch_seconds': np.diff(counted).tolist(),
        'epoch_steps': steps,
        'epoch_images': steps * case.batch_size,
        'epoch_images_per_second': journal.summary()['images_per_second'],
    }


# ---------------------------------------------------------------- the device's own record


def gaps(spans: list[tuple[float, float]]) -> tuple[float, float]:
    """Of kernels (start, end), which may overlap: the share of time without any, and the longest such gap.

    Both lie between the first start and the last end; the gap is in the unit of the spans.
    """
    spans = sorted(spans)
    first, reached = spans[0]
    idle = longest = 0.0
    for start, end in spans[1:]:
        gap = max(start - reached, 0.0)
        idle, longest, reached = idle + gap, max(longest, gap), max(reached, end)
    return idle / max(reached - first, 1e-9), longest


def kernels(trace: pathlib.Path) -> Iterator[Event]:
    """What ran on the first GPU, or where the trace has none on the threads of XLA's CPU client."""
    planes = {plane.name: plane for plane in jax.profiler.ProfileData.from_file(str(trace)).planes}
    gpu = next((plane for name, plane in planes.items() if name.startswith('/device:GPU:0')), None)
    plane, lines = (gpu, 'Stream') if gpu else (planes['/host:CPU'], ('tf_XLAPjRtCpuClient', 'tf_XLAEigen'))
    for event in (event for line in plane.lines if line.name.startswith(lines) for event in line.events):
        # Beside its kernels the CPU client notes what it does itself: `ThunkExecutor::Execute` and the like.
        own = not gpu and ('::' in event.name or event.name.startswith('end: '))
        if event.duration_ns > 0 and not own:
            yield event.name, event.start_ns, event.start_ns + event.duration_ns


def traced(program: Program, folder: pathlib.Path) -> dict[str, Any]:
    """How busy the device is during some steps, and with what."""
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # it would slow down the dispatch that is judged here
    with jax.profiler.trace(str(folder), profiler_options=options):
        program.steps(TRACED_STEPS)
    events = list(kernels(next(folder.rglob('*.xplane.pb'))))
    if not events:  # a driver that lets nobody look
        return {'kernels_per_step': 0}
    share, longest = gaps([(start, end) for _, start, end in events])
    times = Counter()
    for name, start, end in events:
        times[name] += end - start
    total = sum(times.values())
    return {
        'idle_share': share,
        'longest_gap_ms': longest / 1e6,
        'kernels_per_step': len(events) / TRACED_STEPS,
        'top_kernels': [{'name': name, 'share': spent / total} for name, spent in times.most_common(12)],
    }


# ---------------------------------------------------------------- one process a case


def measure(case: Case) -> dict[str, Any]:
    """Everything about one case, or why XLA refuses its options."""
    with tempfile.TemporaryDirectory() as folder:
        compiling.keep_compiled(os.path.join(folder, 'compiled'))  # `fit` shall not compile a second time
        try:
            options = compiling.compiler_options(case.xla)
        except InputError as error:
            row = {'refused': str(error)}
        else:
            row = {'compiler_options': options, **_measured(case, options, pathlib.Path(folder))}
    return header() | {'row': dataclasses.asdict(case) | row}


def _measured(case: Case, options: compiling.Options, folder: pathlib.Path) -> dict[str, Any]:
    device = jax.devices()[0]
    on_cpu = device.platform == 'cpu'
    data = images(case.images or (4 * case.batch_size if on_cpu else IMAGES))
    metrics = MetricWriter(folder / 'metrics.jsonl')
    mesh = mesh_lib.make_mesh(1)
    session = loop.Session(mesh, SEED, metrics, StopSignal(), checkpoint_every=10**6, compiler_options=options)
    program = Program(case, session, data)
    if case.check:
        return {'losses': [float(values['loss']) for values in program.steps(case.check)]}
    row = {'images': len(data), **program.compiled(), **program.windows(case.windows, case.window_seconds)}
    row['peak_bytes'] = (device.memory_stats() or {}).get('peak_bytes_in_use')
    if case.trace:
        row |= traced(program, folder / 'trace')
    if case.epochs:
        row |= epochs_through_fit(case, session, data, folder)
        row['matrix_flops_per_second'] = matrix_rate(case.dtype, case.matrix or (2048 if on_cpu else 8192))
    metrics.close()
    return row | _rates(case, row)


def _rates(case: Case, row: dict[str, Any]) -> dict[str, Any]:
    seconds = statistics.median(row['window_step_seconds'])
    rates = {
        'step_seconds': seconds,
        'step_seconds_least': min(row['window_step_seconds']),
        'images_per_second': case.batch_size / seconds,
        'flops_per_second': row['flops'] / seconds,
    }
    if case.step in CONTRASTIVE:
        rates['views_per_second'] = 2 * rates['images_per_second']
    if 'matrix_flops_per_second' in row:
        rates['mfu'] = rates['flops_per_second'] / row['matrix_flops_per_second']
    return rates


def header() -> dict[str, Any]:
    device = jax.devices()[0]
    cores = f', {os.cpu_count()} cores' if device.platform == 'cpu' else ''
    versions = {name: importlib.metadata.version(name) for name in ('jax', 'jaxlib', 'flax', 'optax', 'numpy')}
    return {
        'device': device.device_kind + cores,
        'platform': device.platform,
        'versions': {'python': platform.python_version(), **versions},
        'seed': SEED,
    }


def in_own_process(case: Case, **environment: str) -> dict[str, Any]:
    """`measure(case)`; a case that fails (out of memory) leaves the others alone."""
    command = [sys.executable, __file__, '--worker', json.dumps(dataclasses.asdict(case))]
    done = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        return {'row': dataclasses.asdict(case) | {'failed': f'exit status {done.returncode}'}}
    return json.loads(done.stdout.splitlines()[-1])


def collect(cases: list[Case], out: pathlib.Path | None) -> dict[str, Any]:
    """All cases; the JSON is written anew after each."""
    result: dict[str, Any] = {'rows': []}
    for case in cases:
        measured = in_own_process(case)
        result['rows'].append(measured.pop('row'))
        result = measured | result
        if out:
            out.write_text(json.dumps(result, indent=1) + '\n')
        print(f'{case.step} {case.dtype} {case.batch_size} {case.xla}: done', file=sys.stderr, flush=True)
    return result


def check(steps: list[str], smoke: bool) -> dict[str, Any]:
    """Losses of a small ResNet here, the first also on the CPU in float32; whether these agree and all fall."""
    encoder = 'cnn_small' if smoke else 'resnet_tiny'
    result: dict[str, Any] = {'rows': []}
    for step in steps:
        case = Case(step, 'float32', 64, encoder, images=256, check=CHECKED_STEPS)
        on_cpu = dataclasses.replace(case, check=1)
        (expected,) = in_own_process(on_cpu, JAX_PLATFORMS='cpu')['row']['losses']
        for dtype, tolerance in TOLERANCE.items():
            measured = in_own_process(dataclasses.replace(case, dtype=dtype))
            row = measured.pop('row')
            off = abs(row['losses'][0] / expected - 1)
            fell = statistics.mean(row['losses'][-4:]) < statistics.mean(row['losses'][:4])
            right = off < tolerance and fell and bool(np.isfinite(row['losses']).all())
            result = measured | result
            result['rows'].append(row | {'cpu_first_loss': expected, 'first_loss_off': off, 'right': right})
            print(f'{step} {dtype}: {"right" if right else "WRONG"}', file=sys.stderr, flush=True)
    return result


# ---------------------------------------------------------------- tables


def table(rows: list[dict[str, Any]]) -> str:
    titles = 'step | dtype | batch | ms a step | least | images/s | views/s | epoch s | of steps | MiB | TFLOP/s | MFU'
    lines = [f'| {titles} | idle | compile s |', '|---' * 14 + '|']
    for row in rows:
        name = [row['step'], row['dtype'], row['batch_size']]
        if 'step_seconds' not in row:
            lines.append(f'| {" | ".join(map(str, name))} | {row.get("refused") or row["failed"]} |')
            continue
        epochs, rate = row.get('epoch_seconds'), row.get('matrix_flops_per_second')
        cells = [
            *name,
            f'{1e3 * row["step_seconds"]:.2f}',
            f'{1e3 * row["step_seconds_least"]:.2f}',
            f'{row["images_per_second"]:,.0f}',
            f'{row["views_per_second"]:,.0f}' if 'views_per_second' in row else '',
            f'{statistics.mean(epochs):.3f}' if epochs else '',
            row.get('epoch_steps', ''),
            f'{(row["peak_bytes"] or row["program_bytes"]) / 2**20:,.0f}',
            f'{row["flops_per_second"] / 1e12:.3g}',
            f'{row["mfu"]:.1%} of {rate / 1e12:.3g}' if rate else '',
            f'{row["idle_share"]:.1%}, longest {row["longest_gap_ms"]:.2f} ms' if 'idle_share' in row else '',
            f'{row["compile_seconds"]:.1f}',
        ]
        lines.append(f'| {" | ".join(map(str, cells))} |')
    return '\n'.join(lines)


def sweep_table(rows: list[dict[str, Any]]) -> str:
    """Steps a second with each option beside the project's own, and against no options at all."""
    none = next((row for row in rows if row['xla'] == 'none' and 'step_seconds' in row), None)
    lines = ['| options | step | steps/s | of none | MiB | compile s |', '|---' * 6 + '|']
    for row in rows:
        name = f'| {row["xla"] or "the project’s own"} | {row["step"]} {row["batch_size"]} '
        if 'step_seconds' not in row:
            lines.append(f'{name}| {"refused" if "refused" in row else row["failed"]} | | | |')
            continue
        of_none = f'{none["step_seconds"] / row["step_seconds"]:.3f}' if none else ''
        memory = (row['peak_bytes'] or row['program_bytes']) / 2**20
        lines.append(
            f'{name}| {1 / row["step_seconds"]:.2f} | {of_none} | {memory:,.0f} | {row["compile_seconds"]:.1f} |'
        )
    return '\n'.join(lines)


def check_table(rows: list[dict[str, Any]]) -> str:
    lines = ['| step | dtype | first loss | off the CPU’s | last loss | right |', '|---' * 6 + '|']
    for row in rows:
        first, last = row['losses'][0], row['losses'][-1]
        name = f'{row["step"]} | {row["dtype"]}'
        lines.append(f'| {name} | {first:.4f} | {row["first_loss_off"]:.1e} | {last:.4f} | {row["right"]} |')
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--steps', nargs='+', choices=STEPS, default=STEPS)
    parser.add_argument('--batch', nargs='+', type=int, help='512 and 1024')
    parser.add_argument('--dtype', nargs='+', choices=('float32', 'bfloat16'), help='bfloat16')
    parser.add_argument('--images', type=int, default=0, help='of the data set; 50,000, on a CPU four batches')
    parser.add_argument('--trace', action='store_true')
    parser.add_argument('--xla', default='', help="name=value,...; 'none': no options")
    parser.add_argument('--xla-sweep', action='store_true')
    parser.add_argument('--check', action='store_true')
    parser.add_argument('--smoke', action='store_true')
    parser.add_argument('--out', type=pathlib.Path, help='JSON')
    parser.add_argument('--worker', help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(measure(Case(**json.loads(arguments.worker)))))
        return
    smoke = arguments.smoke
    if arguments.check:
        result = check(arguments.steps, smoke)
        if arguments.out:
            arguments.out.write_text(json.dumps(result, indent=1) + '\n')
        print(check_table(result['rows']))
        sys.exit(not all(row['right'] for row in result['rows']))
    tiny = {'encoder': 'cnn_small', 'images': 256, 'windows': 3, 'window_seconds': 0.2, 'matrix': 256} if smoke else {}
    settings = {'images': arguments.images, 'trace': arguments.trace, **tiny}
    batches = arguments.batch or ([64] if smoke else [512, 1024])
    dtypes = arguments.dtype or (['float32'] if smoke else ['bfloat16'])
    options = [arguments.xla]
    if arguments.xla_sweep:
        options = ['none', '', *(SWEEP[:2] if smoke else SWEEP), 'none']  # twice: how much two equal runs differ
        settings |= {'epochs': 0, 'windows': 3}
    grid = itertools.product(arguments.steps, dtypes, batches, options)
    cases = [Case(step, dtype, size, xla=xla, **settings) for step, dtype, size, xla in grid]
    result = collect(cases, arguments.out)
    print((sweep_table if arguments.xla_sweep else table)(result['rows']))


if __name__ == '__main__':
    main()
