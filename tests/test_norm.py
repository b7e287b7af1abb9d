"""BatchNorm: PyTorch's numbers, the original's splits, and parts that devices normalise without asking each other."""

import json
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import EPSILON, environment, refused

from noisy_jax.models.norm import BatchNorm

ROOT = pathlib.Path(__file__).resolve().parents[1]


def trained(norm, x):
    """Output and running statistics of a training step from fresh variables."""
    variables = norm.init(jax.random.key(0), x, train=False)
    y, new = norm.apply(variables, x, train=True, mutable=['batch_stats'])
    return np.asarray(y), jax.tree.map(np.asarray, new['batch_stats'])


@pytest.mark.parametrize('shape', [(16, 5), (6, 4, 3, 5)])
def test_batch_norm_follows_pytorch(shape):
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, shape).astype(np.float32)
    scale, bias, mean = rng.normal(size=(3, 5)).astype(np.float32)
    var = rng.uniform(0.5, 2, 5).astype(np.float32)
    variables = {'params': {'scale': scale, 'bias': bias}, 'batch_stats': {'mean': mean, 'var': var}}
    norm = BatchNorm()

    def expected(mean, var):
        return (x - mean) / np.sqrt(var + 1e-5) * scale + bias

    rows = x.reshape(-1, 5).astype(np.float64)
    y, new = norm.apply(variables, x, train=True, mutable=['batch_stats'])
    np.testing.assert_allclose(y, expected(rows.mean(0), rows.var(0)), rtol=1e-5, atol=1e-5)
    stats = new['batch_stats']
    np.testing.assert_allclose(stats['mean'], 0.9 * mean + 0.1 * rows.mean(0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(stats['var'], 0.9 * var + 0.1 * rows.var(0, ddof=1), rtol=1e-6)
    np.testing.assert_allclose(norm.apply(variables, x, train=False), expected(mean, var), rtol=1e-5, atol=1e-5)


def test_batch_norm_sums_in_float32_under_bfloat16():
    x = jnp.asarray(np.random.default_rng(0).normal(1, 2, (512, 3)), jnp.bfloat16)
    norm = BatchNorm(jnp.bfloat16)
    variables = norm.init(jax.random.key(0), x, train=False)
    y, new = norm.apply(variables, x, train=True, mutable=['batch_stats'])
    rows = np.asarray(x, np.float64)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(new['batch_stats']['mean'], 0.1 * rows.mean(0), rtol=1e-5)
    np.testing.assert_allclose(new['batch_stats']['var'], 0.9 + 0.1 * rows.var(0, ddof=1), rtol=1e-5)


def test_batch_norm_is_finite_on_a_constant_and_on_one_image():
    for x in (jnp.full((4, 3), 1000.0), jnp.ones((1, 3))):
        variables = BatchNorm().init(jax.random.key(0), x, train=False)
        y, new = BatchNorm().apply(variables, x, train=True, mutable=['batch_stats'])
        np.testing.assert_allclose(y, 0, atol=1e-3)
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(new))


def test_splits_match_the_original(golden):
    data = {name.removeprefix('splitbn_'): value for name, value in golden('splitbn.npz').items()}
    with jax.enable_x64(True):
        data = {name: jnp.asarray(value, jnp.float64) for name, value in data.items()}
        x, cotangent = (data[name].transpose(0, 2, 3, 1) for name in ('x', 'cotangent'))
        stats = {'mean': data['running_mean0'], 'var': data['running_var0']}
        norm = BatchNorm(jnp.float64, splits=4)

        def apply(x, scale, bias):
            variables = {'params': {'scale': scale, 'bias': bias}, 'batch_stats': stats}
            return norm.apply(variables, x, train=True, mutable=['batch_stats'])

        y, pull, new = jax.vjp(apply, x, data['weight'], data['bias'], has_aux=True)
        dx, dscale, dbias = pull(cotangent)
        ours = {
            'out': y.transpose(0, 3, 1, 2),
            'xgrad': dx.transpose(0, 3, 1, 2),
            'wgrad': dscale,
            'bgrad': dbias,
            'running_mean1': new['batch_stats']['mean'],
            'running_var1': new['batch_stats']['var'],
        }
        for name, value in ours.items():  # outputs and their gradients are stored as float32
            np.testing.assert_allclose(value, data[name], rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.mark.parametrize('shape', [(24, 5), (24, 4, 3, 5)])
def test_blocks_are_neighbours_and_have_splits_of_their_own(shape):
    x = np.random.default_rng(0).normal(3, 2, shape).astype(np.float32)
    y, stats = trained(BatchNorm(blocks=2, splits=3), x)
    parts = [np.arange(12 * block + split, 12 * (block + 1), 3) for block in range(2) for split in range(3)]
    alone = [trained(BatchNorm(), x[rows]) for rows in parts]
    for rows, (expected, _) in zip(parts, alone, strict=True):
        np.testing.assert_allclose(y[rows], expected, rtol=1e-5, atol=1e-5)
    for name, value in stats.items():
        np.testing.assert_allclose(value, np.mean([other[name] for _, other in alone], 0), rtol=1e-5, err_msg=name)


def test_with_an_even_number_of_splits_the_two_views_of_an_image_do_not_see_each_other():
    x = np.random.default_rng(0).normal(size=(8, 2, 3)).astype(np.float32)  # [B, views, C]
    other = x.copy()
    other[:, 1] += 1 + np.abs(x[:, 0])  # all second views change
    for splits, seen in ((1, True), (2, False), (4, False)):
        before, after = (trained(BatchNorm(splits=splits), v.reshape(16, 3))[0].reshape(8, 2, 3) for v in (x, other))
        assert (before[:, 0] != after[:, 0]).any() == seen, splits
        assert (before[:, 1] != after[:, 1]).any()


def test_a_batch_that_does_not_divide_is_refused_in_training_only():
    norm, x = BatchNorm(blocks=2, splits=4), np.ones((12, 3), np.float32)
    variables = norm.init(jax.random.key(0), x, train=False)
    norm.apply(variables, x, train=False)
    refused(lambda: norm.apply(variables, x, train=True, mutable=['batch_stats']), 'batch_norm_splits', 12, '2 x 4')


_PARTED = """
import json, runpy
import jax, numpy as np
from noisy_jax import models
from noisy_jax.training import mesh as mesh_lib

from experiments.speed.scaling import communication
x = np.random.default_rng(0).normal(size=(64, 8, 8, 1)).astype(np.float32)
eight, one = mesh_lib.make_mesh(8), mesh_lib.make_mesh(1)
found = {}
for blocks, splits in ((1, 1), (8, 2)):
    groups = {'batch_norm_blocks': blocks, 'batch_norm_splits': splits}
    network = models.create({'encoder': 'cnn_small', **groups}, num_classes=10)
    if not found:
        variables = jax.jit(network.init)(jax.random.key(0), x)

    def forward(variables, x):
        return network.apply(variables, x, train=True, mutable=['batch_stats'])

    def objective(x):
        (logits, projections), _ = forward(variables, x)
        return (logits**2).sum() + (projections**2).sum()

    spread = mesh_lib.shard_batch(x, eight)
    copied = mesh_lib.replicate(variables, eight)
    activations = jax.jit(lambda v, x: forward(v, x)[0]).lower(copied, spread).compile().as_text()
    backward = jax.jit(jax.grad(objective)).lower(spread).compile().as_text()
    step = jax.jit(forward)
    here = step(mesh_lib.replicate(variables, one), mesh_lib.shard_batch(x, one))
    there = step(copied, spread)
    worst = jax.tree.map(lambda a, b: float(np.abs(a - b).max() / np.abs(b).max()), *mesh_lib.to_host((here, there)))
    found[f'{blocks} x {splits}'] = {
        'forward': len(communication(activations)),
        'backward': len(communication(backward)),
        'step': [shapes for _, shapes, _ in communication(step.lower(copied, spread).compile().as_text())],
        'difference': max(jax.tree.leaves(worst)),
    }
print(json.dumps(found))
"""


def test_as_many_blocks_as_devices_need_no_communication():
    """Read in the compiled programs of eight devices; the results are those of one device."""
    code = [sys.executable, '-c', _PARTED]
    result = subprocess.run(code, env=environment(8), cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    whole, parted = found['1 x 1'], found['8 x 2']
    assert parted['forward'] == parted['backward'] == 0
    # What is left is the mean of the running statistics, [C] each, which no layer waits for.
    assert all(len(shape) <= 1 for shapes in parted['step'] for shape in shapes), parted
    # Statistics of the whole batch: a sum over the devices in each of the three layers, and another backwards.
    assert whole['forward'] >= 3
    assert whole['backward'] > 3
    # Four rows that hardly differ in a feature are divided by their standard deviation, which multiplies the rounding
    # of their mean by up to 1 / sqrt(1e-5) = 316. A wrong group differs in the first digit.
    assert all(values['difference'] < 316 * EPSILON for values in found.values()), found
