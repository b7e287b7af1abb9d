"""Training steps of ResNet-18 on one device: images/s, epochs end to end, memory, FLOPs against the matrix rate.

  python experiments/speed/throughput.py --out throughput.json    all steps; bfloat16
  ... --steps simclr --batch 512 --trace    and what the kernels are for, how long the device waits
  ... --xla=name=value,...                  with other options of the compiler
  ... --xla-sweep --steps simclr            XLA's GPU options one at a time, against none
  ... --check                               is the first loss the CPU's, do losses fall
  ... --smoke                               the small CNN; the numbers mean nothing

The programs are those of `fit` (steps.py). Each case has a process of its own, so that memory, compilation and
autotuning are its own too.

  ms a step   median and least over windows of many steps, synchronised at their ends only
  epoch       through `fit`, from its journal: epochs 2 and 3 of 3, with order, feed, metrics; steps x batch images
  memory      the most that was in use on the device, else what the compiled program needs
  FLOPs       2 x multiply-adds of all convolutions and matrix products of the step's jaxpr
  MFU         FLOPs a second / those of one large matrix product in the step's dtype, measured in the same process
"""

import dataclasses
import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import jax
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from experiments import record
from experiments.speed import profile_step, steps
from noisy_jax.errors import InputError
from noisy_jax.training import compiling
from noisy_jax.training.journal import Journal

IMAGES, TRACED_STEPS, CHECKED_STEPS = 50_000, 20, 200
TOLERANCE = {'float32': 2e-2, 'bfloat16': 5e-2}  # of the first loss; a GPU multiplies float32 in TF32
# By default command buffers (CUDA graphs) hold fusions and matrix products, and each convolution ends one.
_COMMANDS = 'FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,CONVOLUTION'
SWEEP = (
    'xla_gpu_enable_command_buffer=',
    f'xla_gpu_enable_command_buffer={_COMMANDS}',
    'xla_gpu_command_buffer_update_mode=NEVER_UPDATE',
    'xla_gpu_graph_min_graph_size=1',
    'xla_gpu_experimental_enable_conv_fusion=true',
    'xla_gpu_force_conv_nhwc=true',
    'xla_gpu_use_runtime_fusion=true',
    'xla_gpu_enable_latency_hiding_scheduler=true',
    'xla_gpu_enable_triton_gemm=false',
    'xla_gpu_cudnn_gemm_fusion_level=2',
    'xla_gpu_experimental_enable_fusion_autotuner=true',
)


@dataclasses.dataclass(frozen=True)
class Case(steps.Case):
    """One measurement.

    Attributes:
      images: of the data set; 0: as CIFAR-10, on a CPU four batches.
      windows: of many steps, each timed as a whole.
      window_seconds: of each window, about.
      epochs: through `fit`; 0: only steps.
      matrix: the side of the matrix product; 0: 8192, on a CPU 2048.
      trace: whether the profiler records some steps.
      xla: options as in the config.
      check: only the losses of so many steps.
    """

    images: int = 0
    windows: int = 5
    window_seconds: float = 2.0
    epochs: int = 3
    matrix: int = 0
    trace: bool = False
    xla: str = ''
    check: int = 0


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
            with steps.session(pathlib.Path(folder), compiler_options=options) as session:
                row = {'compiler_options': options, **_measured(case, session, pathlib.Path(folder))}
    on = {'device': record.device(), 'platform': jax.default_backend(), 'versions': record.versions()}
    return on | {'seed': steps.SEED, 'row': dataclasses.asdict(case) | row}


def _measured(case: Case, session: Any, folder: pathlib.Path) -> dict[str, Any]:
    on_cpu = jax.default_backend() == 'cpu'
    data = steps.images(case.images or (4 * case.batch_size if on_cpu else IMAGES))
    program = steps.Program(*steps.build(case, data), session, data, case.batch_size)
    if case.check:
        return {'losses': [float(values['loss']) for values in program.steps(case.check)]}
    compiled, text = _compiled(program)
    row = {'images': len(data), **compiled, **_windows(program, case)}
    row['peak_bytes'] = (jax.devices()[0].memory_stats() or {}).get('peak_bytes_in_use')
    if case.trace:
        row |= profile_step.traced(program.steps, TRACED_STEPS, folder / 'trace', text)
    if case.epochs:
        row |= _epochs(case, session, data, folder)
        row['matrix_flops_per_second'] = profile_step.matrix_rate(case.dtype, case.matrix or (2048 if on_cpu else 8192))
    return row | _rates(case, row)


