"""The command `python -m noisy_jax.predict`, which is `noisy_jax/inference/predict.py`."""

import sys

from noisy_jax.inference.predict import main

if __name__ == '__main__':
    sys.exit(main())
