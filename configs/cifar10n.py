"""CIFAR-10N: CIFAR-10 with labels that people gave (Wei 2022), and CIFAR-10's settings; not yet run at full size.

  python -m noisy_jax.main --config=configs/cifar10n.py:labels=worse_label \
      --config.data.path=tfds --workdir=runs/cifar10n

The data is TFDS's cifar10_n in the folder data.path (data=tfds), of which `labels` chooses aggre_label, worse_label or
random_label1 to 3; or arrays (data=arrays) with the people's labels as `labels` and CIFAR-10's own as `true_labels`,
which only judge the result. `smoke` shrinks network, images and epochs to try the whole run on a CPU.
"""

from ml_collections import ConfigDict

from noisy_jax import config as defaults


def get_config(argument: str = '') -> ConfigDict:
    """The config of an argument such as 'loss=elr,labels=aggre_label,phases=finetuned,data=arrays,smoke'.

    Arguments: loss=ce|nfl_rce|elr|..., labels=NAME, noise, rate (on top of it), phases=base|pretrained|finetuned|all,
    data=tfds|arrays, smoke.
    """
    config, given = defaults.with_data(argument, 'cifar10n', data='tfds', labels='worse_label')
    config.data.dataset, config.data.label_key = 'cifar10_n', given['labels']
    if given['smoke']:
        defaults.shrink(config)
    return config
