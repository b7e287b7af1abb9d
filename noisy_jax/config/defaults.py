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
    'label_smoothing': {'smoothing': 0.1},  # share of a label that is spread over all classes
    'focal': {'gamma': 2.0},  # how much less sure predictions count
    'nce': {},
    'nfl': {'gamma': 0.5},  # how much less sure predictions count
    'rce': {},
    'mae': {},
    'gce': {'q': 0.7},  # from cross-entropy (near 0) to mean absolute error (1)
    'sce': {'alpha': 0.1, 'beta': 1.0},  # weights of cross-entropy and of reverse cross-entropy
    'nfl_rce': {**_ACTIVE_PASSIVE, 'gamma': 0.5},  # weights of the two parts; gamma of the first
    'nce_rce': _ACTIVE_PASSIVE,  # weights of the two parts
    'nce_mae': _ACTIVE_PASSIVE,  # weights of the two parts
    'elr': {'beta': 0.7, 'lam': 3.0},  # beta: how long predictions are remembered; lam: their weight
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
            'name': 'sgd',  # sgd's learning rate is for a batch of 256 and scales with the batch
            'learning_rate': 0.01,  # the highest of the schedule
            'weight_decay': 1e-4,  # adamw takes it from the weights, the others add it to the gradient
            'momentum': 0.9,  # of sgd
            'nesterov': False,  # of sgd
            'schedule': 'cosine',  # 'cosine' falls to almost 0, 'step' to a tenth at each of the milestones
            'warmup_epochs': 0,  # in which the learning rate rises first
            'milestones': (),  # epochs, of 'step'
            'encoder_scale': 1.0,  # the encoder's learning rate, as a share of the head's
            **changes,
        }
    )


