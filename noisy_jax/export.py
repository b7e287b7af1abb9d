"""The command `python -m noisy_jax.export`, which is `noisy_jax/inference/export.py`."""

import sys

from noisy_jax.inference.export import main

if __name__ == '__main__':
    sys.exit(main())
