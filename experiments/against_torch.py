"""Seconds of training here against the same training in plain PyTorch: same networks, weights, batches and precision.

  python experiments/against_torch.py --out against_torch.json     all cases, sizes by the device; a Markdown table
  python experiments/against_torch.py --cases digits_simclr,resnet18_step --rounds 9
  python experiments/against_torch.py --smoke                      small sizes; the numbers mean nothing

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

import argparse
import dataclasses
import functools
import importlib.metadata
import json
import math
import multiprocessing
import os
import pathlib
import platform
import random
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
import torch.nn.functional as F
from PIL import Image, ImageEnhance
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data import Dataset as TorchDataset

from noisy_jax import losses, models
from noisy_jax.data import augment as aug
from noisy_jax.data import digits
from noisy_jax.data.dataset import Dataset
from noisy_jax.training import compiling, mesh, optim, state
from noisy_jax.training.checkpoints import Checkpoints
from noisy_jax.training.loop import Journal, Session, Stage, fit
from noisy_jax.training.metrics import MetricWriter
from noisy_jax.training.signals import StopSignal
from noisy_jax.training.steps import Step, classification_step, contrastive_step, normaliser

TEMPERATURE = 0.5
PARITY_STEPS, LOSS_TOLERANCE = 3, 1e-3
# In a fresh ResNet-18 a few units change sides of the ReLU by rounding alone: PyTorch's first gradient in float32 is up
# to 1.5e-2 away from its own in float64, the last one 1e-5.
GRADIENT_TOLERANCE = {'last': 1e-2, 'first': 5e-2}
ADAMW = {'name': 'adamw', 'learning_rate': 2e-3, 'weight_decay': 1e-4}  # configs/digits.py
SGD = {'name': 'sgd', 'learning_rate': 0.01, 'weight_decay': 1e-4, 'momentum': 0.9}  # configs/cifar10.py
GRAY_MOMENTS = (0.305,), (0.376,)
RGB_MOMENTS = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


@dataclasses.dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
      unit: 'epoch' or 'step', what the seconds are for.
      kind: 'supervised' or 'simclr'.
      augment: a policy of `noisy_jax.data.augment`, with its default settings on both sides.
      steps: steps of a round where the unit is 'step'.
      ways: PyTorch's ways of taking part; the first is the headline where it is a loader, else the fastest is.
      compile_mode: of torch.compile.
    """

    name: str
    unit: str
    kind: str
    encoder: str
    batch: int
    augment: str
    optimizer: dict[str, Any]
    moments: tuple[tuple[float, ...], tuple[float, ...]]
    data: Dataset
    rounds: int
    ways: tuple[str, ...]
    dtype: str = 'float32'
    steps: int = 0
    workers: int = 2
    compile_mode: str = 'default'
    seed: int = 0

    @property
    def trained(self) -> tuple[str, ...]:
        return optim.CLASSIFIER if self.kind == 'supervised' else optim.REPRESENTATION

    @property
    def watched(self) -> dict[str, tuple[str, ...]]:
        """The layers whose gradients are compared."""
        last = ('classifier', 'linear') if self.kind == 'supervised' else ('projection', 'out')
        return {'last': last, 'first': ('encoder', 'conv1' if self.encoder == 'cnn_small' else 'stem_conv')}


# ---------------------------------------------------------------- ours


def our_network(case: Case, dtype: str) -> models.Network:
    size = case.data.image.shape[1]
    return models.create(case.encoder, num_classes=case.data.num_classes, dtype=jnp.dtype(dtype), image_size=size)


def our_variables(case: Case) -> dict[str, Any]:
    """Fresh weights and statistics as NumPy arrays: what both sides start from."""
    network = our_network(case, 'float32')
    images = jnp.zeros((2, *case.data.image.shape[1:]))
    return jax.tree.map(np.asarray, network.init(jax.random.key(case.seed), images, train=False))


