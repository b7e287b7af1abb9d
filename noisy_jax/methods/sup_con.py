"""Supervised contrast (Khosla 2020, "Supervised Contrastive Learning"), arXiv 2004.11362, with weighted positives."""

from noisy_jax import losses
from noisy_jax.methods.simclr import PairLoss, SimCLR
from noisy_jax.training.task import Task


class SupCon(SimCLR):
    """All images of a label are drawn together, positives weighted by clean probability (Ciortan 2021, eq. 7)."""

    sees_labels = True

    def loss(self, task: Task) -> PairLoss:
        own = task.settings
        return lambda z1, z2, batch: losses.sup_con(
            z1,
            z2,
            batch['label'],
            batch['weight'],
            temperature=own.temperature,
            own_view_weight=own.own_view_weight,
        )
