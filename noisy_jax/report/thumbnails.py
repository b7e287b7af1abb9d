"""Small images as data URIs."""

import base64
import io

import numpy as np
from PIL import Image

_QUALITY = 88


def data_uri(image: np.ndarray, size: int) -> str:
    """Encodes uint8 [H, W, C], scaled to at most `size` pixels, as PNG or JPEG, whichever is shorter."""
    picture = Image.fromarray(image[..., :3] if image.shape[-1] >= 3 else image[..., 0])
    picture.thumbnail((size, size), Image.Resampling.LANCZOS)
    encoded = {
        'png': _encoded(picture, format='PNG', optimize=True),
        'jpeg': _encoded(picture, format='JPEG', quality=_QUALITY, subsampling=0),
    }
    kind = min(encoded, key=lambda kind: len(encoded[kind]))
    return f'data:image/{kind};base64,{base64.b64encode(encoded[kind]).decode()}'


def _encoded(picture: Image.Image, **settings: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, **settings)
    return buffer.getvalue()
