"""torchvision's ResNets, evaluated by its names and layouts with NumPy alone: what ours are compared with."""

import itertools

import numpy as np


def _windows(x, side, stride, fill):
    """[B, C, H, W] -> [B, C, H', W', side, side], padded by half a side."""
    pads = ((0, 0), (0, 0), *[(side // 2, side // 2)] * 2)
    padded = np.pad(x, pads, constant_values=fill)
    return np.lib.stride_tricks.sliding_window_view(padded, (side, side), (2, 3))[:, :, ::stride, ::stride]


def forward(weights, x, stem):
    """Embeddings float64 [B, D] of a state_dict with a `stem` 'small' or 'large', for x [B, C, H, W]."""

    def conv(x, name, stride):
        kernel = weights[f'{name}.weight'].astype(np.float64)  # [O, I, side, side]
        windows = _windows(x, kernel.shape[-1], stride, 0)
        return np.moveaxis(np.tensordot(windows, kernel, ((1, 4, 5), (1, 2, 3))), -1, 1)

    def norm(x, name):
        scale, bias, mean, var = (
            weights[f'{name}.{leaf}'][:, None, None] for leaf in ('weight', 'bias', 'running_mean', 'running_var')
        )
        return (x - mean) / np.sqrt(var + 1e-5) * scale + bias

    def relu(x):
        return np.maximum(x, 0)

    x = relu(norm(conv(x, 'conv1', 2 if stem == 'large' else 1), 'bn1'))
    if stem == 'large':
        x = _windows(x, 3, 2, -np.inf).max((-2, -1))
    for layer, block in itertools.product(range(1, 5), range(6)):
        name, stride = f'layer{layer}.{block}', 2 if layer > 1 and not block else 1
        if f'{name}.conv1.weight' not in weights:
            continue
        is_bottleneck, y = f'{name}.conv3.weight' in weights, x
        for number in (1, 2, 3)[: 2 + is_bottleneck]:
            strided = number == 1 + is_bottleneck  # the first 3x3 convolution
            y = norm(conv(y, f'{name}.conv{number}', stride if strided else 1), f'{name}.bn{number}')
            y = relu(y) if number < 2 + is_bottleneck else y
        if f'{name}.downsample.0.weight' in weights:
            x = norm(conv(x, f'{name}.downsample.0', stride), f'{name}.downsample.1')
        x = relu(x + y)
    return x.mean((2, 3))
