"""scikit-learn's 8x8 digits, 60 % symmetric noise, all phases."""

from ml_collections import ConfigDict

from noisy_jax import config as defaults


def get_config(argument: str = '') -> ConfigDict:
    """Arguments: loss=ce|nfl_rce|elr, noise=none|symmetric|asymmetric, rate, phases=base|pretrained|finetuned|all."""
    given = defaults.parse_argument(argument, {'loss': 'elr', 'noise': 'symmetric', 'rate': 0.6, 'phases': 'all'})
    config = defaults.default()
    config.name = 'digits'
    config.phases = defaults.phase_list(given['phases'])
    config.loss = given['loss']
    config.noise.kind, config.noise.rate = given['noise'], given['rate']
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
