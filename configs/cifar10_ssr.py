"""CIFAR-10 by SSR after SimCLR, in place of phases (a2) to (b3).

  noisy-jax --config=cifar10_ssr:rate=0.8 --config.data.path=cifar10 --workdir=runs/c10_ssr

The data as in cifar10.py. From the encoder of 230 epochs it reaches 89.3 / 88.6 / 83.6 % at 20 / 50 / 80 % symmetric
noise and 87.8 % on CIFAR-10N worst in 40 epochs of batches of 256, the best classifiers measured here, with strong
views by `scan` (docs/reproducing.md, CIFAR-10 on a GPU). The 150 epochs below and their strong views by AutoAugment
have not been run. SSR's authors train a PreAct-ResNet-18 from scratch for 300 epochs (phases=base) and report 96.7 /
96.1 / 95.6 / 95.2 % at 20 / 50 / 80 / 90 %. `smoke` shrinks network, images and epochs to try the whole run on a CPU.
"""

from ml_collections import ConfigDict

from noisy_jax.settings import presets


def get_config(argument: str = '') -> ConfigDict:
    """The config; the argument may change what `begin` takes, e.g. 'rate=0.2,phases=base' or 'smoke'."""
    config, given = presets.begin(
        'cifar10_ssr', argument, noise='symmetric', phases='pretrained', data='folder', smoke=False
    )
    config.data.dataset = 'cifar10'
    presets.simclr(config, epochs=500)
    # Its selection needs no head at first: the neighbours vote by the embeddings of (a1).
    config.base.update(method='ssr', epochs=300, batch_size=128)
    config.classify.update(method='ssr', head_epochs=0, epochs=150, batch_size=128)
    config.classify.optimizer.update(learning_rate=0.04, weight_decay=5e-4)  # 0.02 for a batch of 128
    return presets.smoke(config) if given['smoke'] else config