def our_optimizer(case: Case, *, epochs: int, schedule: str) -> optax.GradientTransformation:
    steps_per_epoch = max(len(case.data) // case.batch, 1)
    plan = {'epochs': epochs, 'steps_per_epoch': steps_per_epoch, 'batch_size': case.batch, 'schedule': schedule}
    return optim.optimizer(**case.optimizer, **plan)


def our_step(case: Case, optimizer: optax.GradientTransformation, dtype: str) -> Step:
    """The project's step of this case."""
    network, policy, normalise = our_network(case, dtype), aug.policy(case.augment), normaliser(*case.moments)
    if case.kind == 'supervised':
        criterion = losses.criterion('ce')
        return classification_step(network, optimizer, criterion, policy, normalise, trained=case.trained)

    def loss(z1: jax.Array, z2: jax.Array, batch: dict) -> jax.Array:
        del batch
        return losses.nt_xent(z1, z2, temperature=TEMPERATURE)

    return contrastive_step(network, optimizer, loss, policy, normalise, trained=case.trained)


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


def our_epochs(case: Case, variables: dict[str, Any], rounds: int, between: Between) -> None:
    """Trains `rounds` epochs with `fit`: order, gather, augmentation, step, metrics; no checkpoint until the end."""
    optimizer = our_optimizer(case, epochs=rounds, schedule='cosine')
    start = time.perf_counter()

    def after_epoch(current: state.TrainState, epoch: int) -> tuple[state.TrainState, dict]:
        nonlocal start
        del epoch
        jax.block_until_ready(current)
        between(time.perf_counter() - start)
        start = time.perf_counter()
        return current, {}

    with tempfile.TemporaryDirectory() as folder:
        metrics = MetricWriter(pathlib.Path(folder) / 'metrics.jsonl')
        checkpoints = Checkpoints(pathlib.Path(folder) / 'checkpoints')
        session = Session(
            mesh.make_mesh(1),
            case.seed,
            metrics,
            StopSignal(),
            checkpoint_every=rounds + 1,
            compiler_options=compiling.compiler_options(),
        )
        stage = Stage('all', our_step(case, optimizer, case.dtype), rounds, case.batch)
        journal = Journal('pretrain', session, checkpoints)
        fit(stage, our_state(case, variables, optimizer), case.data, journal, after_epoch)
        checkpoints.close()
        metrics.close()


def our_steps(case: Case, variables: dict[str, Any], rounds: int, between: Between) -> None:
    """`rounds` times `case.steps` steps on images that stay on the device."""
    optimizer = our_optimizer(case, epochs=rounds, schedule='cosine')
    step = our_step(case, optimizer, case.dtype)

    def gather_and_step(current: state.TrainState, resident: dict, index: jax.Array, key: jax.Array) -> tuple:
        return step(current, {**{name: array[index] for name, array in resident.items()}, 'index': index}, key)

    run, devices = jit_step(gather_and_step), mesh.make_mesh(1)
    arrays = {'image': case.data.image, 'label': case.data.label, 'weight': case.data.weight}
    resident, key = mesh.replicate(arrays, devices), mesh.replicate(jax.random.key(case.seed), devices)
    current = mesh.replicate(our_state(case, variables, optimizer), devices)
    for epoch in range(rounds):
        order = case.data.order(case.seed, epoch, batch_size=case.batch)
        start = time.perf_counter()
        for step_number in range(case.steps):
            index = mesh.shard_batch({'index': order[step_number % len(order)]}, devices)['index']
            current, metrics = run(current, resident, index, key)
        jax.block_until_ready((current, metrics))
        between(time.perf_counter() - start)


# ---------------------------------------------------------------- PyTorch: networks and losses
# Modules are named as ours, so that weights carry over by name.


class SmallCNN(nn.Module):
    """Images [B, C, H, W] -> [B, 128]."""

    def __init__(self, size: int, channels: int, width: int = 16, features: int = 128) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, 2 * width, 3, padding=1), nn.BatchNorm2d(2 * width)
        self.out = nn.Linear(2 * width * (size // 2) ** 2, features)
        self.out_norm = nn.BatchNorm1d(features)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.conv1(x)))
        x = F.relu(self.norm2(self.conv2(x)))
        x = F.max_pool2d(x, 2).flatten(1)
        return F.relu(self.out_norm(self.out(x)))


