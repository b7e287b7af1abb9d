"""Augmentation in plain PyTorch, for against_torch.py: of a batch on the device, and of a PIL image on the host."""

import math
import random
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageEnhance
from torch import Tensor
from torch.utils.data import Dataset


def device() -> torch.device:
    return torch.device('cuda' if torch.cuda.is_available() else 'cpu')


# ---------------------------------------------------------------- of a batch on the device
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


# ---------------------------------------------------------------- of an image on the host
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


class TwoViews(Dataset):
    """Two views [2, H, W, C] of each image, and its label."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, view: Callable[[Image.Image], np.ndarray]) -> None:
        self.images = [Image.fromarray(image.squeeze()) for image in images]
        self.labels, self.view = labels.astype(np.int64), view

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[np.ndarray, np.int64]:
        image = self.images[row]
        return np.stack([self.view(image), self.view(image)]), self.labels[row]
