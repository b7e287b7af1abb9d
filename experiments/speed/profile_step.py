"""What a step computes and what the device does meanwhile: FLOPs of a jaxpr, the matrix rate, profiler traces."""

import math
import pathlib
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

Event = tuple[str, float, float]  # name, start and end in ns


def flops(jaxpr: Any) -> int:
    """2 x the multiply-adds of the matrix products and convolutions of a jaxpr and of those inside it.

    A scan counts by its length, a branch by the largest; of a `while`, whose length is unknown, one turn.
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
    keys = jax.random.split(jax.random.key(0))
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


_INSTRUCTION = re.compile(r'%?([\w.-]+) = .*metadata=\{.*?op_name="([^"]*)"')
# The kind of a kernel by its own name, or by where in the step its work comes from; the first that fits.
_BY_NAME = (
    ('convolution', re.compile(r'fprop|dgrad|wgrad|conv|cudnn|winograd', re.I)),
    ('matrix product', re.compile(r'gemm|nvjet|cublas|cutlass|dot|splitk', re.I)),
    ('copies', re.compile(r'memcpy|memset|copy|transpose|concatenate|bitcast', re.I)),
)
_BY_PLACE = (
    ('convolution', re.compile(r'conv_general_dilated')),
    ('augmentation', re.compile(r'/augment/|\(augment\)')),
    ('optimiser', re.compile(r'/optimizer/')),
    ('BatchNorm', re.compile(r'norm\w*/|_bn\w*/|BatchNorm', re.I)),
    ('matrix product', re.compile(r'dot_general')),
)


def places(program: str) -> dict[str, str]:
    """Where in the step each instruction of a compiled program comes from, by its name as kernels have it."""
    found = (_INSTRUCTION.search(line) for line in program.splitlines())
    return {re.sub(r'[.-]', '_', match[1]): match[2] for match in found if match}


def kind_of(kernel: str, place: str) -> str:
    """What a kernel is for; the ReLU behind a BatchNorm is usually in the same kernel.

    Example:
      >>> kind_of('input_reduce_fusion_35', 'jit(run)/jvp(Network)/encoder/norm/reduce_sum')
      'BatchNorm'
    """
    by_name = next((kind for kind, pattern in _BY_NAME if pattern.search(kernel)), None)
    if by_name and by_name != 'copies':
        return by_name
    by_place = next((kind for kind, pattern in _BY_PLACE if pattern.search(place)), None)
    return by_place or by_name or ('other reductions' if 'reduce' in kernel else 'other elementwise')


def traced(do_steps: Callable[[int], Any], count: int, folder: pathlib.Path, program: str = '') -> dict[str, Any]:
    """How busy the device is during `do_steps(count)`, and with what; the trace is left in `folder`.

    `program` is the text of the compiled step, which says what its kernels are for.
    """
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # it would slow down the dispatch that is measured here
    with jax.profiler.trace(str(folder), profiler_options=options):
        do_steps(count)
    events = list(kernels(next(folder.rglob('*.xplane.pb'))))
    if not events:  # a driver that lets nobody look
        return {'kernels_per_step': 0}
    share, longest = gaps([(start, end) for _, start, end in events])
    times = Counter()
    for name, start, end in events:
        times[name] += end - start
    total, kinds, place = sum(times.values()), Counter(), places(program)
    for name, spent in times.items():
        kinds[kind_of(name, place.get(re.sub(r'[.-]', '_', name), ''))] += spent / total
    return {
        'idle_share': share,
        'longest_gap_ms': longest / 1e6,
        'kernels_per_step': len(events) / count,
        'kinds': dict(kinds.most_common()),
        'top_kernels': [{'name': name, 'share': spent / total} for name, spent in times.most_common(12)],
    }
