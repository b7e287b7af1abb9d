"""Cross-fitted heads on pre-trained embeddings: what the encoder can do as it is, seen without right labels."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from noisy_jax import losses
from noisy_jax.labels import agreement
from noisy_jax.labels.agreement import Agreement
from noisy_jax.losses import Criterion
from noisy_jax.training import optim
from noisy_jax.training.context import Context
from noisy_jax.training.journal import Journal
from noisy_jax.training.mesh import of_main
from noisy_jax.training.state import Variables

_LOSSES = ('ce', 'elr', 'nfl_rce')  # that 'auto' chooses from, besides the loss of all weights
_EPOCHS = 20  # where the phase trains no head alone
_FEWEST = 20  # images
_MOST = 100_000  # embeddings on the device; a linear head learns little from more


def compare(context: Context, variables: Variables, loss: str, journal: Journal) -> np.ndarray | None:
    """Cross-fits heads for the phase `classify`; the journal's record gets what they show, as `heads`.

    Args:
      context: of the run.
      variables: a pre-trained encoder that saw no label, and a new head.
      loss: of all weights, with `head_loss` 'same' also of the head.
      journal: of the phase.

    Returns:
      Probabilities float32 [T, C] of the training images by the head of the chosen loss; None where nobody asks, or for
      images so few that they tell nothing.
    """
    config, own, train = context.config, context.config.classify, context.splits.train
    if len(train) < _FEWEST or (not config.guard and own.head_loss != 'auto'):
        return None
    names = {'same': [loss], 'auto': [loss, *_LOSSES]}.get(own.head_loss, [own.head_loss])
    settings = {
        'optimizer': config.head_optimizer,
        'epochs': own.head_epochs or _EPOCHS,
        'batch_size': own.batch_size,
        'seed': journal.seed('heads'),
    }
    embeddings = context.evaluator.embed(variables, train)  # [T, D]
    found = {}
    for name in dict.fromkeys(names):
        criterion = losses.criterion(name, **config.loss_settings[name])
        alone = cross_fitted(context.network, variables, embeddings, train.label, criterion, **settings)
        found[name] = of_main(alone)
    chosen = agreement.best(found, train.label)
    known = Agreement.of(found[chosen], train.label)
    shown = {name: value for name, value in vars(known).items() if name not in ('agreement', 'sure')}
    agreements = {name: float(np.mean(each.argmax(1) == train.label)) for name, each in found.items()}
    journal.record['heads'] = {'agreement': agreements, 'chosen': chosen, **shown}
    return found[chosen]


def cross_fitted(
    network: nn.Module,
    variables: Variables,
    embeddings: np.ndarray,
    labels: np.ndarray,
    criterion: Criterion,
    *,
    optimizer: Mapping[str, Any],
    epochs: int,
    batch_size: int,
    seed: int,
    folds: int = 2,
) -> np.ndarray:
    """Probabilities float32 [N, C] of every sample by a head that was trained on the other folds.

    Args:
      network: with `classify`.
      variables: of the new head.
      embeddings: float32 [N, D], by an encoder that saw no label.
      labels: int [N], as given.
      criterion: the loss.
      optimizer: its settings, as in `optim.settings`.
      epochs: passes over the other folds, of which at most 100,000 samples are used.
      batch_size: images per batch, at most.
      seed: random seed of folds and order.
      folds: how many.
    """
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    # As many in all folds: one shape, one compilation.
    count = min(len(labels) - -(-len(labels) // folds), _MOST)
    size = min(batch_size, count)
    descent = optim.optimizer(optimizer, epochs=epochs, steps_per_epoch=count // size, batch_size=size)
    run = jax.jit(_epoch(network, criterion, descent), donate_argnums=0)
    predict = jax.jit(lambda head, x: jax.nn.softmax(network.apply(head, x, train=False, method='classify')))
    head = {kind: {'classifier': tree['classifier']} for kind, tree in variables.items() if 'classifier' in tree}
    found = None
    for held in range(folds):
        left_out = np.arange(len(labels)) % folds == held
        rows, own = shuffled[~left_out][:count], shuffled[left_out]
        x, y = jnp.asarray(embeddings[rows]), jnp.asarray(labels[rows])
        classes = jax.eval_shape(predict, head, x).shape[1]
        state = jax.tree.map(jnp.array, (head, descent.init(head['params']), criterion.init(count, classes)))
        for epoch in range(epochs):
            order = np.random.default_rng((seed, epoch)).permutation(count).astype(np.int32)
            state = run(state, order[: count // size * size].reshape(-1, size), x, y)
        found = np.zeros((len(labels), classes), np.float32) if found is None else found
        for start in range(0, len(own), _MOST):
            some = own[start : start + _MOST]
            found[some] = predict(state[0], embeddings[some])
    return found


def _epoch(network: nn.Module, criterion: Criterion, descent: optax.GradientTransformation) -> Callable:
    """(state, order [S, B], embeddings [M, D], labels [M]) -> state, of (head, optimiser's state, loss's memory)."""

    def epoch(state: tuple, order: jax.Array, x: jax.Array, y: jax.Array) -> tuple:
        def step(state: tuple, index: jax.Array) -> tuple[tuple, None]:
            head, of_descent, memory = state

            def loss_of(params: Any) -> tuple[jax.Array, tuple]:
                own = {**head, 'params': params}
                logits, changed = network.apply(own, x[index], train=True, method='classify', mutable=['batch_stats'])
                newest = criterion.remember(memory, index, logits)
                values = criterion.loss(logits, y[index], criterion.rows(newest, index))
                return values.mean(), (changed, newest)

            grads, (changed, memory) = jax.grad(loss_of, has_aux=True)(head['params'])
            updates, of_descent = descent.update(grads, of_descent, head['params'])
            head = {**head, **changed, 'params': optax.apply_updates(head['params'], updates)}
            return (head, of_descent, memory), None

        return jax.lax.scan(step, state, order)[0]  # no convolution is in it

    return epoch
