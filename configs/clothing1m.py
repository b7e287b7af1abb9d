"""Clothing1M (14 classes, a million photographs of shops with their noisy labels); not yet run.

  noisy-jax --config=clothing1m --config.data.path=clothing1m --workdir=runs/clothing1m

The folder is as the archives unpack: images/0/... to images/9/..., and beside it, or in annotations/ (then set
lists=annotations), the lists noisy_train_key_list.txt, clean_test_key_list.txt and the labels noisy_label_kv.txt,
clean_label_kv.txt. Images are scaled and cropped to 128 pixels: 49 kB each, decoded. Beyond data.memory_bytes they
stay files, decoded for every batch; packed once they are read faster:

  python -m noisy_jax.data.pack --name=filelist --path=clothing1m --list=noisy_train_key_list.txt \
      --labels=noisy_label_kv.txt --test_list=clean_test_key_list.txt --test_labels=clean_label_kv.txt \
      --image_size=128 --out=packed
  noisy-jax --config=clothing1m:data=arrays --config.data.path=packed --workdir=runs/c1m

The encoder is slow (presets.protect). The rate of `finetune` is the original's for fine-tuning; its demo, for CIFAR-10,
fine-tunes by that of `classify`.
`smoke` shrinks network, images and epochs to try the whole run on a CPU.
"""

from ml_collections import ConfigDict

from noisy_jax.settings import presets


def get_config(argument: str = '') -> ConfigDict:
    """The config; the argument may change what `begin` takes; noise and rate are added to the labels."""
    config, given = presets.begin('clothing1m', argument, 14, data='filelist', lists='', smoke=False)
    place = given['lists'] and given['lists'] + '/'
    if config.data.name == 'filelist':
        config.data.update(list=f'{place}noisy_train_key_list.txt', labels=f'{place}noisy_label_kv.txt')
        config.data.update(test_list=f'{place}clean_test_key_list.txt', test_labels=f'{place}clean_label_kv.txt')
    config.data.update(image_size=128, mean=(0.6959, 0.6537, 0.6371), std=(0.3113, 0.3192, 0.3214))
    config.augment.simclr.blur_probability = 0.5
    config.head_optimizer.learning_rate = 0.1
    config.finetune.optimizer.learning_rate = 0.001
    presets.protect(config)
    return presets.smoke(config) if given['smoke'] else config
