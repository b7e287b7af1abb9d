"""Training steps as `fit` runs them, on random images: their placement, their jitted function, their feed."""

import contextlib
import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from noisy_jax import losses, models
from noisy_jax.data import augment
from noisy_jax.data.dataset import Dataset
from noisy_jax.methods import ssr
from noisy_jax.methods.classification import classification_step
from noisy_jax.methods.pair import pair_step
from noisy_jax.methods.simclr import contrastive_step
from noisy_jax.models.heads import Consistency
from noisy_jax.training import compiling, loop, optim, state
from noisy_jax.training import mesh as mesh_lib
from noisy_jax.training.checkpoints import Checkpoints
from noisy_jax.training.feed import Arrays, Feed
from noisy_jax.training.journal import Journal
from noisy_jax.training.metrics import MetricWriter
from noisy_jax.training.session import Session
from noisy_jax.training.signals import StopSignal
from noisy_jax.training.stage import Stage
from noisy_jax.training.steps import Learner, Step, normaliser

SEED, CLASSES, SIDE = 0, 10, 32
NAMES = ('simclr', 'sup_con', 'supervised', 'elr', 'ssr')
CONTRASTIVE = NAMES[:2]
RGB_MOMENTS = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


@dataclasses.dataclass(frozen=True)
class Case:
    """A step.

    Attributes:
      step: one of NAMES.
      dtype: of the network's computations.
      batch_size: images of a step.
      encoder: as in the config.
      block_size: of the contrastive losses; None: as the project chooses, 0: dense.
      paired: two networks that teach each other, where the step is a classifier's.
    """

    step: str
    dtype: str
    batch_size: int
    encoder: str = 'resnet18'
    block_size: int | None = None
    paired: bool = False

    @property
    def trained(self) -> tuple[str, ...]:
        """The trained parts of the network."""
        if self.step == 'ssr':
            return (*optim.CLASSIFIER, ssr.HEADS)
        return optim.REPRESENTATION if self.step in CONTRASTIVE else optim.CLASSIFIER

    def stage(self, epochs: int) -> Stage:
        """All trained parts, by the optimiser of configs/cifar10.py."""
        rate = 0.03 if self.step in CONTRASTIVE else 0.01
        sgd = {'name': 'sgd', 'learning_rate': rate, 'weight_decay': 1e-4}
        drawn_by = ssr.BALANCE if self.step == 'ssr' else ''
        return Stage('all', self.trained, epochs, self.batch_size, ConfigDict(sgd), drawn_by=drawn_by)


