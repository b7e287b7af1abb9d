"""What setup.cfg cannot say: configs/ is part of the package, as noisy_jax.configs."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=['noisy_jax*']), 'noisy_jax.configs'],
    package_dir={'noisy_jax.configs': 'configs'},
)
