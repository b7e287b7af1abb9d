"""The original's PyTorch names and layouts, as the variables of `noisy_jax.models`."""

import re

import numpy as np

_PATHS = {
    r'net\.0': 'encoder/stem_conv',
    r'net\.1': 'encoder/stem_norm',
    r'net\.(\d)\.(\d)\.conv(\d)': 'encoder/stage{0}_block{1}/conv{2}',
    r'net\.(\d)\.(\d)\.bn(\d)': 'encoder/stage{0}_block{1}/norm{2}',
    r'net\.(\d)\.(\d)\.downsample\.0': 'encoder/stage{0}_block{1}/shortcut_conv',
    r'net\.(\d)\.(\d)\.downsample\.1': 'encoder/stage{0}_block{1}/shortcut_norm',
    r'net\.conv1': 'encoder/stem_conv',
    r'net\.bn1': 'encoder/stem_norm',
    r'net\.layer(\d)\.(\d)\.conv(\d)': 'encoder/stage{0}_block{1}/conv{2}',
    r'net\.layer(\d)\.(\d)\.bn(\d)': 'encoder/stage{0}_block{1}/norm{2}',
    r'net\.layer(\d)\.(\d)\.(?:shortcut|downsample)\.0': 'encoder/stage{0}_block{1}/shortcut_conv',
    r'net\.layer(\d)\.(\d)\.downsample\.1': 'encoder/stage{0}_block{1}/shortcut_norm',
    r'block(\d)\.(\d)\.out_conv\.0': 'encoder/block{0}_conv{1}',
    r'block(\d)\.(\d)\.out_conv\.1': 'encoder/block{0}_norm{1}',
    r'fc1\.0': 'encoder/hidden',
    r'fc1\.1': 'encoder/hidden_norm',
    r'fc1\.3': 'encoder/out',
    r'classifier\.0': 'classifier/norm',
    r'classifier(?:\.2)?': 'classifier/linear',
    r'fc\.0': 'projection/hidden',
    r'fc\.2': 'projection/out',
}
_LEAVES = {'bias': 'bias', 'running_mean': 'mean', 'running_var': 'var'}


def path(module: str) -> tuple[str, ...]:
    """'net.4.0.conv1' -> ('encoder', 'stage2_block1', 'conv1')."""
    for pattern, ours in _PATHS.items():
        if found := re.fullmatch(pattern, module):
            numbers = [int(number) for number in found.groups()]
            # The stages of the original are net.3 to net.6 (or net.layer1 to net.layer4); its blocks count from 0.
            shifts = (-2 if re.match(r'net\.\d', module) else 0, 1, 0)
            return tuple(ours.format(*(n + s for n, s in zip(numbers, shifts, strict=False))).split('/'))
    raise KeyError(module)


def leaf(name: str, value: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """'net.0.weight' [O, I, H, W] -> ('params', 'encoder', 'stem_conv', 'kernel'), [H, W, I, O]."""
    module, kind = name.rsplit('.', 1)
    collection = 'batch_stats' if kind.startswith('running') else 'params'
    ours = _LEAVES.get(kind) or ('kernel' if value.ndim > 1 else 'scale')
    if module == 'fc1.0' and value.ndim > 1:  # PyTorch flattens [196, 4, 4], we [4, 4, 196]
        value = value.reshape(len(value), -1, 4, 4).transpose(0, 2, 3, 1).reshape(len(value), -1)
    if value.ndim > 1:
        value = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
    return (collection, *path(module), ours), value


def variables(state: dict[str, np.ndarray]) -> dict:
    """A state_dict as {'params': ..., 'batch_stats': ...}."""
    tree: dict = {}
    for name, value in state.items():
        keys, value = leaf(name, value)
        node = tree
        for key in keys[:-1]:
            node = node.setdefault(key, {})
        node[keys[-1]] = value
    return tree
