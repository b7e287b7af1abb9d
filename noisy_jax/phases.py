"""The method's phases, each a short function over `fit`: (method, inputs, journal) -> outcome.

How an encoder is trained is in `training/representation.py`, a classifier in `training/classifier.py`.

base      the classifier from scratch on the given labels, only to compare
pretrain  (a1) contrast of views of the images alone (SimCLR, MoCo)
classify  (a2) head, then all weights, on the given labels; its predictions are the pseudo-labels
select    (b1) head on the pseudo-labels; a mixture on the losses gives each pseudo-label's clean probability
contrast  (b2) supervised contrastive with the pseudo-labels, pairs weighted by clean probability
finetune  (b3) head, then all weights, on the pseudo-labels
"""

import dataclasses

import jax
import numpy as np

from noisy_jax import losses, selection
from noisy_jax.training import knn, optim
from noisy_jax.training.classifier import Plan, classifier_phase, fit_classifier, new_head
from noisy_jax.training.evaluate import over_dataset
from noisy_jax.training.loop import Journal
from noisy_jax.training.mesh import place_like, to_host
from noisy_jax.training.method import Inputs, Method, Outcome, Phase
from noisy_jax.training.representation import representation_phase
from noisy_jax.training.state import LOSSES, TrainState, Variables


def base(method: Method, inputs: Inputs, journal: Journal) -> Outcome:
    """All weights from scratch, for as many epochs as head and network have in `classify`."""
    return classifier_phase(method, inputs.from_scratch(), journal, method.config.base)


def pretrain(method: Method, inputs: Inputs, journal: Journal) -> Outcome:
    """(a1) Contrast of two views of each image; labels play no part (SimCLR, MoCo), unless asked for."""
    start = inputs.variables or method.fresh('encoder')
    return representation_phase(method, inputs.train, journal, start, method.config.pretrain)


def classify(method: Method, inputs: Inputs, journal: Journal) -> Outcome:
    """(a2) A new head, then all weights, on the given labels."""
    return classifier_phase(method, inputs, journal, method.config.classify)


def select(method: Method, inputs: Inputs, journal: Journal) -> Outcome:
    """(b1) A new head on the pseudo-labels; the losses of its last epochs tell clean from noisy (Arazo 2019, eq. 1).

    With `neighbours`, an image's pseudo-label is first replaced by that of its neighbours.
    """
    settings, network, session = method.config.select, method.network, journal.session
    variables = new_head(method, inputs.variables, journal.phase)
    embeddings = method.evaluator.embed(variables, inputs.train)  # [N, D]: the encoder rests, so once is enough
    train = inputs.train
    if settings.neighbours:
        label = knn.label_of_neighbours(embeddings, train.label, k=settings.neighbours, num_classes=train.num_classes)
        train = train.replace(label=label)

    def per_sample(variables: Variables, batch: dict[str, jax.Array]) -> jax.Array:
        logits = network.apply(variables, batch['embedding'], train=False, method='classify')
        values = losses.cross_entropy(logits, batch['label'])
        return values + losses.negative_entropy(logits) if settings.negative_entropy else values

    per_sample_losses = over_dataset(per_sample, session.mesh, method.evaluator.batch_size, session.compiler_options)

    def remember(current: TrainState, epoch: int) -> tuple[TrainState, dict]:
        arrays = {'embedding': embeddings, 'label': train.label}
        newest = per_sample_losses(current.variables, arrays)  # [N]
        history = np.append(to_host(current.extra[LOSSES])[1:], newest[None], axis=0)  # [E, N]
        return current.replace(extra={**current.extra, LOSSES: place_like(history, current.extra[LOSSES])}), {}

    history = np.full((settings.history, len(inputs.train)), np.nan, np.float32)
    plan = Plan('head', optim.HEAD, settings.epochs, optim.settings_of(method.config, 'select', head=True))
    extra = {LOSSES: history}
    trained = fit_classifier(method, train, journal, variables, plan, losses.criterion('ce'), extra, remember)
    recorded = to_host(trained.extra[LOSSES])[-min(settings.epochs, settings.history) :]
    weight = selection.clean_probability(recorded, history=settings.history, seed=session.seed)
    # The encoder is the one before: the head served the losses alone.
    arrays = {'selection_losses': recorded, 'weight': weight.astype(np.float32), 'label': train.label}
    return Outcome(inputs.variables, arrays)


def contrast(method: Method, inputs: Inputs, journal: Journal) -> Outcome:
    """(b2) Supervised contrastive on the pseudo-labels, positives weighted by clean probability."""
    settings = method.config.contrast
    # Below this floor a pair would have no say at all, and a row of such pairs no gradient.
    weighted = inputs.train.replace(weight=np.maximum(inputs.train.weight, settings.min_weight))
    return representation_phase(method, weighted, journal, inputs.variables, settings)


def finetune(method: Method, inputs: Inputs, journal: Journal) -> Outcome:
    """(b3) A new head, then all weights, on the pseudo-labels."""
    settings = method.config.finetune
    train = inputs.train
    if not settings.weighted:
        train = train.replace(weight=np.ones(len(train), np.float32))
    return classifier_phase(method, dataclasses.replace(inputs, train=train), journal, settings)


PHASES: dict[str, Phase] = {
    'base': base,
    'pretrain': pretrain,
    'classify': classify,
    'select': select,
    'contrast': contrast,
    'finetune': finetune,
}
