"""Settings of the list of label issues and of the report; rerun with other values, a run only writes them anew."""

from noisy_jax.config import Section, Setting

SETTINGS: Section = {
    'cross_fit': Setting(
        0,
        'folds of cross-fitting: labels are scored by judges that have not seen them, on features that have seen no '
        'label; the one that finds planted errors best makes the list; 0: the last classifier does',
        0,
        100,
    ),
    'threshold': Setting(0.5, 'clean probability below which a label is an issue', 0.0, 1.0),
    'sort': Setting(
        'index',
        "order of labels.csv; 'suspicion': lowest clean probability first",
        choices=('index', 'suspicion'),
    ),
    'page': Setting(True, 'write report.html'),
    'tensorboard': Setting(True, 'write tensorboard/, if its extra is installed'),
    'gallery': Setting(1000, 'number of images shown, the most suspicious ones', 0, 100_000),
    'thumbnail': Setting(96, 'longer side of an image shown, in pixels, at most', 16, 512),
}
