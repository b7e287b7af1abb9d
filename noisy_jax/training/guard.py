"""Whether training a whole network makes a classifier worse, seen without right labels.

Where images are held out, one that memorises wrong labels agrees less and less with theirs. Else there are heads that
were cross-fitted on the pre-trained embeddings and know some classes almost surely: a network that learns goes on
agreeing with them; one that memorises predicts wrong labels instead, on sure images as well. This sees a collapse, not
a slow decline (docs/reproducing.md, CIFAR-10 on a GPU).
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from sklearn.metrics import roc_auc_score

from noisy_jax.data.dataset import Dataset
from noisy_jax.data.rows import spread
from noisy_jax.labels.agreement import Agreement, advantage
from noisy_jax.losses.elr import TARGETS
from noisy_jax.training.context import Belief, Context
from noisy_jax.training.evaluate import Evaluator
from noisy_jax.training.journal import Journal
from noisy_jax.training.stage import Values
from noisy_jax.training.state import TrainState, Variables

_KNOWN = 0.5  # accuracy of the heads
_SURE, _SLOW, _MOSTLY_RIGHT = 0.75, 0.3, 0.5  # <p, memory>; share of the head's rate; share of right labels
_CLEARLY = 3.0  # standard errors
_FEWEST = 100  # sure images on either side for an AUROC with a standard error of some 3 %
# Sure images that are looked at after every epoch: for a small part of its time, one in so many of all images.
_EVERY, _AT_LEAST, _AT_MOST = 20, 200, 5000


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Compares classifiers by labels that none was trained on, as often wrong as the others, in whatever way.

    Attributes:
      labels: int [V], as given.
    """

    labels: np.ndarray

    @classmethod
    def of(cls, context: Context) -> 'HeldOut | None':
        """None where no image is held out, or no guard is asked."""
        valid = context.splits.valid
        return cls(valid.label) if context.config.guard and valid is not None else None

    def behind(self, classes: np.ndarray, best: np.ndarray) -> float:
        """By how many standard errors predictions [V] agree less often than the best before them."""
        return advantage(best, classes, self.labels)

    def rejects(self, classes: np.ndarray, best: np.ndarray, journal: Journal, stage: str, instead: str) -> bool:
        """Whether predictions [V] are clearly worse than `best`; then records it, and says what is used `instead`."""
        if self.behind(classes, best) <= _CLEARLY:
            return False
        found, before = (float(np.mean(each == self.labels)) for each in (classes, best))
        journal.record['rejected'] = {'stage': stage, 'agreement': found, 'best': before, 'instead': instead}
        journal.session.progress.note(
            journal.name,
            f'stage {stage} memorised wrong labels: it agrees with {100 * found:.1f} % of the held-out labels, the '
            f'best before with {100 * before:.1f} %; {instead} is used',
        )
        return True


@dataclasses.dataclass(frozen=True)
class Guard:
    """Compares classifiers with the heads on the pre-trained embeddings.

    Attributes:
      evaluator: of the network.
      images: some of those whose class is sure; `label` is as given.
      sure: int32, their classes.
      heads: what is known of the heads.
    """

    evaluator: Evaluator
    images: Dataset
    sure: np.ndarray
    heads: Agreement

    @classmethod
    def of(cls, context: Context, belief: Belief) -> 'Guard | None':
        """The guard by the cross-fitted heads of `belief`; None without."""
        if belief.head_probabilities is None or not context.config.guard:
            return None
        train = context.splits.train
        heads = Agreement.of(belief.head_probabilities, train.label)
        rows = np.flatnonzero(heads.sure >= 0)
        rows = rows[spread(len(rows), min(max(len(train) // _EVERY, _AT_LEAST), _AT_MOST))]
        return cls(context.evaluator, train.take(rows), heads.sure[rows], heads)

    @property
    def least(self) -> float:
        """Agreement on sure images below which a classifier is worse than the heads.

        Errors on sure images are rarer than on others: a classifier that errs there more often than the heads err
        anywhere, by two standard errors, is worse than they are.
        """
        return self.heads.accuracy - 2 * self.heads.accuracy_error

    def agreements(self, variables: Variables) -> Values:
        """The fractions of sure images for which a classifier predicts the sure class, and the given label."""
        predicted = self.evaluator.log_probabilities(variables, self.images).argmax(-1)
        given = float(np.mean(predicted == self.images.label))
        return {'sure_agreement': float(np.mean(predicted == self.sure)), 'given_agreement': given}

    def memorises(self, values: Values) -> bool:
        """Whether, by the metrics of an epoch, wrong labels are being memorised: no later epoch mends that.

        Sure classes are predicted less often than by the heads, and the given labels more often than they are sure.
        """
        if 'sure_agreement' not in values:
            return False
        right = np.mean(self.images.label == self.sure)
        most = right + 2 * np.sqrt(right * (1 - right) / len(self.sure))
        return bool(values['given_agreement'] > most and values['sure_agreement'] < self.least)

    def auroc(self, weights: np.ndarray, labels: np.ndarray) -> float | None:
        """How well `weights` [T] tell right pseudo-labels [T] from wrong ones where the class is sure.

        None where hardly any of them is wrong, or right, by what is sure, and where the heads are not known to be right
        more often than not: nothing is sure then.
        """
        if self.least < _KNOWN:
            return None
        rows = np.flatnonzero(self.heads.sure >= 0)
        right = labels[rows] == self.heads.sure[rows]
        if min(right.sum(), (~right).sum()) < _FEWEST:
            return None
        return float(roc_auc_score(right, weights[rows]))

    def foresee(self, state: TrainState, encoder_scale: float, journal: Journal) -> None:
        """Says, after a head alone on the given labels, whether ELR will memorise as all weights train.

        ELR holds on to what the head is sure of. With the encoder at the head's rate and most labels wrong it memorised
        below this mean <p, memory>, and not above (docs/reproducing.md, Full size without images).
        """
        memory = state.extra.get(TARGETS)  # [N, C], of two networks [2, N, C]; N may be filled up with zeros
        if memory is None or encoder_scale <= _SLOW or self.heads.right_labels > _MOSTLY_RIGHT or self.least < _KNOWN:
            return
        networks = memory.shape[0] if memory.ndim == 3 else 1
        # <p, memory>, the memory being the mean of the last p.
        sureness = float(jnp.sum(memory**2)) / (networks * len(self.heads.sure))
        if sureness < _SURE:
            journal.session.progress.note(
                journal.name,
                f'will memorise: the mean of <p, memory> is {sureness:.2f} after the head alone; where about '
                f'{100 * self.heads.right_labels:.0f} % of the labels are right, ELR needs {_SURE} or a slow encoder '
                f'(config.{journal.phase}.optimizer.encoder_scale=0.1)',
            )

    def rejects(self, variables: Variables, journal: Journal, stage: str, instead: str) -> bool:
        """Whether the outcome of a stage is worse than the heads; then records it, and says what is used `instead`."""
        found = self.agreements(variables)['sure_agreement']
        if found >= self.least:
            return False
        journal.record['rejected'] = {'stage': stage, 'sure_agreement': found, 'least': self.least, 'instead': instead}
        journal.session.progress.note(
            journal.name,
            f'stage {stage} memorised wrong labels: it predicts {100 * found:.0f} % of the classes that heads on the '
            f'embeddings are surest of, and these heads are right on about {100 * self.heads.accuracy:.0f} % of all '
            f'images; {instead} is used',
        )
        return True
