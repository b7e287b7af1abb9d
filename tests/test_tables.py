"""The table at the end of a run."""

from noisy_jax.report.tables import render

SUMMARY = {
    'config': 'digits',
    'seed': 3,
    'device': '1 x cpu',
    'noise': {'kind': 'symmetric', 'rate': 0.6, 'realised_rate': 0.598},
    'phases': [
        {'name': 'pretrain', 'seconds': 9.06, 'images_per_second': 5001.4, 'knn_accuracy': 0.981},
        {'name': 'classify', 'seconds': 4.0, 'images_per_second': None, 'test_accuracy_last': 0.25},
    ],
    'selection': {'selected': 10, 'precision': 0.9, 'recall': None, 'auroc': None},
}


def test_every_number_stands_in_its_row():
    lines = render(SUMMARY).splitlines()
    assert lines[1] == 'noise added: symmetric 0.600, 0.598 of the labels are wrong'
    rows = {line.split()[0]: line.split()[1:] for line in lines if line}
    assert rows['pretrain'] == ['0.981', '9.1', '5001']
    assert rows['classify'] == ['Pre-trained', '0.250', '4.0']
    assert rows['selection'][-2:] == ['10', '0.900']


def test_unknown_things_are_left_out():
    text = render({**SUMMARY, 'noise': {'kind': 'none', 'rate': 0.0}, 'selection': {}})
    assert 'noise added: none\n' in text
    human = {'kind': 'human', 'rate': None, 'realised_rate': 0.402}
    assert 'noise added: human, 0.402 of the labels are wrong\n' in render({**SUMMARY, 'noise': human})
    assert 'selection' not in text
    assert 'None' not in text
