"""The classifier of a finished run, for new images."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from noisy_jax import files, json_files, layout, schedule, settings
from noisy_jax.config import completed, from_json
from noisy_jax.data.dataset import Dataset
from noisy_jax.data.depth import Levels
from noisy_jax.data.lazy import Images
from noisy_jax.data.scale import Scale
from noisy_jax.errors import InputError
from noisy_jax.models.network import Network
from noisy_jax.training import compiling, memory, outcome, pytrees
from noisy_jax.training import mesh as mesh_lib
from noisy_jax.training.checkpoints import Checkpoints
from noisy_jax.training.context import create_network
from noisy_jax.training.evaluate import Evaluator
from noisy_jax.training.state import Variables, networks_of
from noisy_jax.training.steps import Normalise, normaliser
from noisy_jax.workdir import WorkDir

OWN = _WEIGHTS, _DESCRIPTION = 'model.safetensors', 'model.json'  # what `save` writes
ESTIMATOR = 'estimator.json'  # beside them, where the `save` of an estimator wrote all
_FORM = {'classes': [str], 'image_shape': [int, int, int], 'pixels?': layout.PIXELS, 'config': dict}
_REMEDY = 'take a folder that `save` wrote'


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedClassifier:
    """A network with its weights. It compiles on first use; compiled programs are not pickled.

    Attributes:
      variables: NumPy arrays, {'params': ..., 'batch_stats': ...}; of a pair of networks also the second's.
      config: of the run; `model`, `data.mean`, `data.std` and `eval_batch_size` are used.
      class_names: C names.
      image_shape: (H, W, C) of the images that it takes.
      levels: which values of deep image files became black and white in training; None: there were none.
      scale: of the pixels of training; None: an earlier version's.

    Example:
      >>> classifier = TrainedClassifier.of_run('runs/photos')
      >>> probabilities = classifier.predict_proba(images)  # uint8 [N, H, W, C] -> float32 [N, C]
    """

    variables: Variables
    config: ConfigDict
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    levels: Levels | None = None
    scale: Scale | None = None

    @classmethod
    def of_run(cls, workdir: str | os.PathLike) -> 'TrainedClassifier':
        """The last classifier of a run: of `finetune` in its last round, else of `classify`, else of `base`.

        Raises:
          InputError: no work directory, or a run without a classifier or with an unfinished one.
        """
        mesh_lib.devices()  # without one, all checkpoints seem damaged
        folder = WorkDir.of_run(workdir)
        config = completed(folder.load_config(), settings.sections(), folder.path / 'config.json')
        phase = schedule.last_classifier(entry.name for entry in schedule.entries(config))
        if phase is None:
            why = 'it trained nothing; config.effort=normal trains one, in another work directory'
            if config.phases:
                why = f'its phases are {", ".join(config.phases)}'
            raise InputError(f'{folder.path}: this run has no classifier; {why}')
        data = folder.load_json('data')
        names, shape = tuple(data['classes']), tuple(data['image_shape'])
        found = cls(_outcome(folder, phase), config, names, shape, _levels(data), Scale.load(data.get('pixels')))
        found._check(f'{folder.path}/config.json and data.json')
        return found

    @classmethod
    def load(cls, folder: str | os.PathLike) -> 'TrainedClassifier':
        """What `save` wrote.

        Raises:
          InputError: a file is missing or broken.
        """
        import safetensors.numpy

        path = pathlib.Path(os.path.expanduser(folder))
        description = json_files.read(path / _DESCRIPTION, _FORM, _REMEDY)
        try:
            arrays = safetensors.numpy.load_file(path / _WEIGHTS)
            saved, levels = from_json(description['config']), _levels(description)
        except Exception as error:  # damaged bytes raise many kinds
            raise InputError(f'{path}: no classifier that `save` wrote ({" ".join(str(error).split())})') from error
        if not pytrees.is_as_signed(description, arrays):
            raise InputError(f'{path}: {_WEIGHTS} and {_DESCRIPTION} are not what `save` wrote; {_REMEDY}')
        config = completed(saved, settings.sections(), path / _DESCRIPTION)
        names, shape = tuple(description['classes']), tuple(description['image_shape'])
        scale = Scale.load(description.get('pixels'))
        found = cls(unflatten_dict(arrays, sep='/'), config, names, shape, levels, scale)
        found._check(path / _DESCRIPTION)
        return found

    def save(self, folder: str | os.PathLike) -> None:
        """Writes model.safetensors (arrays named 'params/encoder/...') and model.json: numbers and text, no code.

        Raises:
          InputError: the folder holds files that `save` did not write, or cannot be written; then all stay as they are.
        """
        if (pathlib.Path(os.path.expanduser(folder)) / ESTIMATOR).exists():
            raise InputError(f'folder: {os.fspath(folder)} holds a saved estimator; take a new or an empty folder')
        self.save_with(folder, {})

    def save_with(self, folder: str | os.PathLike, others: Mapping[str, bytes]) -> None:
        """As `save`, with other files, by name, beside its own."""
        import safetensors.numpy

        if not files.is_local(folder):
            raise InputError(f'folder: {os.fspath(folder)!r} is not allowed; the name of a local folder is needed')
        path = pathlib.Path(os.path.expanduser(folder))
        files.check_free(path, _DESCRIPTION, 'folder')
        if (path / _DESCRIPTION).exists():  # of these names are files of other programs too
            json_files.read(path / _DESCRIPTION, _FORM, 'take a new or an empty folder')
        arrays = {name: np.ascontiguousarray(array) for name, array in flatten_dict(self.variables, sep='/').items()}
        shape, config = list(self.image_shape), self.config.to_dict()
        pixels = self.scale and self.scale.describe()
        description = {'classes': list(self.class_names), 'image_shape': shape, 'levels': self.levels}
        description |= {'pixels': pixels, 'config': config}
        description = pytrees.signed(description, arrays)
        try:
            own = {_DESCRIPTION: files.as_json(description), _WEIGHTS: safetensors.numpy.save(arrays)}
            files.write_all(path, {**own, **others})
        except OSError as error:
            raise InputError(f'{path}: cannot be written ({error.strerror})') from error

    @memory.needed()
    def predict_proba(self, images: Images) -> np.ndarray:
        """Probabilities float32 [N, C] of images uint8 [N, H, W, C]; of a pair of networks, their mean.

        Raises:
          InputError: images of another shape or type, or too little memory.
        """
        dataset = self._dataset(images)
        return self._evaluator(len(dataset)).predict(self.variables, dataset)

    @memory.needed()
    def embed(self, images: Images) -> np.ndarray:
        """Embeddings float32 [N, D] of images uint8 [N, H, W, C]; of a pair of networks, the first's.

        Raises:
          InputError: images of another shape or type, or too little memory.
        """
        dataset = self._dataset(images)
        return self._evaluator(len(dataset)).embed(self.variables, dataset)

    @property
    def embedding_size(self) -> int:
        """D of `embed`."""
        first, *_ = networks_of(self.variables)
        embed = functools.partial(self.network.apply, train=False, method='embed')
        return jax.eval_shape(embed, first, jax.ShapeDtypeStruct((1, *self.image_shape), np.float32)).shape[1]

    @property
    def network(self) -> Network:
        return create_network(self.config, len(self.class_names), self.image_shape[0])

    @property
    def normalise(self) -> Normalise:
        return normaliser(tuple(self.config.data.mean), tuple(self.config.data.std))

    def _check(self, described_by: object) -> None:
        """InputError: the weights are not those of the network that files describe, or are not finite."""
        height, width, channels = self.image_shape
        if min(self.image_shape) < 1 or not self.class_names:
            raise InputError(f'{described_by}: images {self.image_shape} of {len(self.class_names)} classes')
        images = jax.ShapeDtypeStruct((1, height, width, channels), np.float32)
        needed = jax.eval_shape(functools.partial(self.network.init, train=False), jax.random.key(0), images)
        for one in networks_of(self.variables):
            shapes = {name: np.shape(leaf) for name, leaf in flatten_dict(one, sep='/').items()}
            for name, like in flatten_dict(needed, sep='/').items():
                if shapes.get(name) != like.shape:
                    raise InputError(
                        f'{described_by}: the weights are of another network ({name} is {shapes.get(name)}, '
                        f'{like.shape} is needed)'
                    )
        if self.scale and any(len(values) != channels for values in self.scale.describe().values()):
            raise InputError(f'{described_by}: pixels: one number for each of {channels} channels is needed')
        if found := pytrees.not_finite(self.variables):
            raise InputError(f'{described_by}: NaN or infinite values of {found}; no classifier')

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def _dataset(self, images: Images) -> Dataset:
        kind, shape = getattr(images, 'dtype', type(images).__name__), getattr(images, 'shape', ())
        if shape[1:] != self.image_shape or kind != np.uint8:
            wanted = ', '.join(map(str, self.image_shape))
            raise InputError(f'images: found {kind} {shape}; uint8 [N, {wanted}] is needed')
        if self.scale:
            self.scale.warn_of_other(images, 'images')
        return Dataset(images, np.zeros(len(images), np.int32), self.class_names)

    def _evaluator(self, images: int) -> Evaluator:
        """Full batches for many images; for few, the next power of two, which runs faster than a full batch."""
        return self._evaluators(min(self.config.eval_batch_size, 1 << max(images - 1, 0).bit_length()))

    @functools.cached_property
    def _evaluators(self) -> Any:
        mesh, options = mesh_lib.make_mesh(), compiling.compiler_options()
        return functools.cache(lambda size: Evaluator(self.network, self.normalise, mesh, size, options))


def _levels(description: dict[str, Any]) -> Levels | None:
    levels = description.get('levels')  # earlier versions have none
    return levels and Levels(*map(float, levels))


def _outcome(folder: WorkDir, phase: str) -> Variables:
    path = folder.checkpoints(phase)
    if path.is_dir():
        checkpoints = Checkpoints(path)
        try:
            if checkpoints.meta.get('complete'):
                outcome.check_origin(folder, phase, checkpoints)
                return checkpoints.restore_outcome()
        finally:
            checkpoints.close()
    raise InputError(f'{folder.path}: {phase} is not finished; rerun the command of this run to resume it')
