"""scikit-learn's 8x8 digits (1,437 to train, 360 to test), 60 % symmetric noise, all six phases; no download.

  python -m noisy_jax.main --config=configs/digits.py --workdir=runs/digits

50 seconds on two CPU cores. Test accuracy of the last epoch in %, mean over three seeds (python experiments/digits.py):

  noise  loss      Base  Pre-trained  Fine-tuned  control: head on a random encoder
  40%    ce        84.8         97.2        98.5        92.1
  40%    nfl_rce   97.5         98.8        98.9        93.3
  40%    elr       97.8         98.8        99.0        90.7
  60%    ce        63.0         91.8        94.9        83.2
  60%    nfl_rce   87.2         96.3        97.3        91.9
  60%    elr       95.3         97.9        98.3        84.7
  80%    ce        28.0         56.5        65.8        51.9
  80%    nfl_rce   38.1         81.4        83.9        73.3
  80%    elr       55.9         84.4        92.2        64.7

How the settings were chosen: experiments/README.md.
"""

from ml_collections import ConfigDict

from noisy_jax import config as defaults


def get_config(argument: str = '') -> ConfigDict:
    """The config of an argument such as 'loss=elr,rate=0.8'.

    Arguments: loss=ce|nfl_rce|elr|..., noise=none|symmetric|pair|instance|... (noisy_jax/data/noise.py, KINDS),
    rate=0..1, phases=base|pretrained|finetuned|all.
    """
    config, _ = defaults.with_argument(argument, {'loss': 'elr', 'noise': 'symmetric', 'rate': 0.6, 'phases': 'all'})
    config.name = 'digits'
    config.data.name = 'digits'
    config.data.mean, config.data.std = (0.305,), (0.376,)
    config.model.encoder = 'cnn_small'

    adamw = {'name': 'adamw', 'learning_rate': 2e-3, 'weight_decay': 1e-4}
    with config.unlocked():
        for phase in (config.pretrain, config.contrast):
            phase.augment = 'handwriting'
            phase.optimizer.update(adamw)
        config.pretrain.epochs, config.contrast.epochs = 60, 20
        for phase in (config.base, config.classify, config.select, config.finetune):
            phase.batch_size = 128
            phase.augment = 'none'
            phase.optimizer.update(adamw)
        for phase in (config.classify, config.finetune):
            phase.head_epochs, phase.epochs = 10, 30
            phase.head_optimizer.update(adamw)
        for phase in (config.base, config.classify, config.finetune):
            phase.optimizer.encoder_scale = 0.1
        config.base.epochs = 40
        config.select.epochs = 10
    config.checkpoint_every = 20
    return config
