"""A ResNet's arrays in the names and layouts of torchvision's state_dict, or in our own."""

import re

import numpy as np

NAMED = ('resnet18', 'resnet34', 'resnet50')  # torchvision's networks that are ours too, with 64 channels at first
_MODULES = {
    r'encoder/stem_conv': 'conv1',
    r'encoder/stem_norm': 'bn1',
    r'encoder/stage(\d)_block(\d)/conv(\d)': 'layer{}.{}.conv{}',
    r'encoder/stage(\d)_block(\d)/norm(\d)': 'layer{}.{}.bn{}',
    r'encoder/stage(\d)_block(\d)/shortcut_conv': 'layer{}.{}.downsample.0',
    r'encoder/stage(\d)_block(\d)/shortcut_norm': 'layer{}.{}.downsample.1',
    r'classifier/linear': 'fc',
}
_LEAVES = {'kernel': 'weight', 'scale': 'weight', 'bias': 'bias', 'mean': 'running_mean', 'var': 'running_var'}


def state_dict(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays of a ResNet by our names, with a linear classifier or without one, as torchvision's network has them.

    Counters of batches, which nothing reads, are 0.
    """
    state = {}
    for name, array in arrays.items():
        theirs = name_of(name)
        state[theirs] = np.ascontiguousarray(array.transpose(axes(array.ndim)))
        if theirs.endswith('.running_mean'):
            state[f'{theirs.removesuffix("running_mean")}num_batches_tracked'] = np.zeros((), np.int64)
    return state


def name_of(name: str) -> str:
    """'encoder/stage2_block1/conv1/kernel' -> 'layer2.0.conv1.weight': its blocks count from 0."""
    module, _, leaf = name.rpartition('/')
    for pattern, theirs in _MODULES.items():
        if found := re.fullmatch(pattern, module):
            numbers = [int(number) for number in found.groups()]
            module = theirs.format(*(number - (place == 1) for place, number in enumerate(numbers)))
            return f'{module}.{_LEAVES[leaf]}'
    raise KeyError(name)


def axes(ndim: int) -> tuple[int, ...]:
    """Our axes in torchvision's order: convolutions are [O, I, H, W] there, linear layers [O, I]."""
    return {4: (3, 2, 0, 1), 2: (1, 0)}.get(ndim, tuple(range(ndim)))
