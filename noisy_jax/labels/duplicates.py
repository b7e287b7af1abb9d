"""Images that a folder holds more than once: the same pixels, nearly the same picture, or its mirror image.

Candidates are near in the coarsest part of a cosine transform, as in perceptual hashes (Zauner 2010,
https://www.phash.org/docs/pdf/thesis.pdf), found by a k-d tree instead of all pairs. They are confirmed by their fine
structure, which two skies or two portraits do not share; strong edges, such as frames, count no more than texture. What
was measured of it: docs/label_issues.md.
"""

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

EXACT, NEAR, MIRRORED = KINDS = 'exact', 'near', 'mirrored'
_AT_ONCE = 512  # images, or pairs of them, in memory
SIDE, _COARSE, _WAVES = 32, 16, 4  # pixels of the grey copies; waves along a side of the coarse one
_RADIUS, _NEAREST = 0.25, 4  # greatest distance of candidates' waves, and how many are looked at, the image itself too
_SHIFT = 2  # pixels of the grey copy by which one may be shifted
_CLIP, _LEAST = 4.0, 0.45  # levels of 255 up to which fine structure counts; its least correlation
_DEVIATIONS, _RANDOM = 6, 1000  # beyond the correlation of random pairs, of which so many are looked at
_OTHERS, _ROUNDS = 20, 3  # candidates that are no duplicates, from which on they tell how alike such are
_FLAT = 2.0  # standard deviation in levels of 255 below which an image shows nothing; the least of CIFAR-10 has 8


@dataclasses.dataclass(frozen=True)
class Duplicates:
    """Pairs of rows, and what else the look at all pixels tells.

    Attributes:
      pairs: int64 [P, 2], the smaller row first.
      kind: int64 [P], place in KINDS.
      similarity: float64 [P], correlation of the fine structure; 1 for equal pixels.
      flat: int64 [F], rows of images that are of one colour.
    """

    pairs: np.ndarray
    kind: np.ndarray
    similarity: np.ndarray
    flat: np.ndarray

    def groups(self) -> list[np.ndarray]:
        """Rows of each set of images that pairs connect, in the order of their first row."""
        if not len(self.pairs):
            return []
        rows = np.unique(self.pairs)
        first = first_of(self.pairs, rows[-1] + 1)[rows]
        starts = np.unique(np.sort(first), return_index=True)[1]
        return np.split(rows[np.argsort(first, kind='stable')], starts[1:])

    def partners(self) -> dict[int, tuple[int, int, float]]:
        """By row: the row that it is most similar to, the kind of the pair (place in KINDS) and its similarity."""
        best: dict[int, tuple[int, int, float]] = {}
        columns = (column.tolist() for column in (self.pairs, self.kind, self.similarity))
        for (one, other), kind, score in zip(*columns, strict=True):
            for row, partner in ((one, other), (other, one)):
                if row not in best or score > best[row][2]:
                    best[row] = partner, kind, score
        return best


def first_of(pairs: np.ndarray, count: int) -> np.ndarray:
    """The first row of the group that pairs [P, 2] connect, of each of the first `count` rows: int64 [count]."""
    total = max(count, pairs.max(initial=0) + 1)
    graph = coo_array((np.ones(len(pairs)), tuple(pairs.T)), shape=(total, total))
    _, rows, group = np.unique(connected_components(graph, directed=False)[1], return_index=True, return_inverse=True)
    return rows[group[:count]]


def find(*images: Any, seed: int = 0) -> Duplicates:
    """Finds duplicates in and between sets of images, whose rows are numbered one set after the other.

    Of images with a side below 32 pixels, only equal ones are: handwritten digits of 8x8 pixels are nearly all alike.

    Args:
      images: each uint8 [N, H, W, C], read in blocks.
      seed: of the random pairs.
    """
    digests, waves, is_flat = _look(images)
    _, first, same = np.unique(digests, return_index=True, return_inverse=True)
    original = first[same.ravel()]
    copies = np.flatnonzero((original != np.arange(len(original))) & ~is_flat)
    found = [(np.stack([original[copies], copies], 1), np.full(len(copies), KINDS.index(EXACT)), np.ones(len(copies)))]
    rows = np.flatnonzero((original == np.arange(len(original))) & ~is_flat)
    if len(rows) > 1 and min(images[0].shape[1:3]) >= SIDE:
        bound = _bound(images, rows, seed)
        tree = cKDTree(waves[rows])
        for kind, signs in ((NEAR, 1), (MIRRORED, _MIRROR)):
            pairs = rows[_candidates(tree, waves[rows] * signs)]
            if kind == MIRRORED:
                pairs = pairs[~_contains(found[-1][0], pairs)]  # a symmetric picture is near its copy both ways
            similarity = _similarity(images, pairs, mirrored=kind == MIRRORED)
            if kind == NEAR:
                bound = _above_the_others(similarity, bound)
            close = similarity >= bound
            found.append((pairs[close], np.full(close.sum(), KINDS.index(kind)), similarity[close]))
    return Duplicates(*(np.concatenate(part) for part in zip(*found, strict=True)), np.flatnonzero(is_flat))


