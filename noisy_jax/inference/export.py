"""Exports the classifier of a finished run for use without noisy_jax.

  python -m noisy_jax.export --workdir=runs/photos --out=exported

writes a folder with

encoder.safetensors     the weights; a ResNet-18, -34 or -50 by torchvision's names, to be loaded in PyTorch or, by
                        model.weights, as the encoder that another run starts from
classifier.stablehlo    images -> probabilities, a program that JAX alone runs on CPU, GPU or TPU
encoder.stablehlo       images -> embeddings, likewise
export.json             classes, image size, mean and standard deviation, and what else a program needs
README.txt              how to load each, with code
"""

import json
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from noisy_jax import cli
from noisy_jax.data import output_places
from noisy_jax.outputs import new_folder
from noisy_jax.workdir import WorkDir

if TYPE_CHECKING:  # these take JAX: --help and mistakes need none
    import numpy as np

    from noisy_jax.inference.trained import TrainedClassifier
    from noisy_jax.training.state import Variables

_TORCHVISION_WIDTH = 64
_PLATFORMS = ('cpu', 'cuda', 'tpu')


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the command line and exports; returns the exit status (2: user error, 130 or 143: stopped)."""
    parser = cli.of_command('export', __doc__)
    parser.add_argument('--workdir', required=True, type=os.path.expanduser, help='work directory of the run')
    parser.add_argument('--out', required=True, type=os.path.expanduser, help='a new folder')

    def work() -> None:
        options = parser.parse_args(argv)
        output_places.check_output(options.out, WorkDir.of_run(options.workdir))
        cli.import_jax()
        from noisy_jax.inference.trained import TrainedClassifier

        export(TrainedClassifier.of_run(options.workdir), options.out)

    return cli.exit_status(work)


def export(classifier: 'TrainedClassifier', out: str) -> None:
    """Writes the folder `out` and says what is in it.

    Raises:
      InputError: an output that cannot be used.
    """
    import safetensors.numpy

    from noisy_jax.models import torchvision

    facts = _facts(classifier)
    arrays = own_names(classifier.variables)
    if facts['weights'] == 'torchvision':
        if facts['classifier'] != 'linear':  # the only classifier of torchvision's networks
            arrays = {name: array for name, array in arrays.items() if name.startswith('encoder/')}
        arrays = torchvision.state_dict(arrays)
    with new_folder(out) as folder:
        metadata = {name: json.dumps(fact) for name, fact in facts.items()}  # the format allows text only
        (folder / 'encoder.safetensors').write_bytes(safetensors.numpy.save(arrays, metadata))
        for name, program in _programs(classifier).items():
            (folder / f'{name}.stablehlo').write_bytes(program)
        (folder / 'export.json').write_text(json.dumps(facts, indent=1) + '\n', encoding='utf-8')
        (folder / 'README.txt').write_text(_readme(facts), encoding='utf-8')
    how = pathlib.Path(out) / 'README.txt'
    print(f'{out}: {facts["encoder"]}, {len(facts["classes"])} classes; {how} says how to load it')


def own_names(variables: 'Variables') -> dict[str, 'np.ndarray']:
    """'encoder/stem_conv/kernel' [H, W, I, O], ...: encoder and classifier, of two networks the first's."""
    from flax.traverse_util import flatten_dict

    from noisy_jax.training.state import networks_of

    first, *_ = networks_of(variables)
    arrays = {name.partition('/')[2]: array for name, array in flatten_dict(first, sep='/').items()}
    return {name: array for name, array in sorted(arrays.items()) if not name.startswith('projection/')}


def _facts(classifier: 'TrainedClassifier') -> dict[str, Any]:
    """The content of export.json."""
    import jax

    from noisy_jax.models import torchvision
    from noisy_jax.training.state import networks_of

    settings, encoder = classifier.config.model, classifier.network.encoder
    small = getattr(encoder, 'small_images', None)
    named = settings.encoder in torchvision.NAMED and encoder.width == _TORCHVISION_WIDTH
    return {
        'encoder': settings.encoder,
        'classifier': settings.classifier,
        'weights': 'torchvision' if named else 'own',
        'stem': None if small is None else ('small' if small else 'large'),
        'classes': list(classifier.class_names),
        'image_shape': list(classifier.image_shape),  # H, W, C
        'levels': classifier.levels,
        'mean': list(classifier.config.data.mean),
        'std': list(classifier.config.data.std),
        'networks': len(networks_of(classifier.variables)),
        'jax': jax.__version__,
    }