def _compiled(program: steps.Program) -> tuple[dict[str, Any], str]:
    """FLOPs, seconds of compilation and bytes of the program; its text."""
    traced = program.run.trace(*program.arguments)
    started = time.perf_counter()
    compiled = traced.lower().compile()
    seconds, memory = time.perf_counter() - started, compiled.memory_analysis()
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    sizes = {
        'flops': profile_step.flops(traced.jaxpr),
        'compile_seconds': seconds,
        'program_bytes': memory.argument_size_in_bytes + memory.temp_size_in_bytes + results,
    }
    return sizes, compiled.as_text()


def _windows(program: steps.Program, case: Case) -> dict[str, Any]:
    """Seconds of a step in each of several windows."""

    def timed(count: int) -> float:
        started = time.perf_counter()
        program.steps(count)
        return (time.perf_counter() - started) / count

    timed(3)
    count = max(round(case.window_seconds / timed(5)), 5)
    return {'window_steps': count, 'window_step_seconds': [timed(count) for _ in range(case.windows)]}


def _epochs(case: Case, session: Any, data: Any, folder: pathlib.Path) -> dict[str, Any]:
    """Seconds of every epoch but the first, as the journal counts them."""
    counted: list[float] = []

    def after_epoch(journal: Journal, _: Any) -> None:
        counted.append(journal.record['image_seconds'])

    made = steps.build(case, data)
    journal = steps.through_fit(made, case.stage(case.epochs), session, data, folder, after_epoch)
    number = len(data) // case.batch_size
    return {
        'epoch_seconds': np.diff(counted).tolist(),
        'epoch_steps': number,
        'epoch_images': number * case.batch_size,
        'epoch_images_per_second': journal.summary()['images_per_second'],
    }


def _rates(case: Case, row: dict[str, Any]) -> dict[str, Any]:
    seconds = statistics.median(row['window_step_seconds'])
    rates = {
        'step_seconds': seconds,
        'step_seconds_least': min(row['window_step_seconds']),
        'images_per_second': case.batch_size / seconds,
        'flops_per_second': row['flops'] / seconds,
    }
    if case.step in steps.CONTRASTIVE:
        rates['views_per_second'] = 2 * rates['images_per_second']
    if 'matrix_flops_per_second' in row:
        rates['mfu'] = rates['flops_per_second'] / row['matrix_flops_per_second']
    return rates


def in_own_process(case: Case, **environment: str) -> dict[str, Any]:
    """`measure(case)`; a case that fails (out of memory) leaves the others alone."""
    known = dataclasses.asdict(case)
    try:
        return record.in_own_process('experiments.speed.throughput', json.dumps(known), **environment)
    except subprocess.CalledProcessError as error:
        return {'row': known | {'failed': f'exit status {error.returncode}'}}


def collect(cases: list[Case], out: pathlib.Path | None) -> dict[str, Any]:
    """All cases; the JSON is written anew after each."""
    result: dict[str, Any] = {'rows': []}
    for case in cases:
        measured = in_own_process(case)
        result['rows'].append(measured.pop('row'))
        result = measured | result
        record.save(out, result)
        print(f'{case.step} {case.dtype} {case.batch_size} {case.xla}: done', file=sys.stderr, flush=True)
    return result


def check(names: list[str], smoke: bool) -> dict[str, Any]:
    """Losses of a small ResNet here, the first also on the CPU in float32; whether these agree and all fall."""
    result: dict[str, Any] = {'rows': []}
    for step in names:
        encoder, count = ('cnn_small', 40) if smoke else ('resnet_tiny', CHECKED_STEPS)
        case = Case(step, 'float32', 64, encoder, images=256, check=count)
        on_cpu = in_own_process(dataclasses.replace(case, check=1), JAX_PLATFORMS='cpu')
        (expected,) = on_cpu['row']['losses']
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


def _memory(row: dict[str, Any]) -> str:
    return f'{(row["peak_bytes"] or row["program_bytes"]) / 2**20:,.0f}'


