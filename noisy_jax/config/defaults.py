"""The settings with their defaults, the paper's for CIFAR-10."""

from typing import Any

from ml_collections import ConfigDict

# What may change between a run and its continuation: where it computes and what is shown, not what is trained.
MACHINE = (
    'report.*',
    'devices',
    'checkpoint_every',
    'resident_bytes',
    'compile_cache',
    'xla_options',
    'data.memory_bytes',
    'data.workers',
)

PHASES = ('base', 'pretrain', 'classify', 'select', 'contrast', 'finetune')
LABEL_FREE = ('simclr', 'moco')  # methods of pre-training that see no label
REPEATED = ('select', 'contrast', 'finetune')  # once for each of config.rounds
# The columns of the paper's tables.
PHASE_LISTS = {
    'base': ('base',),
    'pretrained': ('pretrain', 'classify'),
    'finetuned': ('pretrain', 'classify', 'select', 'contrast', 'finetune'),
    'all': PHASES,
}
# Every loss with its settings, the papers' for CIFAR-10.
_ACTIVE_PASSIVE = {'alpha': 1.0, 'beta': 1.0}
LOSSES = {
    'ce': {},
    'label_smoothing': {'smoothing': 0.1},
    'focal': {'gamma': 2.0},
    'nce': {},
    'nfl': {'gamma': 0.5},
    'rce': {},
    'mae': {},
    'gce': {'q': 0.7},
    'sce': {'alpha': 0.1, 'beta': 1.0},
    'nfl_rce': {**_ACTIVE_PASSIVE, 'gamma': 0.5},
    'nce_rce': _ACTIVE_PASSIVE,
    'nce_mae': _ACTIVE_PASSIVE,
    'elr': {'beta': 0.7, 'lam': 3.0},
}
# What differs for other numbers of classes (100: CIFAR-100, 50: WebVision).
_LOSSES_OF_CLASSES = {
    100: {
        'sce': {'alpha': 6.0, 'beta': 0.1},
        'elr': {'beta': 0.9, 'lam': 7.0},
        'nce_mae': {'alpha': 10.0, 'beta': 1.0},
        **{name: {'alpha': 10.0, 'beta': 0.1} for name in ('nfl_rce', 'nce_rce')},
    },
    50: {
        'sce': {'alpha': 10.0, 'beta': 1.0},
        'nce_mae': {'alpha': 50.0, 'beta': 1.0},
        **{name: {'alpha': 50.0, 'beta': 0.1} for name in ('nfl_rce', 'nce_rce')},
    },
}


def loss_settings(loss: str, num_classes: int = 10) -> dict[str, float]:
    """The papers' parameters of a loss, by the number of classes."""
    return LOSSES[loss] | _LOSSES_OF_CLASSES.get(num_classes, {}).get(loss, {})


def optimizer(**changes: Any) -> ConfigDict:
    """Optimiser settings; SGD's learning rate is for a batch of 256 and scales with the batch."""
    return ConfigDict(
        {
            'name': 'sgd',
            'learning_rate': 0.01,
            'weight_decay': 1e-4,
            'momentum': 0.9,
            'nesterov': False,
            'schedule': 'cosine',
            'warmup_epochs': 0,
            'milestones': (),
            'encoder_scale': 1.0,
            **changes,
        }
    )


