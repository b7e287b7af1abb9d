"""A ResNet's variables in the names and layouts of torchvision's state_dict, or in our own."""

import re

import numpy as np
from flax.traverse_util import flatten_dict

from noisy_jax.training.state import SECOND, Variables

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
    """`own_names` of a ResNet with a linear classifier, or without one, as torchvision's resnet18 or resnet50 has it.

    Convolutions are [O, I, H, W], linear layers [O, I]; counters of batches, which nothing reads, are 0.
    """
    state = {}
    for name, array in arrays.items():
        module, _, leaf = name.rpartition('/')
        module = _module(module)
        axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(array.ndim)
        state[f'{module}.{_LEAVES[leaf]}'] = np.ascontiguousarray(array if axes is None else array.transpose(axes))
        if leaf == 'mean':
            state[f'{module}.num_batches_tracked'] = np.zeros((), np.int64)
    return state


def own_names(variables: Variables) -> dict[str, np.ndarray]:
    """'encoder/stem_conv/kernel' [H, W, I, O], ...: encoder and classifier, of two networks the first's."""
    first = {kind: tree for kind, tree in variables.items() if kind != SECOND}
    arrays = {name.partition('/')[2]: array for name, array in flatten_dict(first, sep='/').items()}
    return {name: array for name, array in sorted(arrays.items()) if not name.startswith('projection/')}


def _module(name: str) -> str:
    """'encoder/stage2_block1/conv1' -> 'layer2.0.conv1': its blocks count from 0."""
    for pattern, theirs in _MODULES.items():
        if found := re.fullmatch(pattern, name):
            numbers = [int(number) for number in found.groups()]
            return theirs.format(*(number - (place == 1) for place, number in enumerate(numbers)))
    raise KeyError(name)