def table(rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        name = row['step'], row['dtype'], row['batch_size']
        if 'step_seconds' not in row:
            lines.append((*name, row.get('refused') or row['failed']))
            continue
        epochs, rate = row.get('epoch_seconds'), row.get('matrix_flops_per_second')
        lines.append(
            (
                *name,
                f'{1e3 * row["step_seconds"]:.2f}',
                f'{1e3 * row["step_seconds_least"]:.2f}',
                f'{row["images_per_second"]:,.0f}',
                f'{row["views_per_second"]:,.0f}' if 'views_per_second' in row else '',
                f'{statistics.mean(epochs):.3f}' if epochs else '',
                row.get('epoch_steps', ''),
                _memory(row),
                f'{row["flops_per_second"] / 1e12:.3g}',
                f'{row["mfu"]:.1%} of {rate / 1e12:.3g}' if rate else '',
                f'{row["idle_share"]:.1%}, longest {row["longest_gap_ms"]:.2f} ms' if 'idle_share' in row else '',
                f'{row["compile_seconds"]:.1f}',
            )
        )
    titles = 'step,dtype,batch,ms a step,least,images/s,views/s,epoch s,of steps,MiB,TFLOP/s,MFU,idle,compile s'
    return record.markdown(titles.split(','), lines)


def kinds_table(rows: list[dict[str, Any]]) -> str:
    """Milliseconds of a step by what its kernels are for."""
    traced = [row for row in rows if 'kinds' in row]
    kinds = sorted({kind for row in traced for kind in row['kinds']})
    lines = []
    for row in traced:
        busy = 1e3 * row['step_seconds'] * (1 - row['idle_share'])
        times = (f'{busy * row["kinds"].get(kind, 0):.2f}' for kind in kinds)
        lines.append((row['step'], row['batch_size'], *times, f'{row["kernels_per_step"]:.0f}'))
    return record.markdown(('step', 'batch', *(f'{kind}, ms' for kind in kinds), 'kernels'), lines)


def sweep_table(rows: list[dict[str, Any]]) -> str:
    """Steps a second with each option beside the project's own, and against no options at all."""
    none = next((row for row in rows if row['xla'] == 'none' and 'step_seconds' in row), None)
    lines = []
    for row in rows:
        name = row['xla'] or 'the project’s own', f'{row["step"]} {row["batch_size"]}'
        if 'step_seconds' not in row:
            lines.append((*name, 'refused' if 'refused' in row else row['failed'], '', '', ''))
            continue
        of_none = f'{none["step_seconds"] / row["step_seconds"]:.3f}' if none else ''
        rates = f'{1 / row["step_seconds"]:.2f}', of_none
        lines.append((*name, *rates, _memory(row), f'{row["compile_seconds"]:.1f}'))
    return record.markdown(('options', 'step', 'steps/s', 'of none', 'MiB', 'compile s'), lines)


def check_table(rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        losses = f'{row["losses"][0]:.4f}', f'{row["first_loss_off"]:.1e}', f'{row["losses"][-1]:.4f}'
        lines.append((row['step'], row['dtype'], *losses, row['right']))
    return record.markdown(('step', 'dtype', 'first loss', 'off the CPU’s', 'last loss', 'right'), lines)


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument('--steps', nargs='+', choices=steps.NAMES, default=steps.NAMES)
    parser.add_argument('--batch', nargs='+', type=int, help='512 and 1024')
    parser.add_argument('--dtype', nargs='+', choices=('float32', 'bfloat16'), help='bfloat16')
    parser.add_argument('--images', type=int, default=0, help='of the data set; 50,000, on a CPU four batches')
    parser.add_argument('--trace', action='store_true')
    parser.add_argument('--quick', action='store_true', help='three windows of a second, no epochs')
    parser.add_argument('--xla', default='', help="name=value,...; 'none': no options")
    parser.add_argument('--xla-sweep', action='store_true')
    parser.add_argument('--check', action='store_true')
    parser.add_argument('--worker', help='a case in JSON, for processes of this script')
    arguments = parser.parse_args()
    smoke = arguments.smoke
    if arguments.worker:
        print(json.dumps(measure(Case(**json.loads(arguments.worker)))))
        return
    if arguments.check:
        result = check(arguments.steps, smoke)
        record.save(arguments.out, result)
        print(check_table(result['rows']))
        sys.exit(not all(row['right'] for row in result['rows']))
    tiny = {'encoder': 'cnn_small', 'images': 256, 'windows': 3, 'window_seconds': 0.2, 'matrix': 256} if smoke else {}
    settings = {'images': arguments.images, 'trace': arguments.trace, **tiny}
    batches = arguments.batch or ([64] if smoke else [512, 1024])
    dtypes = arguments.dtype or (['float32'] if smoke else ['bfloat16'])
    if arguments.quick:
        settings |= {'epochs': 0, 'windows': 3, 'window_seconds': tiny.get('window_seconds', 1.0)}
    options = [arguments.xla]
    if arguments.xla_sweep:
        options = ['none', '', *(SWEEP[:1] if smoke else SWEEP), 'none']  # twice: how much two equal runs differ
        settings |= {'epochs': 0, 'windows': 3}
    grid = itertools.product(arguments.steps, dtypes, batches, options)
    cases = [Case(step, dtype, size, xla=xla, **settings) for step, dtype, size, xla in grid]
    result = collect(cases, arguments.out)
    print((sweep_table if arguments.xla_sweep else table)(result['rows']))
    if arguments.trace:
        print(kinds_table(result['rows']))


if __name__ == '__main__':
    main()
