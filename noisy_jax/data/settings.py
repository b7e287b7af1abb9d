"""Settings of the data and of the noise that is added to its labels."""

from noisy_jax.config import Section, Setting
from noisy_jax.data import LOADERS
from noisy_jax.data.noise import KINDS
from noisy_jax.data.reading import BROKEN

DATA: Section = {
    'name': Setting('folder', 'loader of the data', choices=LOADERS),
    'path': Setting('', 'folder or file of arrays, folder and filelist; the data_dir of tfds', is_path=True),
    'dataset': Setting('', "name of a TFDS data set, e.g. 'cifar10'"),
    'label_key': Setting('label', "feature of a TFDS data set to train on; 'label' is then the true one"),
    'list': Setting('', 'file of lines of path and label (filelist)', is_path=True),
    'test_list': Setting('', 'the same for the test set', is_path=True),
    'test_path': Setting('', 'folder of the paths in test_list, if not `path`', is_path=True),
    'labels': Setting('', 'file of lines of path and label, for a `list` of paths alone', is_path=True),
    'test_labels': Setting('', 'the same for the test set', is_path=True),
    'class_names': Setting('', 'file of class names, one a line', is_path=True),
    'max_classes': Setting(0, 'number of classes kept, the first ones; 0: all', 0, 10**6),
    'image_size': Setting(0, 'side in pixels, to which images are scaled and cropped; 0: as they are', 0, 8192),
    'memory_bytes': Setting(2**33, 'most bytes of decoded images kept in memory; more are decoded per batch', 0, 2**60),
    'broken': Setting(
        BROKEN[0],
        'what becomes of image files that cannot be read: end with an error that names them all, or leave them out '
        'and list them in data_issues.csv',
        choices=BROKEN,
    ),
    'workers': Setting(0, 'number of decoding processes; 0: threads', 0, 256),
    'limit': Setting(0, 'number of training images, balanced over the classes; 0: all', 0, 10**10),
    'test_limit': Setting(0, 'number of test images; 0: all', 0, 10**10),
    'valid_fraction': Setting(0.0, 'share of the training set held out, with its noisy labels', 0.0, 0.9),
    'embeddings': Setting(
        '',
        'features from outside: an .npy file [N, D] in the order of the training images, as noisy_jax.embed makes it, '
        'or a folder of one per id',
        is_path=True,
    ),
    'mean': Setting((0.4914, 0.4822, 0.4465), 'mean of the pixels in [0, 1], one per channel', 0.0, 1.0),
    'std': Setting((0.2023, 0.1994, 0.2010), 'standard deviation of the pixels, one per channel', 1e-6, 1000.0),
}

NOISE: Section = {
    'kind': Setting('symmetric', "kind of noise added; 'none' for data whose labels are wrong already", choices=KINDS),
    'rate': Setting(0.4, 'share of wrong labels in each class', 0.0, 1.0),
    'matrix': Setting(
        '', 'file of a transition matrix, .npy or .csv [C, C], one row per true class (matrix)', is_path=True
    ),
    'labels': Setting('', 'file of labels in the order of the images, .npy or .npz (human)', is_path=True),
    'key': Setting('', "name of the array in an .npz of labels, e.g. 'worse_label'"),
}
