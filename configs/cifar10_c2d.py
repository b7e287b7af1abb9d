"""C2D on CIFAR-10: SimCLR, then DivideMix on two networks, with its authors' settings; not yet run at full size.

  noisy-jax --config=cifar10_c2d:noise=symmetric,rate=0.9 --config.data.path=cifar10 --workdir=runs/c10_c2d

The weight of labels that are not trusted depends on the noise that the argument names;
--config.noise.rate leaves it. The data as in cifar10.py. `smoke` shrinks network, images and epochs to try the whole
run on a CPU.
"""

from ml_collections import ConfigDict

from noisy_jax.settings import presets


def get_config(argument: str = '') -> ConfigDict:
    """The config; the argument may change what `begin` takes, e.g. 'noise=asymmetric,rate=0.4'."""
    config, given = presets.begin(
        'cifar10_c2d', argument, noise='symmetric', rate=0.8, phases='pretrained', data='folder', smoke=False
    )
    config.data.dataset = 'cifar10'
    presets.c2d(config)
    rate, asymmetric = given['rate'], given['noise'].startswith('asymmetric')
    config.dividemix.unlabelled_weight = 0.0 if asymmetric or rate <= 0.2 else 25.0 if rate <= 0.8 else 50.0
    return presets.smoke(config) if given['smoke'] else config