def images(count: int) -> Dataset:
    """Random squares of colour, which SimCLR can tell apart, with random labels."""
    rng = np.random.default_rng(SEED)
    coarse = rng.integers(0, 256, (count, 4, 4, 3), np.uint8)
    pixels = coarse.repeat(SIDE // 4, axis=1).repeat(SIDE // 4, axis=2)
    return Dataset(pixels, rng.integers(0, CLASSES, count, np.int32), tuple(map(str, range(CLASSES))))


def network_of(case: Case) -> models.Network:
    """The network of a case."""
    return models.create({'encoder': case.encoder, 'dtype': case.dtype}, num_classes=CLASSES, image_size=SIDE)


def build(case: Case, data: Dataset) -> tuple[Step, state.TrainState]:
    """The step and its initial state, with the settings of configs/cifar10.py."""
    stage, network = case.stage(200), network_of(case)
    init = jax.jit(lambda key: network.init(key, jnp.zeros((1, SIDE, SIDE, 3)), train=False))
    variables = mesh_lib.to_host(init(jax.random.key(SEED)))
    optimizer = optim.optimizer(
        stage.optimizer,
        epochs=stage.epochs,
        steps_per_epoch=len(data) // case.batch_size,
        batch_size=case.batch_size,
    )
    policy = augment.policy('simclr' if case.step in CONTRASTIVE else 'standard')
    learner = Learner(network, optimizer, policy, normaliser(*RGB_MOMENTS), case.trained)
    if case.step in CONTRASTIVE:

        def loss(z1: jax.Array, z2: jax.Array, batch: dict) -> jax.Array:
            if case.step == 'simclr':
                return losses.nt_xent(z1, z2, temperature=0.5, block_size=case.block_size)
            given = batch['label'], batch['weight']
            return losses.sup_con(z1, z2, *given, temperature=0.07, block_size=case.block_size)

        return contrastive_step(learner, loss), state.create(variables, optimizer, case.trained)
    if case.step == 'ssr':
        width = variables['params']['classifier']['linear']['kernel'].shape[0]
        heads = mesh_lib.to_host(Consistency().init(jax.random.key(SEED), jnp.zeros((1, width)), train=False))
        variables = {kind: {**tree, ssr.HEADS: heads[kind]} for kind, tree in variables.items()}
        step = ssr.ssr_step(
            learner,
            dataclasses.replace(learner, augment=augment.policy('autoaugment')),
            mixup=4.0,
            cutmix=False,
            consistency=1.0,
        )
        memory = {ssr.LABEL: data.label, ssr.BALANCE: np.ones(len(data), np.float32)}
        return step, state.create(variables, optimizer, case.trained, memory)
    criterion = losses.criterion('elr', beta=0.7, lam=3.0) if case.step == 'elr' else losses.criterion('ce')
    make, memory = classification_step, criterion.init(len(data), CLASSES)
    if case.paired:
        make, variables, memory = pair_step, state.stack(variables, variables), state.stack(memory, memory)
    return make(learner, criterion), state.create(variables, optimizer, case.trained, memory)


@contextlib.contextmanager
def session(
    folder: pathlib.Path, mesh: jax.sharding.Mesh | None = None, seed: int = SEED, **settings: Any
) -> Iterator[Session]:
    """A session of `fit` on one device or a mesh that logs to `folder` and saves no checkpoint before the end."""
    metrics = MetricWriter(folder / 'metrics.jsonl')
    settings = {'compiler_options': compiling.compiler_options(), 'checkpoint_every': 10**6, **settings}
    yield Session(mesh or mesh_lib.make_mesh(1), seed, metrics, StopSignal(), **settings)
    metrics.close()


class Program:
    """A step as `fit` runs it: its placed state, its jitted function, its feed."""

    def __init__(self, step: Step, start: state.TrainState, session: Session, data: Dataset, batch_size: int) -> None:
        self.state = loop.place(start, session)
        self.run = loop.runner(step, session, self.state)
        self.feed = Feed(data, session.mesh, batch_size, session.resident_bytes)
        self.key = mesh_lib.replicate(jax.random.key_data(jax.random.key(session.seed)), session.mesh)
        self._weights = start.extra.get(ssr.BALANCE)
        self._given = (given for epoch in itertools.count() for given in self.epoch(session.seed, epoch))

    def epoch(self, seed: int, number: int) -> Iterator[Arrays]:
        """What the steps of an epoch get."""
        return self.feed.of_epoch(seed, number, weights=self._weights)

    @property
    def arguments(self) -> tuple[Any, ...]:
        """Arguments of `run`, to trace or compile it."""
        return self.state, self.feed.resident, next(self.epoch(SEED, 0)), self.key

    def steps(self, count: int) -> list[dict[str, jax.Array]]:
        """Does `count` steps and waits for the last; their metrics."""
        metrics = []
        for given in itertools.islice(self._given, count):
            self.state, values = self.run(self.state, self.feed.resident, given, self.key)
            metrics.append(values)
        jax.block_until_ready((self.state, metrics))
        return metrics


def through_fit(
    made: tuple[Step, state.TrainState],
    stage: Stage,
    session: Session,
    data: Dataset,
    folder: pathlib.Path,
    after_epoch: Callable[[Journal, state.TrainState], None],
) -> Journal:
    """Trains with `fit`: order, gather, augmentation, step, metrics.

    Args:
      made: the step and its initial state, as of `build`.
      stage: for how many epochs, and the batch size.
      session: as of `session`.
      data: the images.
      folder: for the checkpoint at the end.
      after_epoch: called with the journal and the state after each epoch.
    """
    step, start = made
    checkpoints = Checkpoints(folder / 'checkpoints')
    journal = Journal('pretrain', session, checkpoints)

    def watch(current: state.TrainState, epoch: int) -> tuple[state.TrainState, dict]:
        del epoch
        after_epoch(journal, current)
        return current, {}

    loop.fit(stage, step, start, data, journal, watch)
    checkpoints.close()
    return journal
