"""Clothing1M (14 classes, a million photographs of shops with their noisy labels); not yet run.

  python -m noisy_jax.main --config=configs/clothing1m.py \
      --config.data.path=clothing1m --workdir=runs/clothing1m

The folder is as the archives unpack: images/0/... to images/9/..., and beside it, or in annotations/ (then set
lists=annotations), the lists noisy_train_key_list.txt, clean_test_key_list.txt and the labels noisy_label_kv.txt,
clean_label_kv.txt. Images are scaled and cropped to 128 pixels: 49 kB each, decoded. Beyond data.memory_bytes they
stay files, decoded for every batch; packed once they are read faster:

  python -m noisy_jax.data.pack --name=filelist --path=clothing1m --list=noisy_train_key_list.txt \
      --labels=noisy_label_kv.txt --test_list=clean_test_key_list.txt --test_labels=clean_label_kv.txt \
      --image_size=128 --out=packed
  python -m noisy_jax.main --config=configs/clothing1m.py:data=arrays --config.data.path=packed --workdir=runs/c1m

`smoke` shrinks network, images and epochs to try the whole run on a CPU.
"""

from ml_collections import ConfigDict

from noisy_jax import config as defaults


def get_config(argument: str = '') -> ConfigDict:
    """The config of an argument such as 'loss=ce,phases=pretrained,lists=annotations,smoke'.

    Arguments: loss=ce|nfl_rce|elr|..., noise=none|symmetric|..., rate=0..1, phases=base|pretrained|finetuned|all,
    data=filelist|folder|arrays, smoke.
    """
    config, given = defaults.with_data(argument, 'clothing1m', 14, data='filelist', lists='')
    place = given['lists'] and given['lists'] + '/'
    config.data.list, config.data.labels = f'{place}noisy_train_key_list.txt', f'{place}noisy_label_kv.txt'
    config.data.test_list, config.data.test_labels = f'{place}clean_test_key_list.txt', f'{place}clean_label_kv.txt'
    config.data.image_size = 128
    config.data.mean, config.data.std = (0.6959, 0.6537, 0.6371), (0.3113, 0.3192, 0.3214)
    config.augment.simclr.blur_probability = 0.5
    defaults.set_rates(config, contrastive=0.03, head=(0.1, 1e-4), whole=(0.01, 1e-4), finetune=(0.001, 1e-5))
    if given['smoke']:
        defaults.shrink(config)
    return config
