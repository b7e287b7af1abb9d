"""CIFAR-100 with the paper's settings; not yet run at full size.

  python -m noisy_jax.main --config=configs/cifar100.py:loss=elr,rate=0.4 \
      --config.data.path=cifar100 --workdir=runs/cifar100

The data as in configs/cifar10.py. Asymmetric noise goes round within the superclasses (noise=asymmetric_blocks: within
blocks of 5 successive labels, as the original's code). `smoke` shrinks network, images and epochs to try the whole run
on a CPU.
"""

from ml_collections import ConfigDict

from noisy_jax import config as defaults


def get_config(argument: str = '') -> ConfigDict:
    """The config of an argument such as 'loss=nfl_rce,noise=symmetric,rate=0.8,phases=finetuned,data=folder,smoke'.

    Arguments: loss=ce|nfl_rce|elr|..., noise=none|symmetric|..., rate=0..1, phases=base|pretrained|finetuned|all,
    data=folder|filelist|arrays|tfds, smoke.
    """
    config, given = defaults.with_data(argument, 'cifar100', 100, noise='symmetric')
    config.data.dataset = 'cifar100'
    config.data.mean, config.data.std = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
    defaults.set_rates(config, contrastive=0.03, head=(0.1, 1e-4), whole=(0.1, 1e-5), finetune=(0.1, 1e-5))
    config.dividemix.warmup_epochs = 30
    if given['smoke']:
        defaults.shrink(config)
    return config
