"""Training methods: one file and one table line each; the table keys are the values of `PHASE.method`."""

import collections

from noisy_jax.methods.bootstrap import Bootstrap
from noisy_jax.methods.dividemix import DivideMix
from noisy_jax.methods.elr_plus import ELRPlus
from noisy_jax.methods.moco import MoCo
from noisy_jax.methods.mopro import MoPro
from noisy_jax.methods.simclr import SimCLR
from noisy_jax.methods.single import Single
from noisy_jax.methods.ssr import SSR
from noisy_jax.methods.sup_con import SupCon
from noisy_jax.methods.sup_moco import SupMoCo
from noisy_jax.training.method import Method

CLASSIFIERS: dict[str, Method] = {
    'single': Single(),
    'bootstrap': Bootstrap(),
    'elr_plus': ELRPlus(),
    'dividemix': DivideMix(),
    'ssr': SSR(),
}
REPRESENTATIONS: dict[str, Method] = {
    'simclr': SimCLR(),
    'sup_con': SupCon(),
    'moco': MoCo(),
    'sup_moco': SupMoCo(),
    'mopro': MoPro(),
}
METHODS = collections.ChainMap(CLASSIFIERS, REPRESENTATIONS)
