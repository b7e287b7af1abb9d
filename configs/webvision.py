"""Mini-WebVision (the first 50 classes of WebVision 1.0's Google subset), labels as the web gave them.

  noisy-jax --config=webvision --config.data.path=webvision --workdir=runs/webvision

The folder is as the archives unpack: info/train_filelist_google.txt, info/val_filelist.txt, google/q0001/..., and
val_images_256/. Images are scaled and cropped to 128 pixels, the size the original trained at. Packed once they are
read faster:

  python -m noisy_jax.data.pack --name=filelist --path=webvision --list=info/train_filelist_google.txt \
      --test_list=info/val_filelist.txt --test_path=val_images_256 --max_classes=50 --image_size=128 --out=packed
  noisy-jax --config=webvision:data=arrays --config.data.path=packed --workdir=runs/webvision

method=dividemix trains by DivideMix with its authors' settings: SGD at 0.01 for 64 images, no weight on labels that are
not trusted, after one epoch of warm-up; labels are trusted from 0.03 on after pre-training, as in C2D.

The encoder is slow (presets.protect). The rates of `finetune` are the original's for fine-tuning; its demo, for
CIFAR-10, fine-tunes by those of `classify`.
`smoke` shrinks network, images and epochs to try the whole run on a CPU.
"""

from ml_collections import ConfigDict

from noisy_jax.settings import presets


def get_config(argument: str = '') -> ConfigDict:
    """The config; the argument may change what `begin` takes; noise and rate are added to the labels."""
    config, given = presets.begin('webvision', argument, 50, data='filelist', method='single', smoke=False)
    if config.data.name == 'filelist':
        config.data.update(list='info/train_filelist_google.txt', test_list='info/val_filelist.txt')
        config.data.update(test_path='val_images_256', max_classes=50)
    config.data.update(image_size=128, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    config.augment.simclr.blur_probability = 0.5
    config.pretrain.optimizer.learning_rate = 0.1
    config.head_optimizer.update(learning_rate=0.04, weight_decay=3e-6)
    config.classify.optimizer.update(learning_rate=0.4, weight_decay=3e-5)
    config.finetune.optimizer.update(learning_rate=0.04, weight_decay=3e-6)
    config.dividemix.update(unlabelled_weight=0.0, mixup=0.5, warmup_epochs=1)
    config.dividemix.threshold = 0.03 if 'pretrain' in config.phases else 0.5
    config.classify.method = given['method']
    presets.protect(config)
    if given['method'] == 'dividemix':
        config.classify.update(head_epochs=0, epochs=79, batch_size=64)
        config.classify.optimizer.update(learning_rate=0.04, weight_decay=5e-4, encoder_scale=1.0)
        config.classify.optimizer.update(schedule='step', milestones=(39,))
    return presets.smoke(config) if given['smoke'] else config