def default() -> ConfigDict:
    """Everything that can be set, with the paper's values for CIFAR-10.

    A config may leave the settings of `automatic.KEYS` to the data: numbers as -1, words as 'auto', tuples as ().
    """
    config = ConfigDict()
    config.name = 'unnamed'
    config.seed = 0
    config.phases = PHASES
    config.rounds = 1  # of select, contrast and finetune; each starts from the labels of the classifier before
    config.devices = 0  # 0: all
    config.checkpoint_every = 10  # epochs
    config.eval_every = 1  # epochs of a classifier between accuracies on held-out data; 0: only at its end
    config.eval_batch_size = 512
    config.early_stop = 'none'  # or 'stable_predictions': a classifier's stage ends when few predictions still change
    config.early_stop_below = 0.01  # of the predictions on the validation split, mean of five epochs
    config.linear_probe = False  # judge embeddings also by a linear classifier, fitted to the end
    config.resident_bytes = 2**31  # training images up to this size stay on the device
    config.shard_state = False  # the optimiser's state and what a method remembers spread over the devices
    config.compile_cache = 'auto'  # a folder; 'auto': the user's cache folder; 'off'
    config.xla_options = ''  # 'name=value,...' beside noisy_jax's own for the platform; 'none': no options at all

    config.data = ConfigDict(
        {
            'name': 'folder',  # digits, arrays, folder, filelist, tfds
            'path': '',  # of arrays, folder and filelist; the data_dir of tfds
            'dataset': '',  # of tfds, e.g. 'cifar10'
            'label_key': 'label',  # of tfds: the feature to train on, 'label' is then the true one
            'list': '',  # of filelist: lines of path and label
            'test_list': '',
            'test_path': '',  # that the paths of test_list are in, where it is not `path`
            'labels': '',  # lines of path and label for a `list` of paths alone
            'test_labels': '',
            'class_names': '',  # a file, a name a line
            'max_classes': 0,  # the first so many alone; 0: all
            'image_size': 0,  # 0: as they are
            'memory_bytes': 2**33,  # decoded images up to this size are kept in memory, others decoded for every batch
            'workers': 0,  # processes that decode; 0: threads
            'limit': 0,  # training images, balanced over the classes; 0: all
            'test_limit': 0,
            'valid_fraction': 0.0,  # of the training set, held out with its noisy labels
            'mean': (0.4914, 0.4822, 0.4465),
            'std': (0.2023, 0.1994, 0.2010),
        }
    )
    config.noise = ConfigDict(
        {
            'kind': 'symmetric',
            'rate': 0.4,
            'matrix': '',  # of matrix: .npy or .csv [C, C], a row per true class
            'labels': '',  # of human: .npy or .npz of labels in the order of the images
            'key': '',  # of an .npz of labels, e.g. 'worse_label'
        }
    )
    config.model = ConfigDict(
        {
            'encoder': 'resnet18',
            'width': 0,
            'stem': 'auto',  # of a ResNet: 'small' (3x3), 'large' (7x7 and pooling); 'auto': large above 64 pixels
            'classifier': 'linear',
            'projection': 'mlp',  # 'linear'; 'none': the embeddings themselves are contrasted
            'projection_dim': 128,
            # Parts of a batch that the encoder normalises each by itself. Samples are dealt out to the splits in turn;
            # blocks are neighbours, as on one device. 0 or 1: the whole batch, also over devices.
            'batch_norm_splits': 1,
            'batch_norm_blocks': 1,
            'dtype': 'float32',
        }
    )
    views = {'min_scale': 0.2, 'flip': True, 'jitter': 1.0, 'jitter_probability': 0.8, 'gray_probability': 0.2}
    config.augment = ConfigDict(
        {
            'standard': {'padding': 4, 'flip': True, 'degrees': 0.0},  # rotation; the original's code has 20
            'simclr': {**views, 'blur_probability': 0.0},  # more for images of more than 32 pixels
            'moco': {**views, 'blur_probability': 0.5},
            'mopro': {'min_scale': 0.2, 'flip': True},
            'mopro_strong': {'min_scale': 0.2, 'flip': True, 'jitter': 1.0, 'gray_probability': 0.2},
            'scan': {'padding': 0, 'flip': True, 'operations': 4, 'cutout': 16},  # cutout: pixels
            'handwriting': {'degrees': 15.0, 'scale': 0.2, 'shift': 1.0, 'brightness': 0.3, 'noise': 0.1},
        }
    )
    # The list of wrong labels and the report. The same command with other values writes them anew, training nothing.
    config.report = ConfigDict(
        {
            'cross_fit': 0,  # folds; labels are judged by heads that did not see them, on pre-trained embeddings; 0: no
            'threshold': 0.5,  # clean probability below which a label is suspect
            'sort': 'index',  # rows of labels.csv; 'suspicion': the least clean probability first
            'page': True,  # report.html
            'gallery': 1000,  # the most suspicious images that it shows
            'thumbnail': 96,  # pixels of their longer side, at most
        }
    )
    config.loss = 'elr'
    config.loss_settings = ConfigDict({name: loss_settings(name) for name in LOSSES})

    def classifier(**changes: Any) -> ConfigDict:
        return ConfigDict({'epochs': 100, 'batch_size': 256, 'augment': 'standard', **changes})

    # method: simclr, moco (no labels), sup_con, sup_moco or mopro (labels); knn_every: epochs between k-NN accuracies,
    # each of which embeds the whole training set, 0: only at the end.
    def contrastive(**changes: Any) -> ConfigDict:
        rate = optimizer(learning_rate=0.03)
        common = {'batch_size': 256, 'augment': 'simclr', 'optimizer': rate, 'knn_every': 10, 'own_view_weight': 'one'}
        return ConfigDict({**common, **changes})

    # method: single, bootstrap, elr_plus or dividemix; average: decay of a moving average of the weights, which becomes
    # the classifier, 0: none; mixup: alpha of the shares, 0: none. Other methods than `single` have their own.
    how = {'method': 'single', 'average': 0.0, 'mixup': 0.0}
    config.base = classifier(epochs=120, optimizer=optimizer(), **how)
    config.pretrain = contrastive(method='simclr', epochs=500, temperature=0.5)
    config.classify = classifier(head_epochs=20, head_optimizer=optimizer(), optimizer=optimizer(), **how)
    config.select = classifier(
        epochs=20,
        augment='none',
        optimizer=optimizer(),
        history=5,
        negative_entropy=False,
        neighbours=0,  # whose majority replaces an image's pseudo-label first; 0: as the classifier says
    )
    config.contrast = contrastive(method='sup_con', epochs=100, temperature=0.07, min_weight=0.01)
    config.finetune = classifier(
        head_epochs=20,
        head_optimizer=optimizer(),
        optimizer=optimizer(weight_decay=1e-5),
        weighted=False,  # by clean probability
        **how,
    )
    # What the methods of an encoder with a momentum encoder need beside that (the original's).
    config.moco = ConfigDict({'queue': 8192, 'momentum': 0.999})
    config.mopro = ConfigDict(
        {
            'strong_augment': 'mopro_strong',  # of the keys
            'temperature': 0.1,  # its own: the softmax over prototypes decides which labels are corrected
            'prototype_momentum': 0.999,
            'alpha': 0.5,  # the classifier's share in a corrected label
            'threshold': 0.8,  # from which on it is believed
            'start_epoch': 11,  # until then labels are as given
        }
    )
    # What the methods of a classifier need beside that, as in their papers for CIFAR-10 unless said.
    config.elr_plus = ConfigDict({'average': 0.997, 'mixup': 1.0})
    # After pre-training a short warm-up serves; the paper's, from scratch, takes 105 epochs.
    config.bootstrap = ConfigDict({'loss': 'ce', 'warmup_epochs': 10, 'mixup': 32.0})
    config.dividemix = ConfigDict(
        {
            'loss': 'ce',  # of the warm-up
            'negative_entropy': False,  # added to it, against sure predictions: for asymmetric noise
            'warmup_epochs': 10,
            'history': 1,  # epochs of losses whose mean is split; 5 at 90 % noise
            'threshold': 0.5,  # clean probability of a label that is trusted
            'temperature': 0.5,  # of the sharpening
            'mixup': 4.0,
            'unlabelled_weight': 25.0,
            'rampup_epochs': 16,  # over which that weight rises
        }
    )
    return config.lock()
