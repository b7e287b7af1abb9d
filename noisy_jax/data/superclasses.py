"""CIFAR-100's 20 superclasses; its 100 classes are numbered in alphabetical order.

Source: Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html
"""

SUPERCLASSES: dict[str, tuple[str, ...]] = {
    'aquatic mammals': ('beaver', 'dolphin', 'otter', 'seal', 'whale'),
    'fish': ('aquarium_fish', 'flatfish', 'ray', 'shark', 'trout'),
    'flowers': ('orchid', 'poppy', 'rose', 'sunflower', 'tulip'),
    'food containers': ('bottle', 'bowl', 'can', 'cup', 'plate'),
    'fruit and vegetables': ('apple', 'mushroom', 'orange', 'pear', 'sweet_pepper'),
    'household electrical devices': ('clock', 'keyboard', 'lamp', 'telephone', 'television'),
    'household furniture': ('bed', 'chair', 'couch', 'table', 'wardrobe'),
    'insects': ('bee', 'beetle', 'butterfly', 'caterpillar', 'cockroach'),
    'large carnivores': ('bear', 'leopard', 'lion', 'tiger', 'wolf'),
    'large man-made outdoor things': ('bridge', 'castle', 'house', 'road', 'skyscraper'),
    'large natural outdoor scenes': ('cloud', 'forest', 'mountain', 'plain', 'sea'),
    'large omnivores and herbivores': ('camel', 'cattle', 'chimpanzee', 'elephant', 'kangaroo'),
    'medium-sized mammals': ('fox', 'porcupine', 'possum', 'raccoon', 'skunk'),
    'non-insect invertebrates': ('crab', 'lobster', 'snail', 'spider', 'worm'),
    'people': ('baby', 'boy', 'girl', 'man', 'woman'),
    'reptiles': ('crocodile', 'dinosaur', 'lizard', 'snake', 'turtle'),
    'small mammals': ('hamster', 'mouse', 'rabbit', 'shrew', 'squirrel'),
    'trees': ('maple_tree', 'oak_tree', 'palm_tree', 'pine_tree', 'willow_tree'),
    'vehicles 1': ('bicycle', 'bus', 'motorcycle', 'pickup_truck', 'train'),
    'vehicles 2': ('lawn_mower', 'rocket', 'streetcar', 'tank', 'tractor'),
}

CLASSES: tuple[str, ...] = tuple(sorted(name for names in SUPERCLASSES.values() for name in names))


def next_in_superclass() -> dict[int, int]:
    """Maps each of the 100 classes to the next of its superclass by name, the last to the first."""
    numbers = [[CLASSES.index(name) for name in names] for names in SUPERCLASSES.values()]
    return {label: group[(i + 1) % len(group)] for group in numbers for i, label in enumerate(group)}