def _look(images: tuple[Any, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Digests of the pixels [N], coarse waves float32 [N, 15] of length 1, and which images are flat, bool [N]."""
    digests, waves, is_flat = [], [], []
    for block in _blocks(images):
        digests += [hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in block]
        coarse = _grey(block, _COARSE)
        found = dctn(coarse, axes=(1, 2), norm='ortho')[:, :_WAVES, :_WAVES].reshape(len(block), -1)[:, 1:]
        waves.append(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-6))
        is_flat += [_contrast(image) < _FLAT for image in block]
    return np.array(digests), np.concatenate(waves).astype(np.float32), np.array(is_flat)


# A mirror image has waves of odd number along the rows turned around.
_MIRROR = np.tile(np.where(np.arange(_WAVES) % 2, -1.0, 1.0), _WAVES)[1:].astype(np.float32)


def _blocks(images: tuple[Any, ...]) -> Iterator[np.ndarray]:
    for part in images:
        for start in range(0, len(part), _AT_ONCE):
            yield part[start : start + _AT_ONCE]


def _contrast(image: np.ndarray) -> float:
    """Largest standard deviation of a channel, by the histograms: fifteen times as fast as of a photograph's pixels."""
    counts = np.array(_picture(image).histogram()).reshape(-1, 256) / image[..., 0].size
    levels = np.arange(256)
    return float(np.sqrt((counts @ levels**2 - (counts @ levels) ** 2).clip(0).max()))


def _picture(image: np.ndarray) -> Image.Image:
    """A picture of uint8 [H, W, C]: its first three channels, or the first."""
    return Image.fromarray(image[..., :3] if image.shape[-1] >= 3 else image[..., 0])


def _grey(images: np.ndarray, side: int) -> np.ndarray:
    """Grey copies float32 [N, side, side] of uint8 [N, H, W, C]."""
    small = [_picture(image).convert('L').resize((side, side), Image.Resampling.BOX) for image in images]
    return np.array([np.asarray(picture) for picture in small], np.float32).reshape(-1, side, side)


def _candidates(tree: cKDTree, waves: np.ndarray) -> np.ndarray:
    """Pairs int64 [P, 2] of different rows of the tree, each with one of its nearest to `waves`; sorted, each once."""
    distance, nearest = tree.query(waves, k=min(_NEAREST, tree.n), distance_upper_bound=_RADIUS)
    row, place = np.nonzero(np.isfinite(distance))
    pairs = np.sort(np.stack([row, nearest[row, place]], 1), axis=1)
    return np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)


def _contains(pairs: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether each of `others` [Q, 2] is among `pairs` [P, 2], bool [Q]."""
    known = set(map(tuple, pairs.tolist()))
    return np.array([pair in known for pair in map(tuple, others.tolist())], bool)


def _bound(images: tuple[Any, ...], rows: np.ndarray, seed: int) -> float:
    """The least similarity of duplicates: where all images are alike, such as photographs of one part, it is higher.

    By Fisher's transformation, in which correlations are about normal, from the median of random pairs.
    """
    pairs = np.sort(np.random.default_rng(seed).choice(rows, (_RANDOM, 2)), axis=1)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    return max(_LEAST, _beyond(_similarity(images, pairs)))


def _above_the_others(similarity: np.ndarray, bound: float) -> float:
    """The bound; where all images are alike, a higher one if candidates below it are nearly as similar as it says.

    So are drawings of one class, such as handwritten zeros, while random pairs are of different classes. Each time that
    it rises more candidates are below. Of other images those below are crops and such, too far off to be told.
    """
    for _ in range(_ROUNDS if bound > _LEAST else 0):
        others = similarity[similarity < bound]
        bound = max(bound, _beyond(others)) if len(others) >= _OTHERS else bound
    return bound


def _beyond(similarity: np.ndarray) -> float:
    """Six robust standard deviations above the median of correlations."""
    found = np.arctanh(np.minimum(similarity, 0.999999))
    spread = 1.4826 * np.median(np.abs(found - np.median(found)))
    return float(np.tanh(np.median(found) + _DEVIATIONS * spread))


def _similarity(images: tuple[Any, ...], pairs: np.ndarray, *, mirrored: bool = False) -> np.ndarray:
    """Correlation of the fine structure of pairs [P, 2], at the best shift: float64 [P]."""
    found = [np.zeros(0)]
    for start in range(0, len(pairs), _AT_ONCE):
        block = pairs[start : start + _AT_ONCE]
        rows, places = np.unique(block, return_inverse=True)
        fine = _fine(_take(images, rows))
        one, other = (fine[place] for place in places.reshape(-1, 2).T)
        found.append(_correlation(one, other[:, :, ::-1] if mirrored else other))
    return np.concatenate(found)


def _take(images: tuple[Any, ...], rows: np.ndarray) -> np.ndarray:
    """Grey copies [R, side, side] of the images at sorted rows, which count through all sets."""
    ends = np.cumsum([len(part) for part in images])
    shares = np.split(rows, np.searchsorted(rows, ends[:-1]))
    starts = ends - [len(part) for part in images]
    return np.concatenate(
        [_grey(part[share - start], SIDE) for part, share, start in zip(images, shares, starts, strict=True)]
    )


def _fine(grey: np.ndarray) -> np.ndarray:
    return np.clip(grey - gaussian_filter(grey, (0, 1, 1)), -_CLIP, _CLIP)


def _correlation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The largest correlation of what overlaps when `other` [P, S, S] is shifted against `one`, float64 [P]."""
    best = np.full(len(one), -1.0)
    for down in range(-_SHIFT, _SHIFT + 1):
        for right in range(-_SHIFT, _SHIFT + 1):
            parts = []
            for image, sign in ((one, 1), (other, -1)):
                span = [slice(max(sign * by, 0), SIDE + min(sign * by, 0)) for by in (down, right)]
                part = image[:, span[0], span[1]].reshape(len(image), -1)
                parts.append(part - part.mean(1, keepdims=True))
            left, right_ = parts
            scale = np.sqrt(np.einsum('ps,ps->p', left, left) * np.einsum('ps,ps->p', right_, right_))
            best = np.maximum(best, np.einsum('ps,ps->p', left, right_) / np.maximum(scale, 1e-6))
    return best
