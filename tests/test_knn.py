"""Weighted k-NN: the original's scores, a case by hand, blocks, a small bank."""

import functools

import jax
import numpy as np
import pytest

from noisy_jax.training import knn

E = np.e


def _scores(golden, **settings):
    arrays = golden('knn.npz')
    return np.asarray(
        knn.predict(arrays['bank'], arrays['bank_labels'], arrays['queries'], **{'num_classes': 10, **settings})
    )


@pytest.mark.parametrize(
    ('name', 'settings'),
    [
        ('k200_t01', {}),  # the defaults
        ('k20_t01', {'k': 20}),
        ('k200_t05', {'temperature': 0.5}),
    ],
)
def test_golden(golden, name, settings):
    arrays = golden('knn.npz')
    scores = _scores(golden, **settings)
    assert scores.dtype == np.float32
    # exp(s / 0.1) turns a float32 rounding of s into ten of the vote.
    np.testing.assert_allclose(scores, arrays[f'{name}_scores'], rtol=1e-5)
    np.testing.assert_array_equal(scores.argmax(1), arrays[f'{name}_pred'])
    # Ranked by score; classes without a vote are level, so that their order says nothing.
    ranked = np.take_along_axis(scores, arrays[f'{name}_ranked'].astype(int), axis=1)
    assert (np.diff(ranked, axis=1) <= 1e-5 * ranked[:, :1]).all()


def test_golden_accuracy(golden):
    arrays = golden('knn.npz')
    expected = np.mean(arrays['k200_t01_pred'] == arrays['query_labels'])
    names = ('bank', 'bank_labels', 'queries', 'query_labels')
    assert knn.accuracy(*(arrays[name] for name in names), num_classes=10) == pytest.approx(expected)


@pytest.mark.parametrize('block', [1, 7, 64])
def test_blocks_give_the_same_scores(golden, block):
    np.testing.assert_allclose(_scores(golden, block=block), _scores(golden), rtol=1e-5)


@pytest.mark.parametrize('tile', [1, 900, 5000])
def test_tiles_give_the_same_scores(tile):
    """Of one query at a time, three, and 16 of 21."""
    rng = np.random.default_rng(0)
    bank, labels, queries = rng.normal(size=(300, 16)), rng.integers(5, size=300), rng.normal(size=(21, 16))
    scores = functools.partial(knn.predict, bank, labels, queries, k=20, num_classes=5)
    np.testing.assert_allclose(scores(tile=tile), scores(), rtol=1e-5)


def test_of_equally_near_the_first_vote():
    scores = knn.predict(np.ones((10, 2)), np.arange(10), [[1, 1]], k=4, num_classes=10)
    np.testing.assert_allclose(scores[0], [np.exp(10)] * 4 + [0] * 6, rtol=1e-5)


@pytest.mark.parametrize(('queries', 'tile', 'rows'), [(30, 100, 5), (30, 5000, 30), (2000, 2**26, 1024), (3, 1, 1)])
def test_no_more_similarities_than_a_tile_has(monkeypatch, queries, tile, rows):
    seen, scores = [], knn._scores

    def watched(bank, bank_labels, queries, *arguments, **settings):
        seen.append(queries.shape)
        return scores(bank, bank_labels, queries, *arguments, **settings)

    monkeypatch.setattr(knn, '_scores', watched)
    bank = np.random.default_rng(0).normal(size=(20, 3))
    knn.predict(bank, np.arange(20) % 2, np.ones((queries, 3)), k=4, num_classes=2, tile=tile)
    assert set(seen) == {(rows, 3)}


def test_more_neighbours_than_the_bank_has(golden):
    np.testing.assert_array_equal(_scores(golden, k=10_000), _scores(golden, k=500))


# Cosine similarities of the query (0, 5) to the bank: 1, 1, 0, -1.
BANK, LABELS, QUERY = [[0, 1], [0, 9], [2, 0], [0, -3]], [2, 2, 0, 1], [[0, 5]]


@pytest.mark.parametrize(
    ('k', 'temperature', 'expected'),
    [
        (1, 1.0, [0, 0, E]),
        (2, 1.0, [0, 0, 2 * E]),
        (3, 1.0, [1, 0, 2 * E]),
        (4, 1.0, [1, 1 / E, 2 * E]),
        (9, 1.0, [1, 1 / E, 2 * E]),
        (4, 0.5, [1, E**-2, 2 * E**2]),
    ],
)
def test_by_hand(k, temperature, expected):
    scores = knn.predict(BANK, LABELS, QUERY, k=k, temperature=temperature, num_classes=3)
    np.testing.assert_allclose(scores, [expected], rtol=1e-6)


@pytest.mark.parametrize(('temperature', 'winner'), [(0.1, 0), (10.0, 1)])
def test_a_near_neighbour_outvotes_two_far_ones_where_votes_are_sharp(temperature, winner):
    bank, labels = [[1, 0], [1, 1], [1, 1]], [0, 1, 1]
    scores = knn.predict(bank, labels, [[1, 0]], k=3, temperature=temperature, num_classes=2)
    assert int(scores.argmax()) == winner


def test_accuracy_is_a_fraction():
    bank, queries = np.eye(3), np.eye(3)[[0, 1, 2, 2]]
    assert knn.accuracy(bank, [0, 1, 2], queries, [0, 1, 0, 2], k=1, num_classes=3) == 0.75


def test_zero_embeddings_give_finite_scores():
    scores = knn.predict(np.zeros((3, 2)), [0, 1, 1], np.zeros((1, 2)), k=3, num_classes=2)
    np.testing.assert_allclose(scores, [[1, 2]])


def test_neighbours_outvote_a_label_of_its_own():
    """Two bunches of directions; image 2 is called as the other bunch."""
    angles = np.array([0.0, 0.02, 0.04, 1.5, 1.52, 1.54])
    embeddings, labels = np.stack([np.cos(angles), np.sin(angles)], axis=1), np.array([0, 0, 1, 1, 1, 1])
    for k in (1, 2):
        assert knn.label_of_neighbours(embeddings, labels, k=k, num_classes=2).tolist() == [0, 0, 0, 1, 1, 1]


def test_leave_one_out_is_a_bank_without_the_query():
    rows, labels = np.random.default_rng(0).normal(size=(9, 4)), np.arange(9) % 3
    rows[8] = rows[0]  # an equal of another: it votes, the query itself does not
    settings = {'k': 4, 'num_classes': 3}
    scores = knn.predict(rows, labels, rows, leave_one_out=True, block=4, tile=12, **settings)
    for i in range(9):
        rest = np.delete(np.arange(9), i)
        expected = knn.predict(rows[rest], labels[rest], rows[i : i + 1], **settings)
        np.testing.assert_allclose(scores[i], expected[0], rtol=1e-5)
    everyone = knn.predict(rows, labels, rows, leave_one_out=True, k=100, num_classes=3)
    assert np.isfinite(everyone).all()


def test_under_x64():
    """Where Python's numbers are 64 bits wide."""
    rng = np.random.default_rng(0)
    bank, queries = rng.normal(size=(50, 8)).astype(np.float32), rng.normal(size=(7, 8)).astype(np.float32)
    labels = rng.integers(0, 3, 50).astype(np.int32)
    settings = {'k': 5, 'num_classes': 3, 'tile': 64}
    expected = np.asarray(knn.predict(bank, labels, queries, **settings))
    with jax.enable_x64(True):
        np.testing.assert_allclose(knn.predict(bank, labels, queries, **settings), expected, rtol=1e-5)
