"""SimCLR alone on CIFAR-10: ResNet-18, bfloat16, 230 epochs; its k-NN accuracies go to metrics.jsonl.

  noisy-jax --config=cifar10_simclr --config.data.path=cifar10 --workdir=runs/simclr

289 seconds on one H100; k-NN accuracy 67.9 / 74.6 / 77.1 % after 40 / 160 / 230 epochs (images: JPEG 75).
The data is as in configs/cifar10.py.
"""

from ml_collections import ConfigDict

from noisy_jax.settings import presets


def get_config(argument: str = '') -> ConfigDict:
    """The config; the argument may change what `begin` takes, e.g. 'data=arrays'."""
    config, given = presets.begin('cifar10_simclr', argument, data='folder', smoke=False)
    config.data.dataset = 'cifar10'
    config.phases = ('pretrain',)
    config.model.dtype = 'bfloat16'
    presets.simclr(config, epochs=230)
    return presets.smoke(config) if given['smoke'] else config
