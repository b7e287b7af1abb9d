"""A trained encoder from a file (model.weights): a ResNet by torchvision's names, which timm and `export` use too."""

import dataclasses
import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
from flax.traverse_util import flatten_dict, unflatten_dict

from noisy_jax.errors import InputError, first_line, some
from noisy_jax.files import open_bytes
from noisy_jax.models import torchvision
from noisy_jax.models.resnet import RESNETS, ResNet

_SETTING = 'model.weights'
_NEEDED = 'the state dict of a torchvision ResNet is needed, in a .safetensors or .npz file'
_STEMS = {3: 'small', 7: 'large'}  # by pixels of the first convolution's side
# Of the pixels that torchvision's and timm's networks were trained on (https://docs.pytorch.org/vision/stable/models.html).
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SHOWN = 3  # names in an error

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Pretrained:
    """An encoder with its weights.

    Attributes:
      path: of the file.
      encoder: its name in the settings.
      width: channels of its first stage.
      stem: 'small' or 'large'.
      channels: of the images that it takes.
      image_size: pixels of their sides; 0: unknown.
      mean: of their pixels in [0, 1], one per channel; (): unknown.
      std: likewise their standard deviation.
      variables: float32 NumPy arrays, {'params': ..., 'batch_stats': ...} of the encoder alone.
    """

    path: str
    encoder: str
    width: int
    stem: str
    channels: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    variables: dict[str, Any]

    @classmethod
    def load(cls, path: str) -> 'Pretrained':
        """Reads the file of config.model.weights. A classifier in it (fc) is left out.

        Raises:
          InputError: no such file, or another network than a ResNet that is known here.
        """
        arrays, facts = _read(path)
        name, encoder, channels = _encoder(path, arrays)
        _check_facts(path, facts, channels)
        if 'mean' in facts and 'std' in facts:
            mean, std = facts['mean'], facts['std']
        else:
            mean, std = _IMAGENET if channels == 3 else ((), ())
        height, width, _ = facts.get('image_shape', (0, 0, channels))
        return cls(
            path,
            name,
            encoder.width,
            'small' if encoder.small_images else 'large',
            channels,
            height if height == width else 0,
            mean,
            std,
            _variables(path, arrays, name, encoder, channels),
        )


def _read(path: str) -> tuple[Arrays, dict[str, tuple]]:
    """All arrays by name, and what `export` says of the images: mean, std, image_shape."""
    place = pathlib.Path(path)
    if not place.is_file():
        raise InputError(f'{_SETTING}: {path!r} is not a file; {_NEEDED}')
    if place.suffix not in ('.npz', '.safetensors'):
        raise InputError(
            f"{_SETTING}: {path!r} found; {_NEEDED}: safetensors.torch.save_file(model.state_dict(), 'w.safetensors')"
        )
    try:
        open_bytes(place).close()  # safetensors calls one that may not be read missing
        if place.suffix == '.npz':
            with np.load(place, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
                return {name: each for name, each in arrays.items() if isinstance(each, np.ndarray)}, {}
        with safetensors.safe_open(place, 'numpy') as file:
            said = file.metadata() or {}
            facts = {name: tuple(json.loads(said[name])) for name in ('mean', 'std', 'image_shape') if name in said}
            return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118, it is no mapping
    except Exception as error:  # damaged bytes raise many kinds
        raise InputError(f'{_SETTING}: {path} cannot be read ({first_line(error)}); {_NEEDED}') from error


def _encoder(path: str, arrays: Arrays) -> tuple[str, ResNet, int]:
    """Name, module and channels of the images, by the names and shapes of the arrays."""
    first = arrays.get('conv1.weight')
    if first is None or first.ndim != 4 or not first.size or first.shape[-1] not in _STEMS:
        what = ', '.join(sorted(arrays)[:_SHOWN]) if first is None else f'conv1.weight {first.shape}'
        raise InputError(f'{_SETTING}: {path} holds {what or "nothing"}; {_NEEDED}')
    blocks = tuple(len({name.split('.')[1] for name in arrays if name.startswith(f'layer{i}.')}) for i in range(1, 5))
    layers = 3 if 'layer1.0.conv3.weight' in arrays else 2
    for name, make in RESNETS.items():
        encoder = make(width=len(first), small_images=_STEMS[first.shape[-1]] == 'small')
        if encoder.stage_sizes == blocks and len(encoder.block(1, 1, jnp.float32).layers()) == layers:
            return name, encoder, first.shape[1]
    raise InputError(
        f'{_SETTING}: {path} has {" + ".join(map(str, blocks))} blocks of {layers} convolutions, which no encoder here '
        f'has; allowed: {", ".join(RESNETS)}'
    )


def _check_facts(path: str, facts: dict[str, tuple], channels: int) -> None:
    """InputError: the images of the file cannot be as it says, for an encoder that takes so many channels."""
    for name, values in facts.items():
        is_shape = name == 'image_shape'
        least, most = {'mean': (0, 1), 'std': (1e-6, 1000), 'image_shape': (1, 8192)}[name]
        kinds = (int,) if is_shape else (int, float)
        are_right = all(type(value) in kinds and least <= value <= most for value in values)
        if not are_right or len(values) != (3 if is_shape else channels) or (is_shape and values[-1] != channels):
            needed = f'(H, W, {channels}) is' if is_shape else f'{channels} numbers from {least} to {most} are'
            raise InputError(f'{_SETTING}: {path} says {name} {values}; {needed} needed')


def _variables(path: str, arrays: Arrays, encoder_name: str, encoder: ResNet, channels: int) -> dict[str, Any]:
    """The encoder's variables; InputError: names or shapes are not those of its kind, or values are not finite."""
    needed = jax.eval_shape(lambda: encoder.init(jax.random.key(0), jnp.zeros((1, 32, 32, channels)), train=False))
    needed = flatten_dict(needed, sep='/')
    theirs = {name: torchvision.name_of(f'encoder/{name.partition("/")[2]}') for name in needed}
    if missing := sorted(name for name in theirs.values() if name not in arrays):
        raise InputError(f'{_SETTING}: {path} is a {encoder_name} without {some(missing, _SHOWN)}; {_NEEDED}')
    known = {*theirs.values(), 'fc.weight', 'fc.bias'}
    if others := [name for name in arrays if name not in known and not name.endswith('.num_batches_tracked')]:
        raise InputError(f'{_SETTING}: {path} is a {encoder_name} with {some(others, _SHOWN)} besides; {_NEEDED}')
    found = {}
    for name, like in needed.items():
        array, axes = arrays[theirs[name]], torchvision.axes(like.ndim)
        wanted = tuple(like.shape[axis] for axis in axes)
        if array.shape != wanted or array.dtype.kind != 'f':
            raise InputError(
                f'{_SETTING}: {path} has {theirs[name]} {array.dtype} {array.shape}; float {wanted} is needed in a '
                f'{encoder_name}'
            )
        with np.errstate(over='ignore'):
            found[name] = np.ascontiguousarray(array.transpose(np.argsort(axes)), np.float32)
        if not np.isfinite(found[name]).all():
            raise InputError(f'{_SETTING}: {path} has NaN or infinite values in {theirs[name]}; {_NEEDED}')
        if name.endswith('/var') and found[name].min() < 0:
            raise InputError(f'{_SETTING}: {path} has values below 0 in {theirs[name]}, variances; {_NEEDED}')
    return unflatten_dict(found, sep='/')
