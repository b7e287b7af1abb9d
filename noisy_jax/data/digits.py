"""scikit-learn's handwritten digits: 1,797 real 8x8 images that need no download."""

from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from noisy_jax.data.dataset import Dataset, balanced


def load(split: str, limit: int = 0, **_: Any) -> Dataset:
    """Loads 1,437 training or 360 test images, uint8 [N, 8, 8, 1], of a fixed stratified split."""
    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]  # levels are 0 to 16
    train, test = train_test_split(np.arange(len(images)), test_size=360, random_state=0, stratify=bunch.target)
    rows = np.sort(train if split == 'train' else test)
    kept = balanced(bunch.target[rows], limit, 10)
    label = bunch.target[rows[kept]]
    origin = {'id': rows[kept].astype(str), 'row': kept, 'available': len(rows)}
    # Labels are true: people checked them when the set was made.
    return Dataset(images[rows[kept]], label, tuple('0123456789'), true_label=label, **origin)