def default() -> ConfigDict:
    """Everything that can be set, with the paper's values for CIFAR-10.

    A config may leave the settings of `automatic.KEYS` to the data: numbers as -1, words as 'auto', tuples as ().
    """
    config = ConfigDict()
    config.name = 'unnamed'  # what the summary calls the run
    config.seed = 0  # of all that is drawn: noise, held-out images, weights, order, views
    config.phases = PHASES  # some of these, in this order
    config.rounds = 1  # of select, contrast and finetune; each starts from the labels of the classifier before
    config.devices = 0  # how many compute; 0: all
    config.checkpoint_every = 10  # epochs between two checkpoints, which a kill falls back to
    config.eval_every = 1  # epochs of a classifier between accuracies on held-out data; 0: only at its end
    config.eval_batch_size = 512  # images at a time where nothing is trained
    config.early_stop = 'none'  # 'stable_predictions': a classifier's stage ends when few predictions still change
    config.early_stop_below = 0.01  # which share is few, of held-out images and as the mean of five epochs
    config.linear_probe = False  # judge embeddings also by a linear classifier, fitted to the end
    config.resident_bytes = 2**31  # training images up to this size stay on the device
    config.shard_state = False  # the optimiser's state and what a method remembers spread over the devices
    config.compile_cache = 'auto'  # a folder; 'auto': the user's cache folder; 'off'
    config.xla_options = ''  # 'name=value,...' beside noisy_jax's own for the platform; 'none': no options at all

    config.data = ConfigDict(
        {
            'name': 'folder',  # how the data lies
            'path': '',  # of arrays, folder and filelist; the data_dir of tfds
            'dataset': '',  # of tfds, e.g. 'cifar10'
            'label_key': 'label',  # of tfds: the feature to train on, 'label' is then the true one
            'list': '',  # of filelist: lines of path and label
            'test_list': '',  # the same for the test set
            'test_path': '',  # that the paths of test_list are in, where it is not `path`
            'labels': '',  # lines of path and label for a `list` of paths alone
            'test_labels': '',  # the same for the test set
            'class_names': '',  # a file, a name a line
            'max_classes': 0,  # the first so many alone; 0: all
            'image_size': 0,  # pixels of a side, to which images are scaled and cropped; 0: as they are
            'memory_bytes': 2**33,  # decoded images up to this size are kept in memory, others decoded for every batch
            'workers': 0,  # processes that decode; 0: threads
            'limit': 0,  # training images, balanced over the classes; 0: all
            'test_limit': 0,  # test images; 0: all
            'valid_fraction': 0.0,  # of the training set, held out with its noisy labels
            'mean': (0.4914, 0.4822, 0.4465),  # of the pixels in [0, 1], a value for each channel
            'std': (0.2023, 0.1994, 0.2010),  # the same
        }
    )
    config.noise = ConfigDict(
        {
            'kind': 'symmetric',  # which wrong labels are put in; 'none' for data whose labels are wrong already
            'rate': 0.4,  # share of each class
            'matrix': '',  # of matrix: .npy or .csv [C, C], a row per true class
            'labels': '',  # of human: .npy or .npz of labels in the order of the images
            'key': '',  # of an .npz of labels, e.g. 'worse_label'
        }
    )
    config.model = ConfigDict(
        {
            'encoder': 'resnet18',  # resnet_tiny and cnn_small are for small images
            'width': 0,  # channels of its first stage; 0: its own
            'stem': 'auto',  # of a ResNet: 'small' (3x3), 'large' (7x7 and pooling); 'auto': large above 64 pixels
            'classifier': 'linear',  # the head
            'projection': 'mlp',  # the head of contrastive phases; 'none': the embeddings themselves are contrasted
            'projection_dim': 128,  # its outputs
            'batch_norm_splits': 1,  # parts of a batch that the encoder normalises each by itself, dealt out in turn
            'batch_norm_blocks': 1,  # the same, of neighbours as on one device; 0 or 1: all devices' whole batch
            'dtype': 'float32',  # computes in; weights, statistics and losses are float32
        }
    )
    crop = {
        'min_scale': 0.2,  # the smallest part of the image that is cropped out
        'flip': True,  # left to right, by chance
    }
    colours = {
        'jitter': 1.0,  # how strongly colours change; 0: not at all
        'gray_probability': 0.2,  # of an image without colours
    }
    views = {
        **crop,
        **colours,
        'jitter_probability': 0.8,  # of an image whose colours change
    }
    # What each policy of `PHASE.augment` does.
    config.augment = ConfigDict(
        {
            'standard': {
                'padding': 4,  # pixels around the image before it is cropped back
                'flip': True,
                'degrees': 0.0,  # of rotation to each side, at most; the original's code has 20
            },
            'simclr': {
                **views,
                'blur_probability': 0.0,  # more for images of more than 32 pixels
            },
            'moco': {**views, 'blur_probability': 0.5},
            'mopro': crop,
            'mopro_strong': {**crop, **colours},
            'scan': {
                'padding': 0,
                'flip': True,
                'operations': 4,  # random ones of 14
                'cutout': 16,  # pixels of a side of the hole
            },
            'handwriting': {
                'degrees': 15.0,  # of rotation to each side, at most
                'scale': 0.2,  # larger or smaller by this share, at most
                'shift': 1.0,  # pixels, at most
                'brightness': 0.3,  # brighter or darker by this share, at most
                'noise': 0.1,  # deviation, of pixels in [0, 1]
            },
        }
    )
    # The list of wrong labels and the report. The same command with other values writes them anew, training nothing.
    config.report = ConfigDict(
        {
            'cross_fit': 0,  # folds; labels are judged by heads that did not see them, on pre-trained embeddings; 0: no
            'threshold': 0.5,  # clean probability below which a label is suspect
            'sort': 'index',  # rows of labels.csv; 'suspicion': the least clean probability first
            'page': True,  # whether report.html is written
            'tensorboard': True,  # whether tensorboard/ is written, where its extra is installed
            'gallery': 1000,  # the most suspicious images that it shows
            'thumbnail': 96,  # pixels of their longer side, at most
        }
    )
    config.loss = 'elr'  # of classifiers by the methods 'single' and 'elr_plus'; the other methods have their own
    config.loss_settings = ConfigDict({name: loss_settings(name) for name in LOSSES})

    def classifier(**changes: Any) -> ConfigDict:
        common = {
            'epochs': 100,  # at most; of the last stage where there are several
            'batch_size': 256,  # of all devices together
            'augment': 'standard',  # the policy of the views
        }
        return ConfigDict({**common, **changes})

    def contrastive(**changes: Any) -> ConfigDict:
        common = {
            'batch_size': 256,
            'augment': 'simclr',
            'optimizer': optimizer(learning_rate=0.03),
            'knn_every': 10,  # epochs between k-NN accuracies, which embed the whole training set; 0: only at the end
            'own_view_weight': 'one',  # of sup_con: of an image's other view; 'sample': its clean probability
        }
        return ConfigDict({**common, **changes})

    how = {
        'method': 'single',  # 'single': one network by `loss`; the others have settings of their own
        'average': 0.0,  # decay of a moving average of the weights, which becomes the classifier; 0: none
        'mixup': 0.0,  # alpha of the shares by which images are mixed; 0: none
    }
    config.base = classifier(epochs=120, optimizer=optimizer(), **how)
    config.pretrain = contrastive(
        method='simclr',  # simclr, moco: no labels; the others: with labels
        epochs=500,
        temperature=0.5,  # of the contrast; lower: the nearest count more
    )
    config.classify = classifier(
        head_epochs=20,  # of a new head alone, before all weights are trained
        head_loss='same',  # of these epochs: any loss, or 'same' as the epochs after them
        head_optimizer=optimizer(),
        optimizer=optimizer(),
        **how,
    )
    config.select = classifier(
        epochs=20,
        augment='none',
        optimizer=optimizer(),
        history=5,  # last epochs whose mean loss tells clean from noisy
        negative_entropy=False,  # added to the losses that are compared
        neighbours=0,  # whose majority replaces an image's pseudo-label first; 0: as the classifier says
    )
    config.contrast = contrastive(
        method='sup_con',  # simclr, moco: no labels; the others: labels weighted by clean probability
        epochs=100,
        temperature=0.07,
        min_weight=0.01,  # of a pair, however noisy
    )
    config.finetune = classifier(
        head_epochs=20,
        head_loss='same',
        head_optimizer=optimizer(),
        optimizer=optimizer(weight_decay=1e-5),
        weighted=False,  # whether labels count by their clean probability
        **how,
    )
    # What the methods of an encoder with a momentum encoder need beside the settings of their phases (the original's).
    config.moco = ConfigDict(
        {
            'queue': 8192,  # embeddings of earlier batches that are contrasted; at least a batch
            'momentum': 0.999,  # of the momentum encoder, per step
        }
    )
    config.mopro = ConfigDict(
        {
            'strong_augment': 'mopro_strong',  # the policy of the keys, which the momentum encoder sees
            'temperature': 0.1,  # its own: the softmax over prototypes decides which labels are corrected
            'prototype_momentum': 0.999,  # of each class's mean embedding, per sample
            'alpha': 0.5,  # the classifier's share in a corrected label
            'threshold': 0.8,  # probability from which on a corrected label is believed
            'start_epoch': 11,  # until which labels are as given
        }
    )
    # What the methods of a classifier need beside the settings of their phases, as in the papers for CIFAR-10.
    config.elr_plus = ConfigDict(
        {
            'average': 0.997,  # decay of the moving average of the weights
            'mixup': 1.0,  # alpha of the shares by which images are mixed
        }
    )
    config.bootstrap = ConfigDict(
        {
            'loss': 'ce',  # of all its stages
            'warmup_epochs': 10,  # enough after pre-training; the paper's, from scratch, takes 105
            'mixup': 32.0,  # alpha of the shares by which images are mixed
        }
    )
    config.dividemix = ConfigDict(
        {
            'loss': 'ce',  # of the warm-up
            'negative_entropy': False,  # added to it, against sure predictions: for asymmetric noise
            'warmup_epochs': 10,  # of all weights, before the first split
            'history': 1,  # epochs of losses whose mean is split; 5 at 90 % noise
            'threshold': 0.5,  # clean probability of a label that is trusted
            'temperature': 0.5,  # of the sharpening of labels; lower: surer
            'mixup': 4.0,  # alpha of the shares by which images are mixed
            'unlabelled_weight': 25.0,  # of the error on labels that are not trusted
            'rampup_epochs': 16,  # over which that weight rises
        }
    )
    return config.lock()
