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


def test_what_was_not_done_is_said():
    rejected = {
        'name': 'classify',
        'seconds': 4.0,
        'rejected': {'stage': 'all', 'sure_agreement': 0.312, 'least': 0.657, 'instead': 'what was trained before it'},
    }
    skipped = {'name': 'contrast', 'seconds': 0.0, 'skipped': 'the losses form one group'}
    text = render({**SUMMARY, 'phases': [rejected, skipped]})
    assert 'classify, stage all: memorised wrong labels (it predicts 0.31 of the classes' in text
    assert 'at least 0.66 is needed); what was trained before it is used' in text
    assert 'contrast: skipped, since the losses form one group' in text
    assert 'memorised' not in render(SUMMARY)


def test_a_judges_precision_is_an_interval_and_nothing_trained_is_no_table():
    issues = {
        **{'suspects': 117, 'expected_precision': 0.677, 'expected_recall': 0.433, 'estimated_noise_rate': 0.122},
        **{'precision_interval': [0.163, 1.0], 'noise_rate_interval': [0.035, 0.392]},
    }
    text = render({**SUMMARY, 'phases': [], 'selection': None, 'label_issues': issues})
    assert '(4 to 39 % of all labels are estimated to be wrong)' in text
    assert text.endswith('  by planted errors, 16 to 100 % of those listed are wrong')
    assert 'phase ' not in text
    unknown = {**issues, 'suspects': 0, 'expected_precision': None, 'precision_interval': None}
    assert 'planted' not in render({**SUMMARY, 'label_issues': unknown})


def test_a_run_without_a_test_set_shows_what_is_estimated():
    phases = [{'name': 'classify', 'seconds': 4.0, 'valid_accuracy_last': 0.36, 'knn_agreement': 0.3}]
    issues = {'suspects': 40, 'expected_precision': 0.83, 'expected_recall': None, 'estimated_noise_rate': 0.301}
    lines = render({**SUMMARY, 'phases': phases, 'label_issues': issues}).splitlines()
    assert lines[3].split() == ['phase', 'classifier', 'held-out', 'k-NN', 'agr.', 'seconds', 'images/s']
    assert lines[4].split() == ['classify', 'Pre-trained', '0.360', '0.300', '4.0']
    assert lines[-2].split() == ['label', 'issues', '40']
    assert lines[-1].split()[:4] == ['expected', '(too', 'high)', '0.830']
    assert 'about 30 % of all labels are estimated to be wrong' in lines[-1]