class BasicBlock(nn.Module):
    def __init__(self, channels: int, features: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, features, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(features)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(features)
        self.has_shortcut = stride != 1 or channels != features
        if self.has_shortcut:
            self.shortcut_conv = nn.Conv2d(channels, features, 1, stride, bias=False)
            self.shortcut_norm = nn.BatchNorm2d(features)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        y = self.norm2(self.conv2(y))
        if self.has_shortcut:
            x = self.shortcut_norm(self.shortcut_conv(x))
        return F.relu(y + x, inplace=True)


class ResNet(nn.Module):
    """With the 3x3 stem for small images: [B, C, H, W] -> [B, 8 width]."""

    def __init__(self, channels: int, blocks_of_stage: int, width: int) -> None:
        super().__init__()
        self.stem_conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(width)
        self.blocks: list[str] = []
        features = width
        for stage in range(4):
            for block in range(blocks_of_stage):
                name, wider = f'stage{stage + 1}_block{block + 1}', width * 2**stage
                self.add_module(name, BasicBlock(features, wider, 2 if stage > 0 and block == 0 else 1))
                self.blocks.append(name)
                features = wider

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem_norm(self.stem_conv(x)), inplace=True)
        for name in self.blocks:
            x = getattr(self, name)(x)
        return x.float().mean((2, 3))


class Network(nn.Module):
    """Encoder with projection head (linear, ReLU, linear) and linear classifier."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        _, size, _, channels = case.data.image.shape
        if case.encoder == 'cnn_small':
            self.encoder, features = SmallCNN(size, channels), 128
        else:
            blocks, width = {'resnet18': (2, 64), 'resnet_tiny': (1, 16)}[case.encoder]
            self.encoder, features = ResNet(channels, blocks, width), 8 * width
        self.projection = nn.ModuleDict({'hidden': nn.Linear(features, features), 'out': nn.Linear(features, 128)})
        self.classifier = nn.ModuleDict({'linear': nn.Linear(features, case.data.num_classes)})

    def project(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] -> [B, 128]."""
        return self.projection['out'](F.relu(self.projection['hidden'](self.encoder(x))))

    def classify(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] -> logits [B, classes]."""
        return self.classifier['linear'](self.encoder(x))


def nt_xent(z: Tensor) -> Tensor:
    """Mean loss of projections [2B, D], the two views of an image side by side; in float32."""
    with torch.autocast(z.device.type, enabled=False):
        z = F.normalize(z.float(), dim=1)
        similarity = z @ z.T / TEMPERATURE  # [2B, 2B]
        itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
        other_view = torch.arange(len(z), device=z.device) ^ 1
        return F.cross_entropy(similarity.masked_fill(itself, -torch.inf), other_view)


def to_torch(value: np.ndarray, path: tuple[str, ...], case: Case) -> Tensor:
    """One of our arrays in PyTorch's layout."""
    if path == ('encoder', 'out', 'kernel'):  # behind a flatten: [H, W, C] here, [C, H, W] there
        side = case.data.image.shape[1] // 2
        value = value.reshape(side, side, -1, value.shape[1]).transpose(2, 0, 1, 3).reshape(value.shape)
    if value.ndim > 1:
        value = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T  # [H, W, I, O] -> [O, I, H, W]
    return torch.tensor(np.ascontiguousarray(value))


def load_weights(network: Network, variables: dict[str, Any], case: Case) -> None:
    """Our variables into PyTorch's network; every parameter and statistic must be there."""
    names = {'kernel': 'weight', 'scale': 'weight', 'bias': 'bias', 'mean': 'running_mean', 'var': 'running_var'}
    converted = {}
    for collection in variables.values():
        for keys, value in jax.tree_util.tree_leaves_with_path(collection):
            path = tuple(key.key for key in keys)
            converted['.'.join((*path[:-1], names[path[-1]]))] = to_torch(np.asarray(value), path, case)
    missing, unexpected = network.load_state_dict(converted, strict=False)
    lost = [name for name in missing if not name.endswith('num_batches_tracked')] + unexpected
    if lost:
        raise SystemExit(f'{case.name}: no counterpart for {", ".join(lost)}')


def torch_network(case: Case, variables: dict[str, Any]) -> Network:
    network = Network(case)
    load_weights(network, variables, case)
    return network.to(device(), memory_format=torch.channels_last).train()


