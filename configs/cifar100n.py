"""CIFAR-100N: CIFAR-100 with labels by people (Wei 2022) and CIFAR-100's settings; not yet run at full size.

  noisy-jax --config=cifar100n --config.data.path=tfds --workdir=runs/cifar100n

The data is TFDS's cifar100_n in the folder data.path (data=tfds), or arrays (data=arrays) with the people's labels as
`labels` and CIFAR-100's own as `true_labels`, which serve evaluation only. `smoke` shrinks network, images and epochs
to try the whole run on a CPU.
"""

from ml_collections import ConfigDict

from noisy_jax.settings import presets


def get_config(argument: str = '') -> ConfigDict:
    """The config; the argument may change what `begin` takes; noise and rate are added to the labels."""
    config, given = presets.begin('cifar100n', argument, 100, data='tfds', labels='noise_label', smoke=False)
    config.data.update(dataset='cifar100_n', label_key=given['labels'])
    presets.cifar100(config)
    return presets.smoke(config) if given['smoke'] else config
