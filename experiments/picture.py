"""The README's picture: accuracy from experiments/results/digits.json, and the most suspect labels of a run.

python -m noisy_jax.main --config=configs/digits.py --workdir=runs/digits
python experiments/picture.py runs/digits
"""

import csv
import json
import pathlib
import sys

import matplotlib as mpl

mpl.use('agg')
import matplotlib.pyplot as plt
import numpy as np

from noisy_jax.data import digits

HERE = pathlib.Path(__file__).resolve().parent
COLUMNS = {
    'base': ('Base', '#9aa0a6'),
    'pretrained': ('Pre-trained', '#4285b4'),
    'finetuned': ('Fine-tuned', '#d1495b'),
}


def accuracy(axes: plt.Axes, cells: list[dict], loss: str) -> None:
    """Test accuracy against the noise rate, mean and range over the seeds."""
    rates = sorted({cell['rate'] for cell in cells})
    for name, (title, colour) in COLUMNS.items():
        values = np.array([[c[name] for c in cells if (c['loss'], c['rate']) == (loss, rate)] for rate in rates])
        axes.plot(rates, values.mean(1), 'o-', color=colour, label=title)
        axes.fill_between(rates, values.min(1), values.max(1), color=colour, alpha=0.2, linewidth=0)
    axes.set(title=loss.upper().replace('_', '+'), xlabel='symmetric noise', xticks=rates, ylim=(0, 1.02))
    axes.spines[['top', 'right']].set_visible(False)


def suspects(axes: np.ndarray, workdir: pathlib.Path) -> None:
    """The images whose given label is least likely, one per given class."""
    with (workdir / 'labels.csv').open() as file:
        rows = [row for row in csv.DictReader(file) if row['is_suspect'] == '1']
    rows.sort(key=lambda row: (float(row['clean_probability']), -float(row['pred_prob'])))
    images = digits.load('train').image[..., 0]
    shown: set[str] = set()
    for row in rows:
        if row['given_label'] not in shown and len(shown) < axes.size:
            axis = axes.flat[len(shown)]
            axis.imshow(images[int(row['index'])], cmap='gray_r')
            axis.set_title(f'{row["given_label"]} → {row["suggested_label"]}', fontsize=11)
            shown.add(row['given_label'])
    for axis in axes.flat:
        axis.axis('off')


def main() -> None:
    cells = json.loads((HERE / 'results' / 'digits.json').read_text())
    figure = plt.figure(figsize=(12, 3.6), layout='constrained')
    left, right = figure.subfigures(1, 2, width_ratios=(1.7, 1))
    plots = left.subplots(1, 3, sharey=True)
    for axes, loss in zip(plots, ('ce', 'nfl_rce', 'elr'), strict=True):
        accuracy(axes, cells, loss)
    plots[0].set_ylabel('test accuracy')
    plots[0].legend(frameon=False, loc='lower left')
    right.suptitle('wrong labels found: given → suggested', fontsize=12)
    suspects(right.subplots(2, 5), pathlib.Path(sys.argv[1]))
    figure.savefig(HERE / 'results' / 'digits.png', dpi=110)


if __name__ == '__main__':
    main()
