"""The project's two training steps in plain PyTorch, as its competent user would write them, for against_torch.py.

Networks' modules are named as ours, so that weights carry over by name.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from experiments.speed.torch_augment import BATCHED, ON_HOST, TwoViews, device
from noisy_jax.data.dataset import Dataset
from noisy_jax.training import optim

TEMPERATURE = 0.5


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


# ---------------------------------------------------------------- networks and losses


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


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


# ---------------------------------------------------------------- steps and epochs

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
