"""CIFAR-100 with the paper's settings but a slow encoder (presets.protect); not yet run at full size.

  noisy-jax --config=cifar100:loss=elr,rate=0.4 --config.data.path=cifar100 --workdir=runs/cifar100

The data as in cifar10.py. Asymmetric noise cycles within the superclasses (noise=asymmetric_blocks: within blocks of 5
successive labels, as in the original's code). `smoke` shrinks network, images and epochs to try the whole run on a CPU.
"""

from ml_collections import ConfigDict

from noisy_jax.settings import presets


def get_config(argument: str = '') -> ConfigDict:
    """The config; the argument may change what `begin` takes, e.g. 'loss=ce,rate=0.2,smoke'."""
    config, given = presets.begin('cifar100', argument, 100, noise='symmetric', data='folder', smoke=False)
    config.data.dataset = 'cifar100'
    presets.cifar100(config)
    return presets.smoke(config) if given['smoke'] else config
