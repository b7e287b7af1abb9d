"""One network by the loss of the config (Ciortan 2021)."""

from noisy_jax.methods.classification import Classifier


class Single(Classifier):
    """One network; with mixup and a moving average of the weights if set."""