def torch_optimizer(case: Case, network: Network) -> torch.optim.Optimizer:
    """As noisy_jax.training.optim: SGD's rate is for a batch of 256; the encoder may have a part of it."""
    settings = dict(case.optimizer)
    name, rate, scale = settings.pop('name'), settings.pop('learning_rate'), settings.pop('encoder_scale', 1.0)
    kind = {'sgd': torch.optim.SGD, 'adamw': torch.optim.AdamW}[name]
    rate = rate * case.batch / 256 if name == 'sgd' else rate
    groups = [
        {'params': getattr(network, part).parameters(), 'lr': rate * scale if part == 'encoder' else rate}
        for part in case.trained
    ]
    return kind(groups, fused=True, **settings)


def device() -> torch.device:
    return torch.device('cuda' if torch.cuda.is_available() else 'cpu')


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


# ---------------------------------------------------------------- PyTorch: augmentation of a batch on the device
# Float images [B, C, H, W] in [0, 1]; every image draws its own numbers.


def uniform(count: int, low: float, high: float) -> Tensor:
    """[count, 1, 1, 1]."""
    return torch.empty(count, 1, 1, 1, device=device()).uniform_(low, high)


def bernoulli(count: int, probability: float) -> Tensor:
    """[count, 1, 1, 1], bool."""
    return torch.rand(count, 1, 1, 1, device=device()) < probability


def warp(x: Tensor, theta: Tensor, outside: str) -> Tensor:
    """Bilinear reading of `x` through the affine maps `theta` [B, 2, 3]."""
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode='bilinear', padding_mode=outside, align_corners=False)


def handwriting(
    x: Tensor,
    degrees: float = 15.0,
    scale: float = 0.2,
    shift: float = 1.0,
    brightness: float = 0.3,
    noise: float = 0.1,
) -> Tensor:
    """Rotation, scale, shift, brightness, Gaussian noise."""
    count, _, height, width = x.shape
    turn, zoom, dy, dx = torch.empty(4, count, device=x.device).uniform_(-1, 1)
    angle, factor = turn * math.radians(degrees), 1 / (1 + zoom * scale)
    cos, sin = angle.cos() * factor, angle.sin() * factor
    rows = torch.stack([cos, sin, dx * (2 * shift / width), -sin, cos, dy * (2 * shift / height)], dim=1)
    x = warp(x, rows.view(count, 2, 3), 'zeros')
    return (x * uniform(count, 1 - brightness, 1 + brightness) + noise * torch.randn_like(x)).clamp(0, 1)


def crop_and_flip(x: Tensor, padding: int = 4) -> Tensor:
    """Shift by up to `padding` whole pixels with black around, flip half: one gather."""
    count, _, height, width = x.shape
    top, left = torch.randint(0, 2 * padding + 1, (2, count, 1), device=x.device)
    columns = torch.arange(width, device=x.device)
    flipped = torch.rand(count, 1, device=x.device) < 0.5
    columns = left + torch.where(flipped, columns.flip(0), columns)  # [B, W]
    rows = top + torch.arange(height, device=x.device)  # [B, H]
    padded = F.pad(x, (padding,) * 4).permute(0, 2, 3, 1)  # [B, H', W', C]
    image = torch.arange(count, device=x.device)[:, None, None]
    return padded[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def resized_crop_and_flip(x: Tensor, min_scale: float = 0.2) -> Tensor:
    """A random box of `min_scale` to 1 of the area resized to the whole image, half of them flipped."""
    count = len(x)
    area = torch.empty(count, device=x.device).uniform_(min_scale, 1)
    aspect = torch.empty(count, device=x.device).uniform_(math.log(3 / 4), math.log(4 / 3)).exp()
    height, width = (area / aspect).sqrt().clamp(max=1), (area * aspect).sqrt().clamp(max=1)
    dy, dx = torch.empty(2, count, device=x.device).uniform_(-1, 1)
    flip = torch.where(torch.rand(count, device=x.device) < 0.5, -1.0, 1.0)
    zero = torch.zeros_like(area)
    rows = torch.stack([width * flip, zero, dx * (1 - width), zero, height, dy * (1 - height)], dim=1)
    return warp(x, rows.view(count, 2, 3), 'border')


def gray(x: Tensor) -> Tensor:
    """[B, 1, H, W]."""
    return 0.299 * x[:, :1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:]


def shift_hue(x: Tensor, shift: Tensor) -> Tensor:
    """Turns the hue by `shift` [B, 1, 1, 1] of a full circle."""
    red, green, blue = x[:, :1], x[:, 1:2], x[:, 2:]
    value, low = x.amax(1, keepdim=True), x.amin(1, keepdim=True)
    chroma = value - low
    safe = torch.where(chroma > 0, chroma, 1.0)
    hue = torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe)
    hue = torch.where(value == red, (green - blue) / safe, hue) + 6 * shift
    sector = (hue + torch.tensor([5.0, 3.0, 1.0], device=x.device).view(1, 3, 1, 1)) % 6
    return value - chroma * torch.minimum(sector, 4 - sector).clamp(0, 1)