def _programs(classifier: 'TrainedClassifier') -> dict[str, bytes]:
    """Images uint8 [B, H, W, C] -> probabilities float32 [B, C] ('classifier') and embeddings [B, D] ('encoder').

    JAX runs them without the code they were made from; weights and normalisation are inside.
    """
    import jax
    from jax import export

    from noisy_jax.training.evaluate import forward

    embed, log_probabilities = forward(classifier.network, classifier.normalise)
    functions: dict[str, Callable[[jax.Array], jax.Array]] = {
        'classifier': lambda images: jax.numpy.exp(log_probabilities(classifier.variables, {'image': images})),
        'encoder': lambda images: embed(classifier.variables, {'image': images}),
    }
    images = jax.ShapeDtypeStruct((*export.symbolic_shape('b'), *classifier.image_shape), 'uint8')
    return {
        name: bytes(export.export(jax.jit(function), platforms=_PLATFORMS)(images).serialize())
        for name, function in functions.items()
    }


_PROGRAMS = """\
A classifier trained by noisy_jax. Images are uint8 [B, {height}, {width}, {channels}], any B{others}.{deep}

classifier.stablehlo: images -> probabilities float32 [B, {count}], columns as "classes" in export.json.
encoder.stablehlo: images -> embeddings float32 [B, D].
Programs for CPU, GPU (CUDA) and TPU, with the weights in them and the normalisation inside.
pip install jax flatbuffers (made by JAX {jax}; newer versions read it for at least six months):

    import numpy as np
    from jax import export
    images = np.zeros((2, {height}, {width}, {channels}), np.uint8)
    with open('classifier.stablehlo', 'rb') as file:
        classifier = export.deserialize(bytearray(file.read()))
    probabilities = np.asarray(classifier.call(images))
"""

_TORCH = """
encoder.safetensors: the weights by the names of torchvision's {encoder}.
pip install torch torchvision safetensors:

    import torch, torchvision
    from safetensors.torch import load_file
    model = torchvision.models.{encoder}(num_classes={count})
{changes}    model.load_state_dict(load_file('encoder.safetensors'), strict=True)
    model.eval()
    images = torch.zeros((2, {height}, {width}, {channels}), dtype=torch.uint8)
    mean, std = torch.tensor({mean}), torch.tensor({std})
    x = ((images / 255 - mean) / std).permute(0, 3, 1, 2)
    {result} = model(x)
"""

_OWN = """
encoder.safetensors: the weights of encoder and classifier by noisy_jax's names, 'encoder/...' and 'classifier/...';
convolutions are [H, W, in, out], linear layers [in, out]. Only a ResNet-18, -34 or -50 has torchvision's names.

    from safetensors.numpy import load_file
    weights = load_file('encoder.safetensors')
"""

_PAIR = """
The classifier is two networks: classifier.stablehlo averages their probabilities; the other files are of the first.
"""


def _readme(facts: dict[str, Any]) -> str:
    height, width, channels = facts['image_shape']
    values = facts | {'height': height, 'width': width, 'channels': channels, 'count': len(facts['classes'])}
    deep = ''
    if facts['levels']:
        deep = ' Files of more than 8 bits: values from\n{:g} to {:g} become 0 to 255.'.format(*facts['levels'])
    others = ''
    if height == width:
        others = '; those of other\nsizes are first scaled by their shorter side and cropped in the middle'
    is_small, is_linear, changes = facts['stem'] == 'small', facts['classifier'] == 'linear', ''
    if is_small or channels != 3:
        window = '3, 1, 1' if is_small else '7, 2, 3'  # size, stride, padding
        changes += f'    model.conv1 = torch.nn.Conv2d({channels}, 64, {window}, bias=False)\n'
    if is_small:
        changes += '    model.maxpool = torch.nn.Identity()\n'
    if not is_linear:
        changes += '    model.fc = torch.nn.Identity()  # this classifier is more than a linear layer\n'
    weights = _TORCH if facts['weights'] == 'torchvision' else _OWN
    text = _PROGRAMS + weights + (_PAIR if facts['networks'] == 2 else '')
    return text.format(
        **values, others=others, deep=deep, changes=changes, result='logits' if is_linear else 'embeddings'
    )
