"""Map of the embeddings in two dimensions, for people to look at; nothing is trained on it.

t-SNE (https://jmlr.org/papers/v9/vandermaaten08a.html) separates ten digits, four of which overlap in the first two
principal components; it takes five seconds for 2,000 embeddings.
"""

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from noisy_jax.errors import InputError
from noisy_jax.labels.features import bounded
from noisy_jax.workdir import WorkDir

MOST = 2000  # images on the map
_COMPONENTS = 30  # principal components that t-SNE starts from, as in van der Maaten and Hinton 2008, section 4.2
_PERPLEXITY = 30.0
_STEPS = 500


def is_there(folder: WorkDir, images: int) -> bool:
    """Whether labels/map_rows.npy and labels/map.npy are there, and whole: a map of some of so many images."""
    try:
        rows = folder.load_array('labels/map_rows', (None,), 'i')
        places = folder.load_array('labels/map', (len(rows), 2), 'f')
    except InputError:
        return False
    return bool(len(rows) and np.all((rows >= 0) & (rows < images)) and np.isfinite(places).all())


def choose(by_suspicion: np.ndarray) -> np.ndarray:
    """Rows on the map, sorted: all N, or MOST, half of which are the most suspicious and half evenly chosen."""
    if len(by_suspicion) <= MOST:
        return np.sort(by_suspicion)
    half = MOST // 2
    rest = np.sort(by_suspicion[half:])
    return np.sort(np.append(by_suspicion[:half], rest[np.linspace(0, len(rest) - 1, half).astype(int)]))


def lay_out(embeddings: np.ndarray, seed: int) -> np.ndarray:
    """t-SNE of the first principal components: [M, D] -> float32 [M, 2]; fewer than four rows are taken as they are."""
    if len(embeddings) < 4:
        return np.pad(embeddings, ((0, 0), (0, 2)))[:, :2].astype(np.float32)
    with np.errstate(invalid='ignore'):  # shares of no variance at all
        reduced = PCA(min(_COMPONENTS, *embeddings.shape), random_state=seed).fit_transform(bounded(embeddings))
    perplexity = min(_PERPLEXITY, (len(reduced) - 1) / 3)
    # On shared cores OpenMP's threads wait for each other and take five times as long as one.
    with threadpool_limits(1):
        tsne = TSNE(perplexity=perplexity, max_iter=_STEPS, init='random', random_state=seed)
        return tsne.fit_transform(reduced)
