"""Small images as data URIs."""

import base64
import io

import numpy as np
from PIL import Image

from noisy_jax.data.pixels import visible


def data_uri(image: np.ndarray, size: int) -> str:
    """Encodes uint8 [H, W, C], scaled to at most `size` pixels, as PNG or JPEG, whichever is shorter."""
    shown = visible(image)
    picture = Image.fromarray(shown if shown.shape[-1] == 3 else shown[..., 0])
    picture.thumbnail((size, size), Image.Resampling.LANCZOS)
    uris = []
    for kind, settings in {'png': {'optimize': True}, 'jpeg': {'quality': 88, 'subsampling': 0}}.items():
        buffer = io.BytesIO()
        picture.save(buffer, format=kind, **settings)
        uris.append(f'data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}')
    return min(uris, key=len)
