"""Seconds of training here against the same training in plain PyTorch: same networks, weights, batches and precision.

  python experiments/speed/against_torch.py --out against_torch.json    all cases, sizes by the device; a Markdown table
  ... --cases digits_simclr,resnet18_step --rounds 9
  ... --smoke                                                           small sizes; the numbers mean nothing

  digits_supervised     an epoch of configs/digits.py's classifier: cross-entropy, no augmentation
  digits_simclr         an epoch of its pre-training: two views, NT-Xent
  resnet18_step         a ResNet-18 classification step: crop and flip, cross-entropy
  resnet18_simclr_step  a ResNet-18 SimCLR step: crop, flip, colour jitter, grayscale, NT-Xent
  simclr_epoch          an epoch of the latter, data loading included

Epochs run through the project's own `fit`. Needs PyTorch (`pip install '.[against_torch]'`), and a C++ compiler for
torch.compile on a CPU. On a GPU: bfloat16, larger batches, 50,000 images.

PyTorch takes part in up to four ways:
  loader            Dataset and DataLoader with worker processes, augmentation per image on the host: the usual way
  tensors           the whole data set as one tensor on the device, augmentation batched there, no DataLoader
  tensors,compiled  the same, augmentation, network and loss under one torch.compile
  loader,compiled   the usual way with a compiled network (on a GPU)
All have channels_last, fused optimisers and no synchronisation within an epoch; on a GPU also autocast to bfloat16,
TF32 for what stays float32, cuDNN's autotuning and pinned memory.

Before the clock runs, both sides take three steps in float32 from the same weights on the same augmented images: losses
must agree to 1e-3, gradients of the last layer to 1e-2 and of the first to 5e-2, or the script stops. Then rounds
alternate: ours, each of PyTorch's ways, ours, ... The first round of each compiles and is reported apart.
"""

import functools
import multiprocessing
import os
import pathlib
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault('XLA_PYTHON_CLIENT_MEM_FRACTION', '0.45')  # leave PyTorch its half of a GPU

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from ml_collections import ConfigDict

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from experiments import record
from experiments.speed import steps
from experiments.speed.torch_training import (
    TEMPERATURE,
    Case,
    as_float,
    device,
    objective,
    torch_network,
    torch_optimizer,
    torch_rounds,
)
from noisy_jax import losses, models
from noisy_jax.data import augment as aug
from noisy_jax.data import digits
from noisy_jax.data.dataset import Dataset
from noisy_jax.methods.classification import classification_step
from noisy_jax.methods.simclr import contrastive_step
from noisy_jax.training import compiling, optim, state
from noisy_jax.training.stage import Stage
from noisy_jax.training.steps import Learner, Step, normaliser

PARITY_STEPS, LOSS_TOLERANCE = 3, 1e-3
# In a fresh ResNet-18 a few units change sides of the ReLU by rounding alone: PyTorch's first gradient in float32 is up
# to 1.5e-2 away from its own in float64, the last one 1e-5.
GRADIENT_TOLERANCE = {'last': 1e-2, 'first': 5e-2}
ADAMW = {'name': 'adamw', 'learning_rate': 2e-3, 'weight_decay': 1e-4}  # configs/digits.py
SGD = {'name': 'sgd', 'learning_rate': 0.01, 'weight_decay': 1e-4, 'momentum': 0.9}  # configs/cifar10.py
GRAY_MOMENTS = (0.305,), (0.376,)


# ---------------------------------------------------------------- ours


def our_network(case: Case, dtype: str) -> models.Network:
    size = case.data.image.shape[1]
    return models.create({'encoder': case.encoder, 'dtype': dtype}, num_classes=case.data.num_classes, image_size=size)


def our_variables(case: Case) -> dict[str, Any]:
    """Fresh weights and statistics as NumPy arrays: what both sides start from."""
    network = our_network(case, 'float32')
    images = jnp.zeros((2, *case.data.image.shape[1:]))
    return jax.tree.map(np.asarray, network.init(jax.random.key(case.seed), images, train=False))


