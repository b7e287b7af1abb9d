"""scikit-learn's 8x8 digits (1,437 to train, 360 to test), 60 % symmetric noise, all six phases; no download.

  noisy-jax --config=digits --workdir=runs/digits

50 seconds on two CPU cores. Test accuracy of the last epoch in %, mean over three seeds (docs/reproducing.md):

  noise  loss      Base  Pre-trained  Fine-tuned  control: head on a random encoder
  60%    ce        63.0         91.8        94.9        83.2
  60%    nfl_rce   87.2         96.3        97.3        91.9
  60%    elr       95.3         97.9        98.3        84.7
"""

from ml_collections import ConfigDict

from noisy_jax.settings import presets


def get_config(argument: str = '') -> ConfigDict:
    """The config; the argument may change what `begin` takes, e.g. 'loss=ce,rate=0.8'."""
    config, _ = presets.begin('digits', argument, loss='elr', noise='symmetric', rate=0.6, phases='all')
    config.data.update(name='digits', mean=(0.305,), std=(0.376,))
    config.model.encoder = 'cnn_small'
    config.checkpoint_every = 20

    presets.set_optimizers(config, name='adamw', learning_rate=2e-3, weight_decay=1e-4)
    config.base.encoder_scale = config.classify.optimizer.encoder_scale = config.finetune.optimizer.encoder_scale = 0.1

    config.base.update(epochs=40, batch_size=128, augment='none')
    config.pretrain.update(epochs=60, augment='handwriting')
    config.classify.update(head_epochs=10, epochs=30, batch_size=128, augment='none')
    config.select.update(epochs=10, batch_size=128)
    config.contrast.update(epochs=20, augment='handwriting')
    config.finetune.update(head_epochs=10, epochs=30, batch_size=128, augment='none')
    return config