def simclr_views(x: Tensor, jitter_probability: float = 0.8, gray_probability: float = 0.2) -> Tensor:
    """Crop, flip, brightness, contrast, saturation, hue, grayscale."""
    count = len(x)
    x = resized_crop_and_flip(x)
    y = (x * uniform(count, 0.6, 1.4)).clamp(0, 1)
    y = torch.lerp(gray(y).mean((1, 2, 3), keepdim=True), y, uniform(count, 0.6, 1.4)).clamp(0, 1)
    y = torch.lerp(gray(y), y, uniform(count, 0.6, 1.4)).clamp(0, 1)
    y = shift_hue(y, uniform(count, -0.1, 0.1))
    x = torch.where(bernoulli(count, jitter_probability), y, x)
    return torch.where(bernoulli(count, gray_probability), gray(x), x)


BATCHED = {'none': lambda x: x, 'handwriting': handwriting, 'standard': crop_and_flip, 'simclr': simclr_views}


# ---------------------------------------------------------------- PyTorch: augmentation of an image on the host
# PIL image -> array [H, W, C]; what torchvision's transforms do to PIL images.


def handwriting_on_host(image: Image.Image) -> np.ndarray:
    width, height = image.size
    factor, angle = 1 / (1 + random.uniform(-0.2, 0.2)), math.radians(random.uniform(-15, 15))
    cos, sin = math.cos(angle) * factor, math.sin(angle) * factor
    x, y = width / 2, height / 2
    matrix = (
        *(cos, sin, x - cos * x - sin * y + random.uniform(-1, 1)),
        *(-sin, cos, y + sin * x - cos * y + random.uniform(-1, 1)),
    )
    pixels = np.asarray(image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR))
    noise = torch.randn(pixels.shape).numpy()  # PyTorch seeds each worker
    pixels = pixels * np.float32(random.uniform(0.7, 1.3) / 255) + np.float32(0.1) * noise
    return np.clip(pixels, 0, 1)[..., None]


def simclr_on_host(image: Image.Image) -> np.ndarray:
    image = image.resize(image.size, Image.Resampling.BILINEAR, box=crop_box(*image.size))
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if random.random() < 0.8:
        for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            image = enhance(image).enhance(random.uniform(0.6, 1.4))
        hue, saturation, value = image.convert('HSV').split()
        turn = round(random.uniform(-0.1, 0.1) * 255) % 256
        hue = Image.fromarray(np.asarray(hue) + np.uint8(turn))  # wraps
        image = Image.merge('HSV', (hue, saturation, value)).convert('RGB')
    if random.random() < 0.2:
        image = image.convert('L').convert('RGB')
    return np.asarray(image)


def crop_box(width: int, height: int) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of RandomResizedCrop."""
    for _ in range(10):
        area = random.uniform(0.2, 1) * width * height
        aspect = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = random.randint(0, width - w), random.randint(0, height - h)
            return left, top, left + w, top + h
    return 0, 0, width, height


ON_HOST = {'handwriting': handwriting_on_host, 'simclr': simclr_on_host}


class TwoViews(TorchDataset):
    """Two views [2, H, W, C] of each image, and its label."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, view: Callable[[Image.Image], np.ndarray]) -> None:
        self.images = [Image.fromarray(image.squeeze()) for image in images]
        self.labels, self.view = labels.astype(np.int64), view

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[np.ndarray, np.int64]:
        image = self.images[row]
        return np.stack([self.view(image), self.view(image)]), self.labels[row]


