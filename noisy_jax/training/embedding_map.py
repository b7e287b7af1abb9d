"""Embeddings laid out on a plane, for a person to look at; none trains anything.

t-SNE keeps ten digits apart of which the first two principal components lay four over each other; 2,000 embeddings take
it five seconds.
"""

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

MOST = 2000  # images that are laid out
_COMPONENTS = 30  # of the embeddings, as van der Maaten and Hinton 2008 (section 4.2) have it
_PERPLEXITY = 30.0
_STEPS = 500


def choose(by_suspicion: np.ndarray) -> np.ndarray:
    """Rows to lay out, sorted: all [N], or MOST: half of them the most suspicious, half an even choice."""
    if len(by_suspicion) <= MOST:
        return np.sort(by_suspicion)
    half = MOST // 2
    rest = np.sort(by_suspicion[half:])
    return np.sort(np.append(by_suspicion[:half], rest[np.linspace(0, len(rest) - 1, half).astype(int)]))


def lay_out(embeddings: np.ndarray, seed: int) -> np.ndarray:
    """t-SNE of the first principal components: [M, D] -> float32 [M, 2]; fewer than four are not worth it."""
    if len(embeddings) < 4:
        return np.pad(embeddings, ((0, 0), (0, 2)))[:, :2].astype(np.float32)
    reduced = PCA(min(_COMPONENTS, *embeddings.shape), random_state=seed).fit_transform(embeddings)
    perplexity = min(_PERPLEXITY, (len(reduced) - 1) / 3)
    # On shared cores OpenMP's threads wait for each other: five times the time of one.
    with threadpool_limits(1):
        tsne = TSNE(perplexity=perplexity, max_iter=_STEPS, init='random', random_state=seed)
        return tsne.fit_transform(reduced)
