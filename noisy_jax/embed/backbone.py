"""Networks that were trained elsewhere, as functions from images to features; those of timm."""

import contextlib
import dataclasses
import difflib
import pathlib
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from noisy_jax import files
from noisy_jax.errors import InputError, first_line

_LONGEST = 200  # characters of an error of timm that are shown


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A network without its classifier.

    Attributes:
      made_of: what its features depend on besides the image: the model, its weights, preprocessing; as JSON has it.
      width: D.
      device: where it runs, for people.
      prepare: makes an RGB image of any size what `embed` takes; threads call it.
      embed: a batch of B prepared images -> features float32 [B, D].
    """

    made_of: dict[str, Any]
    width: int
    device: str
    prepare: Callable[[Image.Image], Any]
    embed: Callable[[Sequence[Any]], np.ndarray]


def load(name: str, weights: str = '') -> Backbone:
    """A model of timm (https://huggingface.co/docs/timm) with its pooled features, on a GPU where there is one.

    Args:
      name: of the model, with or without the tag of its weights.
      weights: file of weights by timm's names, or by those of the authors that timm knows; '': fetched from its hub.

    Raises:
      InputError: timm is not installed, or it has no such model, or the weights are out of reach or do not fit.
    """
    if weights and not pathlib.Path(weights).is_file():
        raise InputError(f'--weights: no such file: {weights}')
    try:
        import timm.data  # a folder of that name may be no package
        import torch
    except Exception as error:  # of any kind, such as where torch and torchvision do not fit each other
        raise InputError(f"--model: {first_line(error)}; pip install 'noisy_jax[embed]'") from error
    _check_name(name)
    try:
        model = _with_weights(name, weights) if weights else timm.create_model(name, pretrained=True, num_classes=0)
    except InputError:
        raise
    except Exception as error:  # of the hub, the network, the disk, PyTorch
        raise InputError(
            f'--model: weights of {name} cannot be fetched ({_shown(error)}); --weights=FILE takes them from a file'
        ) from error
    device = next((kind for kind in ('cuda', 'mps') if getattr(torch, kind).is_available()), 'cpu')
    with _on(device):
        model = model.eval().to(device)
    preprocessing = timm.data.resolve_model_data_config(model)
    prepare = timm.data.create_transform(**preprocessing, is_training=False)

    def embed(images: Sequence[torch.Tensor]) -> np.ndarray:
        with _on(device), torch.inference_mode():
            return model(torch.stack(tuple(images)).to(device)).float().cpu().numpy()

    shape = embed([prepare(Image.new('RGB', (64, 64)))]).shape[1:]
    if len(shape) != 1:
        raise InputError(f'--model: features of {name} have the shape {list(shape)}; one vector per image is needed')
    cfg = model.pretrained_cfg
    made_of = {
        'model': '.'.join(filter(None, (cfg['architecture'], cfg['tag']))),
        'weights': f'sha256 {files.digest(weights)}' if weights else 'of timm',
        'preprocessing': preprocessing,
    }
    return Backbone(made_of, shape[0], device, prepare, embed)


@contextlib.contextmanager
def _on(device: str) -> Iterator[None]:
    """InputError: the device does not serve, or its memory does not suffice."""
    try:
        yield
    except RuntimeError as error:  # PyTorch's for all of that
        said = first_line(error)
        if 'out of memory' in said or 'allocate memory' in said:
            raise InputError(f'--batch: too many images for the memory ({said})') from error
        raise InputError(f'--model: it does not run here, on {device} ({said})') from error


def _check_name(name: str) -> None:
    import timm

    if '.' in name:
        known = timm.list_pretrained()
        is_known = name in known
    else:
        known, is_known = timm.list_models(), timm.is_model(name)
    if not is_known:
        close = [longer for longer in known if name in longer][:3] or difflib.get_close_matches(name, known, n=3)
        found = f'; near: {", ".join(close)}' if close else ''
        raise InputError(f'--model: timm {timm.__version__} has no model {name!r}{found} (timm.list_models() has all)')


def _with_weights(name: str, weights: str) -> Any:
    """The model with all of its weights from a file, except for those of a classifier; nothing is unpickled."""
    import timm

    try:
        state = timm.models.load_state_dict(weights, weights_only=True)
        classifiers = timm.get_pretrained_cfg(name).classifier or ()
    except Exception as error:  # damaged bytes raise many kinds
        why = 'objects in it can run code' if 'weights_only' in str(error) else _shown(error)
        raise InputError(
            f'--weights: {weights} cannot be read ({why}); .safetensors or a PyTorch state dict is needed'
        ) from error
    for classifier in (classifiers,) if isinstance(classifiers, str) else classifiers:
        for leaf in ('weight', 'bias'):
            state.pop(f'{classifier}.{leaf}', None)
    # Without a classifier in the model's description, timm loads strictly: no weight is left random or unused.
    description = {'state_dict': state, 'classifier': None}
    try:
        return timm.create_model(name, pretrained=True, num_classes=0, pretrained_cfg_overlay=description)
    except Exception as error:
        raise InputError(f'--weights: {weights} does not fit {name} ({_shown(error)})') from error


def _shown(error: Exception) -> str:
    return textwrap.shorten(str(error) or type(error).__name__, _LONGEST, placeholder=' ...')