# ---------------------------------------------------------------- PyTorch: steps and epochs

Batch = tuple[Tensor, Tensor]  # images and labels [B]
TrainStep = Callable[[Tensor, Tensor], Tensor]


def as_float(images: Tensor) -> Tensor:
    """uint8 (or float in [0, 1]) [B, H, W, C] -> float [B, C, H, W]; this view is channels_last already."""
    images = images.permute(0, 3, 1, 2)
    return images if images.is_floating_point() else images.float() / 255


def objective(case: Case, network: Network) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """(augmented images [B or 2B, C, H, W], labels [B]) -> the mean loss, and what the epoch reports."""
    mean, std = (torch.tensor(values, device=device()).view(1, -1, 1, 1) for values in case.moments)

    def loss_of(x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        x = ((x - mean) / std).contiguous(memory_format=torch.channels_last)
        if case.kind == 'simclr':
            loss = nt_xent(network.project(x))
            return loss, loss.detach()[None]
        logits = network.classify(x).float()
        loss = F.cross_entropy(logits, labels)
        return loss, torch.stack([loss.detach(), (logits.argmax(1) == labels).float().mean()])

    return loss_of


def torch_step(case: Case, network: Network, optimizer: torch.optim.Optimizer, way: str) -> TrainStep:
    """One training step of a batch: images uint8 [B, H, W, C], or with a loader views [B, 2, H, W, C]."""
    loss_of, augment = objective(case, network), BATCHED[case.augment]
    views = 2 if case.kind == 'simclr' else 1

    def forward(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(device().type, torch.bfloat16, enabled=case.dtype == 'bfloat16'):
            if way.startswith('loader'):
                return loss_of(as_float(images.flatten(0, 1) if views == 2 else images), labels)
            x = as_float(images)
            return loss_of(augment(x.repeat_interleave(2, dim=0) if views == 2 else x), labels)

    if way.endswith('compiled'):
        forward = torch.compile(forward, mode=case.compile_mode, dynamic=False)

    def step(images: Tensor, labels: Tensor) -> Tensor:
        if case.compile_mode == 'reduce-overhead':
            torch.compiler.cudagraph_mark_step_begin()
        loss, metrics = forward(images, labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return metrics

    return step


def loader_batches(case: Case) -> Iterator[Iterator[Batch]]:
    """The epochs of a DataLoader, without end."""
    images, labels = case.data.image, case.data.label
    if case.augment == 'none':
        dataset = TensorDataset(torch.from_numpy(images), torch.from_numpy(labels).long())
    else:
        dataset = TwoViews(images, labels, ON_HOST[case.augment])
    loader = DataLoader(
        dataset,
        case.batch,
        shuffle=True,
        drop_last=True,
        num_workers=case.workers,
        persistent_workers=True,
        pin_memory=torch.cuda.is_available(),
        multiprocessing_context='forkserver',  # to fork a process in which XLA has threads may hang
    )
    while True:
        yield (tuple(part.to(device(), non_blocking=True) for part in batch) for batch in loader)


def tensor_batches(case: Case) -> Iterator[Iterator[Batch]]:
    """Epochs over images that stay on the device, without end."""
    images = torch.tensor(case.data.image, device=device())
    labels = torch.tensor(case.data.label, device=device()).long()
    while True:
        order = torch.randperm(len(images), device=device())[: len(images) // case.batch * case.batch].split(case.batch)
        steps = (order[step % len(order)] for step in range(case.steps or len(order)))
        yield ((images[index], labels[index]) for index in steps)


def torch_rounds(case: Case, variables: dict[str, Any], way: str) -> Iterator[float]:
    """Trains round after round; the seconds of each."""
    network = torch_network(case, variables)
    optimizer = torch_optimizer(case, network)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(case.rounds + 1, 10), eta_min=1e-6)
    step = torch_step(case, network, optimizer, way)
    epochs = loader_batches(case) if way.startswith('loader') else tensor_batches(case)
    synchronise()
    while True:
        start = time.perf_counter()
        metrics = [step(*batch).clone() for batch in next(epochs)]
        schedule.step()
        values = torch.stack(metrics).mean(0).tolist()
        synchronise()
        seconds = time.perf_counter() - start
        if not math.isfinite(values[0]):
            raise SystemExit(f'{case.name}: the loss of PyTorch ({way}) is {values[0]}')
        yield seconds


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
    """Parity, then the rounds of both sides by turns, each after up to `patience` seconds for others to rest."""
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

    ours = our_epochs if case.unit == 'epoch' else our_steps
    ours(case, variables, case.rounds + 1, between)
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
    lines = [
        '| case | batch | precision | per | noisy_jax: median (min) ms | PyTorch | median (min) ms | ratio (of min) |',
        '|---|---|---|---|---|---|---|---|',
    ]

    def times(values: dict[str, float]) -> str:
        return f'{1e3 * values["median"]:.2f} ({1e3 * values["min"]:.2f})'

    for case in results:
        for way, theirs in case['torch'].items():
            ratio = f'{theirs["ratio_median"]:.2f}'
            ratio = f'**{ratio}**' if way == case['headline'] else ratio
            lines.append(
                f'| {case["name"]} | {case["batch"]} | {case["dtype"]} | {case["unit"]} | {times(case["ours"])} '
                f'| {way} | {times(theirs)} | {ratio} ({theirs["ratio_min"]:.2f}) |'
            )
        lines += [
            f'| {case["name"]} | {case["batch"]} | | | | {way} | {why} | |' for way, why in case['failed'].items()
        ]
    return '\n'.join(lines)


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


def cases(names: list[str], *, smoke: bool, compiled: bool, rounds: int, seed: int) -> Iterator[Case]:
    """The cases of these names at sizes for this device."""
    gpu = torch.cuda.is_available()
    ways = ('tensors', 'tensors,compiled') if compiled else ('tensors',)
    usual = 'loader,compiled' if gpu and compiled else 'loader'
    # Digits are so small that the launches of kernels are what takes time on a GPU: CUDA graphs ('reduce-overhead').
    # A ResNet keeps the GPU busy; there the choice of kernels counts, and graphs would only copy the inputs.
    tiny_mode, large_mode = ('reduce-overhead', 'max-autotune-no-cudagraphs') if gpu else ('default', 'default')

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
        'moments': RGB_MOMENTS,
        'compile_mode': large_mode,
    }
    large |= {'dtype': 'bfloat16' if gpu and not smoke else 'float32'}
    steps = {
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
                yield Case(name, kind=kind, batch=batch, augment=augment, data=data, **large, **steps, **common)
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


def machine(threads: int, seed: int) -> dict[str, Any]:
    """What the numbers were taken on."""
    cpuinfo = pathlib.Path('/proc/cpuinfo')
    names = (
        [line for line in cpuinfo.read_text().splitlines() if line.startswith('model name')] if cpuinfo.exists() else []
    )
    return {
        'device': torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu',
        'cpu': names[0].split(':')[1].strip() if names else platform.processor(),
        'cores': os.cpu_count(),
        'torch_threads': threads,
        'python': platform.python_version(),
        'versions': {name: importlib.metadata.version(name) for name in ('jax', 'jaxlib', 'flax', 'optax', 'torch')},
        'seed': seed,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--cases', default=','.join(CASES), help='some of them, with commas between')
    parser.add_argument('--rounds', type=int, default=0, help='timed rounds; 0: by case')
    parser.add_argument('--smoke', action='store_true')
    parser.add_argument('--compile', choices=('auto', 'on', 'off'), default='auto', help='auto: not in a smoke test')
    parser.add_argument('--threads', type=int, default=0, help="PyTorch's on the CPU; 0: one per core")
    parser.add_argument('--wait', type=float, default=0, help='seconds at most before a round for others to rest')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=pathlib.Path, help='JSON')
    arguments = parser.parse_args()
    if arguments.smoke:
        jax.config.update('jax_disable_most_optimizations', True)  # compiles faster
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
    report = {**machine(threads, arguments.seed), 'smoke': arguments.smoke, 'cases': []}
    for case in cases(names, smoke=arguments.smoke, compiled=compiled, rounds=arguments.rounds, seed=arguments.seed):
        report['cases'].append(compare(case, arguments.wait))
        if arguments.out:
            arguments.out.write_text(json.dumps(report, indent=1) + '\n')
    print(table(report['cases']))


if __name__ == '__main__':
    main()