def our_optimizer(case: Case, *, epochs: int, schedule: str) -> optax.GradientTransformation:
    steps_per_epoch = max(len(case.data) // case.batch, 1)
    plan = {'epochs': epochs, 'steps_per_epoch': steps_per_epoch, 'batch_size': case.batch}
    return optim.optimizer(case.optimizer | {'schedule': schedule}, **plan)


def our_step(case: Case, optimizer: optax.GradientTransformation, dtype: str) -> Step:
    """The project's step of this case."""
    normalise = normaliser(*case.moments)
    learner = Learner(our_network(case, dtype), optimizer, aug.policy(case.augment), normalise, case.trained)
    if case.kind == 'supervised':
        return classification_step(learner, losses.criterion('ce'))

    def loss(z1: jax.Array, z2: jax.Array, batch: dict) -> jax.Array:
        del batch
        return losses.nt_xent(z1, z2, temperature=TEMPERATURE)

    return contrastive_step(learner, loss)


def our_state(case: Case, variables: dict[str, Any], optimizer: optax.GradientTransformation) -> state.TrainState:
    return state.create(jax.tree.map(jnp.array, variables), optimizer, case.trained)  # copies: steps donate it


def jit_step(step: Callable) -> Callable:
    """Jits a step, or a step with something before it, as the project does."""
    return jax.jit(step, donate_argnums=0, compiler_options=compiling.compiler_options())


def our_views(case: Case, images: np.ndarray, key: jax.Array, step: int) -> np.ndarray:
    """The float images [B or 2B, H, W, C] that our step `step` makes of `images`, before they are normalised."""
    policy, key = aug.policy(case.augment), jax.random.fold_in(key, step)
    if case.kind == 'supervised':
        return np.asarray(jax.jit(functools.partial(aug.apply, policy))(key, images))
    views = np.asarray(jax.jit(functools.partial(aug.two_views, policy))(key, images))  # [B, 2, H, W, C]
    return views.reshape(-1, *views.shape[2:])


Between = Callable[[float], None]  # called after each of our rounds with its seconds


def our_rounds(case: Case, variables: dict[str, Any], rounds: int, between: Between) -> None:
    """Trains `rounds` epochs with `fit`, or `rounds` times `case.steps` steps of its program."""
    optimizer = our_optimizer(case, epochs=rounds, schedule='cosine')
    made = our_step(case, optimizer, case.dtype), our_state(case, variables, optimizer)
    with tempfile.TemporaryDirectory() as name, steps.session(pathlib.Path(name), seed=case.seed) as session:
        if case.unit == 'step':
            program = steps.Program(*made, session, case.data, case.batch)
            for _ in range(rounds):
                start = time.perf_counter()
                program.steps(case.steps)
                between(time.perf_counter() - start)
            return
        start = time.perf_counter()

        def after_epoch(_: Any, current: state.TrainState) -> None:
            nonlocal start
            jax.block_until_ready(current)
            between(time.perf_counter() - start)
            start = time.perf_counter()

        stage = Stage('all', case.trained, rounds, case.batch, ConfigDict(case.optimizer))
        steps.through_fit(made, stage, session, case.data, pathlib.Path(name), after_epoch)


# ---------------------------------------------------------------- comparison


def our_parity(case: Case, variables: dict, batches: list[np.ndarray], key: jax.Array) -> tuple[list, dict]:
    """Losses of a few steps in float32, and the first gradients of the watched layers."""
    # `trace` without decay keeps the gradient as it is.
    optimizer = optax.chain(optax.trace(decay=0.0), our_optimizer(case, epochs=1, schedule='constant'))
    current, values, gradients = our_state(case, variables, optimizer), [], {}
    with jax.default_matmul_precision('highest'):
        step = jit_step(our_step(case, optimizer, 'float32'))
        for index in batches:
            rows = {'image': case.data.image, 'label': case.data.label, 'weight': case.data.weight}
            batch = {name: jnp.asarray(array[index]) for name, array in rows.items()}
            current, metrics = step(current, {**batch, 'index': jnp.asarray(index)}, key)
            values.append(float(metrics['loss']))
            if not gradients:
                tree = current.opt_state[0].trace
                gradients = {name: np.asarray(tree[part][at]['kernel']) for name, (part, at) in case.watched.items()}
    return values, gradients


def torch_parity(case: Case, variables: dict, batches: list[np.ndarray], key: jax.Array) -> tuple[list, dict]:
    """The same of PyTorch, on the images that our steps make."""
    network = torch_network(case, variables)
    optimizer, loss_of = torch_optimizer(case, network), objective(case, network)
    values, gradients = [], {}
    for number, index in enumerate(batches):
        views = torch.tensor(our_views(case, case.data.image[index], key, number), device=device())
        labels = torch.tensor(case.data.label[index], device=device()).long()
        loss, _ = loss_of(as_float(views), labels)
        loss.backward()
        if not gradients:
            layers = {name: network.get_submodule('.'.join(path)) for name, path in case.watched.items()}
            gradients = {name: layer.weight.grad.cpu().numpy().T for name, layer in layers.items()}
        optimizer.step()
        optimizer.zero_grad()
        values.append(loss.item())
    return values, gradients


def check_parity(case: Case, variables: dict[str, Any]) -> dict[str, float]:
    """Relative differences of losses and gradients; stops the script where they are too large."""
    order = case.data.order(case.seed, 0, batch_size=case.batch)
    batches, key = [order[step % len(order)] for step in range(PARITY_STEPS)], jax.random.key(case.seed)
    precise_float32(True)
    ours, our_gradients = our_parity(case, variables, batches, key)
    theirs, gradients = torch_parity(case, variables, batches, key)
    precise_float32(False)
    apart = {f'loss_{step}': abs(a - b) / abs(a) for step, (a, b) in enumerate(zip(ours, theirs, strict=True))}
    limits = dict.fromkeys(apart, LOSS_TOLERANCE)
    for name, mine in our_gradients.items():
        other = gradients[name].transpose(1, 0, 2, 3) if mine.ndim == 4 else gradients[name]  # [W, H, I, O] before
        apart[f'gradient_{name}'] = float(np.linalg.norm(mine - other) / np.linalg.norm(mine))
        limits[f'gradient_{name}'] = GRADIENT_TOLERANCE[name]
    wrong = [f'{name} {value:.1e}' for name, value in apart.items() if not value <= limits[name]]
    if wrong:
        raise SystemExit(f'{case.name}: PyTorch does not compute the same: {", ".join(wrong)}; {ours} and {theirs}')
    return apart


def precise_float32(precise: bool) -> None:
    """How a GPU multiplies float32: as it says, or as TF32 (JAX's default there)."""
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision('highest' if precise else 'high')
        torch.backends.cudnn.allow_tf32 = not precise


def summary(seconds: list[float], per: int) -> dict[str, Any]:
    """Of a round's seconds, the first one apart (it compiles); per step where a round has several."""
    first, *rest = [value / per for value in seconds]
    return {
        'min': min(rest),
        'median': statistics.median(rest),
        'first_round': first * per,
        'seconds': rest,
    }


def compare(case: Case, patience: float) -> dict[str, Any]:
    """Parity, then the rounds of both sides by turns, each after up to `patience` seconds for an idle CPU."""
    busy = busy_elsewhere()
    say(f'{case.name}, batch {case.batch}, {case.dtype}: parity; others take {busy or 0:.0%} of the CPU')
    variables = our_variables(case)
    parity = check_parity(case, variables)
    sides = {way: torch_rounds(case, variables, way) for way in case.ways}
    seconds: dict[str, list[float]] = {'ours': [], **{way: [] for way in sides}}
    failed: dict[str, str] = {}

    def between(value: float) -> None:
        seconds['ours'].append(value)
        for way in list(sides):
            wait_for_quiet(patience)
            try:
                seconds[way].append(next(sides[way]))
            except Exception as error:  # torch.compile may fail on a machine; the other ways still count
                failed[way] = f'{type(error).__name__}: {error}'.splitlines()[0]
                del sides[way], seconds[way]
        wait_for_quiet(patience)
        say(f'{case.name}: ' + ', '.join(f'{name} {values[-1]:.3f} s' for name, values in seconds.items()))

    our_rounds(case, variables, case.rounds + 1, between)
    results = {name: summary(values, case.steps or 1) for name, values in seconds.items()}
    mine = results.pop('ours')
    for theirs in results.values():
        theirs['ratio_median'] = theirs['median'] / mine['median']
        theirs['ratio_min'] = theirs['min'] / mine['min']
    usual = case.ways[0].startswith('loader') and case.ways[0] in results
    headline = case.ways[0] if usual else min(results, key=lambda way: results[way]['median'], default=None)
    return {
        'name': case.name,
        'unit': case.unit,
        'batch': case.batch,
        'dtype': case.dtype,
        'images': len(case.data),
        'parity': parity,
        'cpu_busy_elsewhere': (busy, busy_elsewhere()),
        'ours': mine,
        'torch': results,
        'failed': failed,
        'headline': headline,
        'ratio': results[headline]['ratio_median'] if headline else None,
    }


def table(results: list[dict[str, Any]]) -> str:
    """Markdown; a ratio above 1: PyTorch takes longer."""

    def times(values: dict[str, float]) -> str:
        return f'{1e3 * values["median"]:.2f} ({1e3 * values["min"]:.2f})'

    rows = []
    for case in results:
        for way, theirs in case['torch'].items():
            ratio = f'{theirs["ratio_median"]:.2f}'
            ratio = f'**{ratio}**' if way == case['headline'] else ratio
            known = (case['name'], case['batch'], case['dtype'], case['unit'], times(case['ours']))
            rows.append((*known, way, times(theirs), f'{ratio} ({theirs["ratio_min"]:.2f})'))
        rows += [(case['name'], case['batch'], '', '', '', way, why, '') for way, why in case['failed'].items()]
    titles = ('case', 'batch', 'precision', 'per', 'noisy_jax: median (min) ms', 'PyTorch', 'median (min) ms')
    return record.markdown((*titles, 'ratio (of min)'), rows)


# ---------------------------------------------------------------- cases


def random_images(count: int, seed: int, size: int = 32) -> Dataset:
    """Random colour gradients with some grain [count, size, size, 3], with random labels."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (count, 4, 4, 3)).astype(np.float32)
    place = np.linspace(0, 3, size, dtype=np.float32)
    weights = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(4, dtype=np.float32)))  # [size, 4]
    images = np.einsum('yh,nhwc->nywc', weights, coarse, optimize=True)
    images = np.einsum('xw,nywc->nyxc', weights, images, optimize=True)
    images += 16 * rng.standard_normal(images.shape, np.float32)
    names = tuple(f'class {number}' for number in range(10))
    return Dataset(images.clip(0, 255).astype(np.uint8), rng.integers(0, 10, count), names)


def cases(names: list[str], *, smoke: bool, compiled: bool, rounds: int, seed: int, mode: str = '') -> Iterator[Case]:
    """The cases of these names at sizes for this device."""
    gpu = torch.cuda.is_available()
    ways = ('tensors', 'tensors,compiled') if compiled else ('tensors',)
    usual = 'loader,compiled' if gpu and compiled else 'loader'
    # Digits are so small that the launches of kernels are what takes time on a GPU: CUDA graphs ('reduce-overhead').
    # A ResNet keeps the GPU busy; there the choice of kernels counts, and graphs would only copy the inputs.
    tiny_mode, large_mode = ('reduce-overhead', 'max-autotune-no-cudagraphs') if gpu else ('default', 'default')
    tiny_mode, large_mode = mode or tiny_mode, mode or large_mode

    common = {'seed': seed, 'workers': min(os.cpu_count() or 2, 16) if gpu else 2}
    small = {'encoder': 'cnn_small', 'data': digits.load('train', 300 if smoke else 0), 'moments': GRAY_MOMENTS}
    small |= {
        'unit': 'epoch',
        'ways': (usual, *ways),
        'compile_mode': tiny_mode,
        'rounds': rounds or (2 if smoke else 20),
    }
    if 'digits_supervised' in names:
        adamw = {**ADAMW, 'encoder_scale': 0.1}
        yield Case(
            'digits_supervised', kind='supervised', batch=128, augment='none', optimizer=adamw, **small, **common
        )
    if 'digits_simclr' in names:
        yield Case('digits_simclr', kind='simclr', batch=256, augment='handwriting', optimizer=ADAMW, **small, **common)

    large = {
        'encoder': 'resnet_tiny' if smoke else 'resnet18',
        'optimizer': SGD,
        'moments': steps.RGB_MOMENTS,
        'compile_mode': large_mode,
    }
    large |= {'dtype': 'bfloat16' if gpu and not smoke else 'float32'}
    of_steps = {
        'unit': 'step',
        'ways': ways,
        'steps': 2 if smoke else 30 if gpu else 3,
        'rounds': rounds or (2 if smoke else 5),
    }
    for name, kind, augment, batches in (
        ('resnet18_step', 'supervised', 'standard', (64,)),
        ('resnet18_simclr_step', 'simclr', 'simclr', (32,)),
    ):
        for batch in (8,) if smoke else (512, 1024) if gpu else batches:
            if name in names:
                data = random_images(8 * batch, seed)
                yield Case(name, kind=kind, batch=batch, augment=augment, data=data, **large, **of_steps, **common)
    if 'simclr_epoch' in names:
        count, batch = (32, 8) if smoke else (50_000, 512) if gpu else (512, 64)
        yield Case(
            'simclr_epoch',
            unit='epoch',
            kind='simclr',
            batch=batch,
            augment='simclr',
            data=random_images(count, seed),
            rounds=rounds or (3 if gpu else 2),
            ways=(ways[-1], usual) if gpu else (usual, ways[-1]),  # an epoch is long: the best of the two
            **large,
            **common,
        )


CASES = ('digits_supervised', 'digits_simclr', 'resnet18_step', 'resnet18_simclr_step', 'simclr_epoch')


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def busy_elsewhere(seconds: float = 0.5) -> float | None:
    """The share of the CPU that other programs take while this one sleeps; None where it cannot be told."""
    stat = pathlib.Path('/proc/stat')
    if not stat.exists():
        return None
    ticks = []
    for wait in (seconds, 0):
        ticks.append(np.array(stat.read_text().split('\n', 1)[0].split()[1:], float))
        time.sleep(wait)
    spent = ticks[1] - ticks[0]  # user, nice, system, idle, waiting for input, ...
    return float(1 - (spent[3] + spent[4]) / spent.sum())


def wait_for_quiet(patience: float) -> None:
    """Two threads that wait for each other suffer far more from a third program than one does."""
    end = time.monotonic() + patience
    while time.monotonic() < end and (busy_elsewhere(0.2) or 0) > 0.1:
        pass


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument('--cases', default=','.join(CASES), help='some of them, with commas between')
    parser.add_argument('--rounds', type=int, default=0, help='timed rounds; 0: by case')
    parser.add_argument('--compile', choices=('auto', 'on', 'off'), default='auto', help='auto: not in a smoke test')
    parser.add_argument('--mode', default='', help="of torch.compile, such as 'default'; else the fastest, by case")
    parser.add_argument('--threads', type=int, default=0, help="PyTorch's on the CPU; 0: one per core")
    parser.add_argument('--wait', type=float, default=0, help='seconds at most before a round for an idle CPU')
    parser.add_argument('--seed', type=int, default=0)
    arguments = parser.parse_args()
    names = arguments.cases.split(',')
    if unknown := set(names) - set(CASES):
        parser.error(f'--cases: {", ".join(sorted(unknown))} is unknown; allowed: {", ".join(CASES)}')
    if torch.cuda.is_available() != (jax.default_backend() == 'gpu'):
        parser.error(f'JAX runs on {jax.default_backend()}, PyTorch on {device()}: both need the same device')

    threads = arguments.threads or os.cpu_count() or 2
    torch.set_num_threads(threads)
    torch.manual_seed(arguments.seed)
    multiprocessing.set_forkserver_preload(['torch', 'noisy_jax.training.loop'])  # loader workers start at once
    torch.backends.cudnn.benchmark = True
    has_compiler = torch.cuda.is_available() or shutil.which(os.environ.get('CXX', 'g++')) is not None
    compiled = has_compiler and not arguments.smoke if arguments.compile == 'auto' else arguments.compile == 'on'
    report = {'device': record.device(), 'versions': record.versions('torch'), 'torch_threads': threads}
    report |= {'seed': arguments.seed, 'smoke': arguments.smoke, 'cases': []}
    sizes = {'smoke': arguments.smoke, 'rounds': arguments.rounds, 'seed': arguments.seed}
    report['compile_mode'] = arguments.mode
    for case in cases(names, compiled=compiled, mode=arguments.mode, **sizes):
        report['cases'].append(compare(case, arguments.wait))
        record.save(arguments.out, report)
    print(table(report['cases']))


if __name__ == '__main__':
    main()
