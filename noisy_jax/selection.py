"""The public name of the clean probability; how it is found is in `noisy_jax/labels/selection.py`."""

from noisy_jax.labels.selection import clean_probability as clean_probability
