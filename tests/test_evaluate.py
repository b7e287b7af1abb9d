"""Whole data sets through a network: order, the last batch, evaluation mode."""

import types

import jax
import numpy as np
import pytest

from noisy_jax import models
from noisy_jax.data import digits
from noisy_jax.data.dataset import Dataset
from noisy_jax.training import mesh as mesh_lib
from noisy_jax.training import watch
from noisy_jax.training.evaluate import Evaluator, over_dataset
from noisy_jax.training.steps import normaliser


@pytest.mark.parametrize('count', [1, 7, 8, 9, 100])
def test_every_row_comes_back_in_its_place(count):
    run = over_dataset(lambda scale, batch: {'twice': scale * batch['x'], 'row': batch['i']}, mesh_lib.make_mesh(), 8)
    x = np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)
    result = run(np.float32(2), {'x': x, 'i': np.arange(count)})
    np.testing.assert_array_equal(result['twice'], 2 * x)
    np.testing.assert_array_equal(result['row'], np.arange(count))


def test_the_evaluator_agrees_with_the_network_on_single_images():
    data = digits.load('train', limit=30)
    network = models.create({'encoder': 'cnn_small'}, num_classes=10)
    variables = network.init(jax.random.key(0), np.zeros((1, 8, 8, 1), np.float32))
    evaluator = Evaluator(network, normaliser((0.3,), (0.4,)), mesh_lib.make_mesh(), 16)
    probabilities = evaluator.predict(variables, data)
    assert probabilities.dtype == np.float32
    for row in (0, 15, 16, 29):
        logits, _ = network.apply(variables, (data.image[row : row + 1] / 255 - 0.3) / 0.4)
        np.testing.assert_allclose(probabilities[row], jax.nn.softmax(logits[0]), atol=1e-5)
    expected = np.mean(probabilities.argmax(1) == data.label)
    assert evaluator.accuracy(variables, data, data.label) == pytest.approx(expected)
    assert evaluator.embed(variables, data).shape == (30, 128)


class _Pixels:
    def embed(self, variables, images):
        return images.image.reshape(len(images), -1).astype(np.float32)


def test_no_more_neighbours_vote_than_a_class_has_images():
    """Two classes of six images, each in a direction of its own; of all twelve, both would have as many votes."""
    image = np.zeros((12, 2, 1, 1), np.uint8)
    image[:6, 0], image[6:, 1] = 100, 100
    train = Dataset(image, np.repeat([0, 1], 6), ('a', 'b'))
    test = train.take(np.array([7, 8, 9]))
    splits = types.SimpleNamespace(test=test)
    task = types.SimpleNamespace(context=types.SimpleNamespace(evaluator=_Pixels(), splits=splits), train=train)
    assert watch.embedding_quality(task, {}) == {'knn_accuracy': 1.0}
    splits.test = None
    assert watch.embedding_quality(task, {}) == {'knn_agreement': 1.0}
