"""CIFAR-100N: CIFAR-100 with labels that people gave (Wei 2022), and CIFAR-100's settings; not yet run at full size.

  python -m noisy_jax.main --config=configs/cifar100n.py \
      --config.data.path=tfds --workdir=runs/cifar100n

The data is TFDS's cifar100_n in the folder data.path (data=tfds), or arrays (data=arrays) with the people's labels as
`labels` and CIFAR-100's own as `true_labels`, which only judge the result. `smoke` shrinks network, images and epochs
to try the whole run on a CPU.
"""

from ml_collections import ConfigDict

from noisy_jax import config as defaults


def get_config(argument: str = '') -> ConfigDict:
    """The config of an argument such as 'loss=elr,phases=finetuned,data=arrays,smoke'.

    Arguments: loss=ce|nfl_rce|elr|..., labels=NAME, noise, rate (on top of it), phases=base|pretrained|finetuned|all,
    data=tfds|arrays, smoke.
    """
    config, given = defaults.with_data(argument, 'cifar100n', 100, data='tfds', labels='noise_label')
    config.data.dataset, config.data.label_key = 'cifar100_n', given['labels']
    config.data.mean, config.data.std = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
    defaults.set_rates(config, contrastive=0.03, head=(0.1, 1e-4), whole=(0.1, 1e-5), finetune=(0.1, 1e-5))
    config.dividemix.warmup_epochs = 30
    if given['smoke']:
        defaults.shrink(config)
    return config
