"""report.html and plots/ of a run: what they say, without a browser."""

import base64
import hashlib
import html
import html.parser
import io
import json
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import refused
from PIL import Image
from reported import JUDGE, judge, read_data, run_of
from tiny import config

from noisy_jax import pipeline
from noisy_jax.data import digits
from noisy_jax.labels import embedding_map, judges
from noisy_jax.report import evidence, page, plots
from noisy_jax.report.charts import histogram
from noisy_jax.report.findings import Findings
from noisy_jax.report.thumbnails import data_uri
from noisy_jax.report.wording import count, interval, percent
from noisy_jax.workdir import WorkDir


def _write(folder, images, **settings):
    work = WorkDir.of_run(folder)
    page.write(work, Findings.load(work), images, **settings)


def _text(folder):
    return html.unescape(re.sub('<[^>]+>', '', (folder / 'report.html').read_text(encoding='utf-8')))


def _settings():
    changes = {'report__page': True, 'report__gallery': 120, 'data__valid_fraction': 0.1}
    return config('rate=0.4,phases=pretrained', pretrain__epochs=5, **changes)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A run on digits with everything that a report can show."""
    folder = tmp_path_factory.mktemp('trained')
    return folder, pipeline.run(_settings(), folder)


@pytest.fixture(scope='module')
def judged(tmp_path_factory):
    """A work directory as a run leaves it, of 400 images of four classes with names that could do harm."""
    return run_of(tmp_path_factory.mktemp('judged') / 'work')


def test_a_run_leaves_a_report_of_its_numbers(trained):
    folder, summary = trained
    data, text, issues = read_data(folder), _text(folder), summary['label_issues']
    assert data['images'] == 300
    assert data['cuts']['suspects'][500] == issues['suspects']
    assert f'{count(issues["suspects"])} are listed as likely label errors' in text
    for name in ('estimated_noise_rate', 'expected_precision', 'precision', 'recall'):
        assert percent(issues[name]) in text
    last = summary['phases'][-1]
    assert f'(Pre-trained) is right on {percent(last["test_accuracy_last"])} of the test images' in text
    assert f'agrees with {percent(last["valid_accuracy_last"])} of the given labels' in text
    assert 'in-sample' in text
    assert 'except the held-out ones' in text
    assert all(f'<figcaption>{phase["name"]}<' in (folder / 'report.html').read_text() for phase in summary['phases'])
    assert len(data['map']['x']) == 300


def test_the_policy_knows_the_style_and_the_script_of_the_page_alone(judged):
    source = (judged / 'report.html').read_text(encoding='utf-8')
    policy = re.search('http-equiv="Content-Security-Policy" content="([^"]*)"', source)[1]
    rules = dict(rule.split(maxsplit=1) for rule in policy.split('; '))
    for tag in ('style', 'script'):
        found = re.findall(f'<{tag}>(.*?)</{tag}>', source, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(found[0].encode()).digest()).decode()
        assert (len(found), rules[f'{tag}-src']) == (1, f"'sha256-{digest}'")
    assert rules['default-src'] == rules['base-uri'] == rules['form-action'] == "'none'"
    reader, attributes = html.parser.HTMLParser(), set()
    reader.handle_starttag = lambda _, found: attributes.update(dict(found))
    reader.feed(source)
    assert 'class' in attributes
    assert not [name for name in attributes if name == 'style' or name.startswith('on')]


def test_the_gallery_shows_the_most_suspicious_images(trained):
    folder, _ = trained
    gallery, labels = read_data(folder)['gallery'], WorkDir.of_run(folder).load_labels()
    assert len(gallery['image']) == 120
    assert gallery['clean'] == sorted(gallery['clean'])
    assert gallery['clean'][-1] <= np.delete(labels['clean_probability'], gallery['index']).min() + 1e-6
    images = digits.load('train', limit=300).image
    for place in (0, 60, 119):
        row = gallery['index'][place]
        kind, _, encoded = gallery['image'][place].partition(',')
        assert kind == 'data:image/png;base64'
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))
        np.testing.assert_array_equal(shown, images[row, ..., 0])
        assert str(gallery['given'][place]) == labels['given_label'][row]
        assert str(gallery['suggested'][place]) == labels['suggested_label'][row]


def test_the_map_is_laid_out_once_and_a_rerun_writes_the_same_bytes(trained, monkeypatch):
    folder, summary = trained
    before = {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}
    monkeypatch.setattr(embedding_map, 'lay_out', None)
    assert pipeline.run(_settings(), folder) == summary
    assert {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()} == before


def test_a_page_that_cannot_be_written_loses_nothing(trained, monkeypatch):
    def fail(*_, **__):
        raise OSError('no space left')

    folder, summary = trained
    for name in ('summary.json', 'labels.csv'):
        (folder / name).unlink()
    monkeypatch.setattr(page, 'write', fail)
    with pytest.raises(OSError, match='no space left'):
        pipeline.run(_settings(), folder)
    assert json.loads((folder / 'summary.json').read_text()) == summary
    assert len(WorkDir.of_run(folder).load_labels()['index']) == 300


def test_damaged_metrics_are_named(judged, tmp_path):
    work = WorkDir.of_run(shutil.copytree(judged, tmp_path / 'work'))
    work.metrics.write_bytes(work.metrics.read_bytes()[:-9])
    refused(lambda: Findings.load(work), 'metrics.jsonl', 'remove it')


def test_every_threshold_has_its_counts(judged):
    findings = Findings.load(WorkDir.of_run(judged))
    cuts = read_data(judged)['cuts']
    wrong = findings.given != findings.true
    for at in (0, 1, 123, 500, 877, 1000):
        below = findings.clean_probability < at / 1000
        assert cuts['threshold'][at] == at / 1000
        assert cuts['suspects'][at] == below.sum()
        assert cuts['caught'][at] == pytest.approx((1 - findings.clean_probability)[below].sum(), abs=1e-3)
        assert cuts['hits'][at] == (below & wrong).sum()
        upper = findings.loss[below & (findings.loss > findings.components[0].mean)]
        assert cuts['border'][at] == (pytest.approx(upper.min(), abs=1e-4) if len(upper) else None)


def test_the_components_are_those_of_the_mixture(judged):
    """Their posterior is the clean probability again."""
    findings = Findings.load(WorkDir.of_run(judged))
    right, wrong = (component.density(findings.loss) for component in findings.components)
    assert np.abs(right / (right + wrong) - findings.clean_probability).max() < 0.05
    assert sum(component.weight for component in findings.components) == pytest.approx(1)
    assert histogram(findings).count('<polyline') == 2


def test_the_browser_keeps_no_decisions_on_other_images_of_the_same_names(tmp_path):
    folder = WorkDir(run_of(tmp_path, images=40))
    names, keys = folder.load_labels()['id'].tolist(), [read_data(tmp_path)['run']]
    pixels = np.zeros((40, 8, 8, 3), np.uint8)
    for mark in (1, 1, 2):
        noted = {'classes': [], 'train': {'id': names, 'mark': [mark] * 40}, 'unlabelled': {'id': [], 'mark': None}}
        folder.save_bytes('labels/images.json', json.dumps(noted | {'test': None, 'version': 1}).encode())
        page.write(folder, Findings.load(folder), pixels, gallery=5, thumbnail=8)
        keys.append(read_data(tmp_path)['run'])
    assert keys[1] == keys[2]
    assert len(set(keys)) == 3


def test_names_cannot_break_out_of_the_page(judged):
    source = (judged / 'report.html').read_text(encoding='utf-8')
    assert source.count('<script') == source.count('</script>') == 2
    assert '<b>bold' not in source
    assert '<img src=x' not in source
    data = read_data(judged)
    assert data['classes'] == json.loads((judged / 'data.json').read_text())['classes']
    assert any('"&ä\'.jpg' in name for name in data['gallery']['id'])
    assert not re.search(r'(src|href)=.?(https?:)?//', source), 'nothing comes from elsewhere'


@pytest.mark.parametrize(
    ('name', 'path', 'expected'),
    [
        ('folder', 'a #?/photos', '../../a%20%23%3F/photos/'),
        ('folder', 'runs/work', './'),
        ('filelist', 'photos', '../../photos/'),
        ('filelist', 'photos/list.csv', '../../photos/'),
        ('arrays', 'photos/images.npz', None),
        ('tfds', 'photos', None),
    ],
)
def test_the_page_knows_where_the_originals_are(tmp_path, name, path, expected):
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'photos' / 'list.csv').touch()
    folder = run_of(tmp_path / 'runs' / 'work', data=(name, tmp_path / path), gallery=5)
    data = read_data(folder)
    assert data['originals'] == expected
    labels = WorkDir.of_run(folder).load_labels()
    assert data['gallery']['id'] == labels['id'][data['gallery']['index']].tolist()


def test_originals_on_another_drive_have_an_absolute_address(tmp_path, monkeypatch):
    def refuse(*_):
        raise ValueError('path is on mount C:, start on mount D:')

    monkeypatch.setattr('os.path.relpath', refuse)
    folder = run_of(tmp_path / 'work', data=('folder', tmp_path / 'a b'), gallery=5)
    assert read_data(folder)['originals'] == f'{tmp_path.as_uri()}/a%20b/'


def test_labels_that_form_one_group_are_shown_by_margin(tmp_path):
    folder = run_of(tmp_path / 'work', noise=0, certainty=0)
    data, text = read_data(folder), _text(folder)
    assert data['one_group']
    assert 'No label stands out' in text
    assert 'expected precision)' not in text
    findings = Findings.load(WorkDir.of_run(folder))
    assert findings.components == []
    probabilities = np.load(folder / 'pred_probs.npy')
    doubt = judges.suspicion(probabilities, findings.given)
    np.testing.assert_allclose(doubt[data['gallery']['index']], np.sort(doubt)[::-1][:300], atol=1e-6)
    plots.write(WorkDir.of_run(folder), Findings.load(WorkDir.of_run(folder)))


def test_a_threshold_between_thousandths_and_one_that_suspects_none(tmp_path):
    data = read_data(run_of(tmp_path / 'third', threshold=1 / 3))
    assert data['cuts']['threshold'][333] == data['threshold'] == 1 / 3
    folder = run_of(tmp_path / 'none', threshold=0.0)
    assert 'None is listed' in _text(folder)
    assert read_data(folder)['cuts']['suspects'][0] == 0


def test_many_classes_get_a_list_instead_of_a_matrix(tmp_path):
    names = tuple(f'class {number}' for number in range(40))
    folder = run_of(tmp_path / 'work', names=names, true=False)
    source, counts = (folder / 'report.html').read_text(), Findings.load(WorkDir.of_run(folder)).counts
    assert 'class="matrix"' not in source
    np.fill_diagonal(counts, 0)
    given, suggested = np.unravel_index(counts.argmax(), counts.shape)
    row = source[source.index('id="confusions"') :].split('<tbody>')[1].split('</tr>')[0]
    assert re.findall('data-sort="([^"]*)"', row)[:3] == [names[given], names[suggested], str(counts.max())]
    assert 'was trained on them (in-sample)' in source
    assert 'Measured against' not in source
    assert 'hits' not in read_data(folder)['cuts']


def test_images_are_read_once_only_those_shown_and_in_order(tmp_path):
    class Lazy:
        asked = ()

        def __getitem__(self, rows):
            self.asked = (*self.asked, rows)
            return np.zeros((len(rows), 4, 4, 3), np.uint8)

    lazy = Lazy()
    folder = run_of(tmp_path / 'work')
    _write(folder, lazy, gallery=30, thumbnail=16)
    assert len(lazy.asked) == 1
    assert len(lazy.asked[0]) == 30 + len(read_data(folder)['others']['id'])
    assert (np.diff(lazy.asked[0]) > 0).all()
    _write(folder, lazy, gallery=0, thumbnail=16)
    assert read_data(folder)['gallery']['image'] == []
    assert len(lazy.asked) == 1


@pytest.fixture(scope='module')
def by_judge(tmp_path_factory):
    """A work directory whose list a judge made."""
    return run_of(tmp_path_factory.mktemp('by_judge') / 'work', judged=True, certainty=2.5)


def _lede(folder):
    """The paragraphs on top of the page."""
    source = (folder / 'report.html').read_text(encoding='utf-8')
    lede = source[source.index('<div class="lede">') :].split('</div>')[0]
    return [html.unescape(re.sub('<[^>]+>', '', text)) for text in re.findall('<p>(.*?)</p>', lede)]


def test_a_judge_says_intervals_and_nothing_of_a_mixture(by_judge):
    findings, lede = Findings.load(WorkDir.of_run(by_judge)), ' '.join(_lede(by_judge))
    numbers = json.loads((by_judge / 'summary.json').read_text())['label_issues']
    assert findings.numbers.items() <= numbers.items()
    low, high = numbers['precision_interval']
    assert 0 < low < numbers['expected_precision'] < high
    assert low < numbers['precision'] <= high
    assert f'Of the listed labels, {interval(low, high)} are wrong' in lede
    least, most = numbers['noise_rate_interval']
    assert least < np.mean(findings.given != findings.true) < most
    assert f'An estimated {interval(least, most)} of the labels are wrong' in lede
    assert f'The list is that of {JUDGE}' in lede
    won, lost = numbers['judges'][JUDGE], numbers['judges']['guesses']
    assert f'(AUROC {won:.2f}; the others reach {lost:.2f} at most)' in lede
    assert '(5 folds)' in lede
    assert 'mixture' not in lede
    assert 'in-sample' not in lede
    assert 'not to be trusted' not in lede
    assert findings.components == []
    assert 'suspicions of the given labels"' in histogram(findings)
    assert '<polyline' not in histogram(findings)


def test_the_judges_are_shown_the_best_first(by_judge):
    source = (by_judge / 'report.html').read_text(encoding='utf-8')
    aurocs = json.loads((by_judge / 'summary.json').read_text())['label_issues']['judges']
    rows = re.findall('<th scope="row">(.*?)</th><td>(.*?)</td>', source.split('id="judges"')[1].split('</table>')[0])
    assert [(html.unescape(name), value) for name, value in rows] == [
        (name, f'{aurocs[name]:.3f}') for name in (JUDGE, 'guesses')
    ]
    assert aurocs['guesses'] == pytest.approx(0.5, abs=0.1)  # eight times 40 planted errors
    assert '<b>of' not in source


def test_a_mixture_shows_no_judges(judged):
    source = (judged / 'report.html').read_text(encoding='utf-8')
    assert 'id="judges"' not in source
    assert 'least' not in read_data(judged)['cuts']


def test_every_threshold_has_its_interval(by_judge):
    findings, cuts = Findings.load(WorkDir.of_run(by_judge)), read_data(by_judge)['cuts']
    low, wrong, high = findings.verdict.wrong
    for at in (0, 250, 500, 900, 1000):
        below = findings.clean_probability < at / 1000
        assert cuts['suspects'][at] == below.sum()
        for name, values in (('least', low), ('caught', wrong), ('most', high)):
            assert cuts[name][at] == pytest.approx(values[below].sum(), abs=1e-3)
        # The more suspicious, the further right: those listed are the bars right of the marker.
        if below.any() and not below.all():
            assert findings.loss[below].min() >= findings.loss[~below].max()
            assert cuts['border'][at] == pytest.approx(findings.loss[below].min(), abs=1e-4)


def test_the_evidence_on_an_image_is_its_neighbours_and_its_classes(by_judge):
    findings, data = Findings.load(WorkDir.of_run(by_judge)), read_data(by_judge)
    rows = data['gallery']['index']
    nearest, ids = WorkDir.of_run(by_judge).load_array(evidence.NEAREST), data['gallery']['id'] + data['others']['id']
    assert len(set(ids)) == len(ids)
    for row, similar in zip(rows, data['similar'], strict=True):
        assert [ids[place] for place in similar] == findings.id[nearest[row]].tolist()
    given = data['gallery']['given'] + data['others']['given']
    assert set(data['typical']) == {
        str(label) for label in set(data['gallery']['given'] + data['gallery']['suggested'])
    }
    for label, places in data['typical'].items():
        assert {given[place] for place in places} == {int(label)}
        row = findings.id.tolist().index(ids[places[0]])
        trusted = (findings.given == int(label)) & (findings.suggested == int(label)) & ~findings.is_suspect
        assert trusted[row]
        assert findings.pred_prob[row] == findings.pred_prob[trusted].max()


def test_without_a_judge_there_are_no_similar_images(judged):
    assert set(map(len, read_data(judged)['similar'])) == {0}


def test_a_list_that_is_not_to_be_trusted_says_so_first(tmp_path):
    why = 'it predicts 34 % of the labels, <i>chance</i> would do for 33 %'
    folder = run_of(tmp_path / 'work', judged=True, fault=why, first=True)
    first, *others = _lede(folder)
    assert first.startswith('This list is not to be trusted. ')
    assert why in first
    assert JUDGE in first
    assert 'data.embeddings' in first
    assert not any('not to be trusted' in text for text in others)
    assert '<i>chance' not in (folder / 'report.html').read_text(encoding='utf-8')


def test_a_first_list_says_that_it_is_one(tmp_path):
    """Without a map, a classifier or epochs."""
    folder = run_of(tmp_path / 'work', judged=True, first=True, true=False)
    assert 'This is a first list; training goes on and may improve it.' in _lede(folder)
    assert read_data(folder)['map'] is None
    assert '<section id="training">' not in (folder / 'report.html').read_text(encoding='utf-8')
    assert 'hits' not in read_data(folder)['cuts']
    plots.write(WorkDir.of_run(folder), Findings.load(WorkDir.of_run(folder)))


@pytest.mark.parametrize(('shape', 'mode', 'size'), [((8, 8, 1), 'L', (8, 8)), ((100, 50, 3), 'RGB', (32, 64))])
def test_thumbnails_keep_colours_and_are_never_enlarged(shape, mode, size):
    image = np.full(shape, 200, np.uint8)
    decoded = Image.open(io.BytesIO(base64.b64decode(data_uri(image, 64).partition(',')[2])))
    assert (decoded.mode, decoded.size) == (mode, size)
    assert np.abs(np.asarray(decoded).astype(int) - 200).max() <= 2


def test_a_run_without_labels_csv_is_refused(judged, tmp_path):
    folder = shutil.copytree(judged, tmp_path / 'work')
    (folder / 'labels.csv').unlink()
    refused(lambda: _write(folder, None, gallery=5, thumbnail=32), 'labels.csv cannot be read')


@pytest.mark.parametrize(('value', 'text'), [(0, '0.0 %'), (1e-5, '< 0.1 %'), (0.405, '40.5 %'), (0.9999, '> 99.9 %')])
def test_nothing_is_rounded_to_all_or_none(value, text):
    assert percent(value).replace('\N{NO-BREAK SPACE}', ' ') == text


@pytest.mark.parametrize(
    ('low', 'high', 'text'),
    [
        (0.035, 0.392, '4 to 39 %'),
        (0.163, 1.0, '16 to 100 %'),
        (0, 0.04, '0.0 to 4.0 %'),
        (0.981, 0.996, '98.1 to 99.6 %'),
    ],
)
def test_narrow_intervals_have_a_decimal(low, high, text):
    assert interval(low, high).replace('\N{NO-BREAK SPACE}', ' ') == text


def test_plots(tmp_path):
    pytest.importorskip('matplotlib', reason='plots need matplotlib')
    folder = run_of(tmp_path / 'work', names=('$cat', 'caf\udce9', 'dog' * 2000), images=60)  # the second is no UTF-8
    plots.write(WorkDir.of_run(folder), Findings.load(WorkDir.of_run(folder)))
    for name in ('accuracy_and_loss', 'clean_probability', 'confusion', 'map'):
        with Image.open(folder / 'plots' / f'{name}.png') as image:
            assert np.asarray(image.convert('L')).std() > 5, f'{name} is not empty'


def test_plots_are_drawn_whatever_a_person_has_set(tmp_path):
    matplotlib = pytest.importorskip('matplotlib', reason='plots need matplotlib')
    folder = run_of(tmp_path / 'work', names=('cat', 'dog'), images=60)
    with matplotlib.rc_context({'text.usetex': True, 'font.size': 40.0}):  # as in matplotlibrc; no TeX is there
        plots.write(WorkDir.of_run(folder), Findings.load(WorkDir.of_run(folder)))
        assert matplotlib.rcParams['text.usetex']
    assert (folder / 'plots/confusion.png').exists()


def test_long_names_of_classes_are_shortened(tmp_path):
    run_of(tmp_path / 'work', names=('x' * 5000 + 'end', 'dog'), images=40)
    seen = (tmp_path / 'work' / 'report.html').read_text().split('<script')[0]
    assert f'>{"x" * 39}…{"x" * 37}end<' in seen
    assert 'x' * 40 not in re.sub('data-sort="[^"]*"', '', seen)


def test_without_matplotlib_there_are_no_plots(judged, tmp_path, monkeypatch):
    folder = shutil.copytree(judged, tmp_path / 'work', ignore=shutil.ignore_patterns('plots'))
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    plots.write(WorkDir.of_run(folder), Findings.load(WorkDir.of_run(folder)))
    assert not (folder / 'plots').exists()


def test_the_map_takes_the_most_suspicious_and_an_even_choice(monkeypatch):
    monkeypatch.setattr(embedding_map, 'MOST', 20)
    by_suspicion = np.random.default_rng(0).permutation(100)
    rows = embedding_map.choose(by_suspicion)
    assert len(set(rows)) == 20
    assert set(by_suspicion[:10]) < set(rows)
    rest = np.array(sorted(set(rows) - set(by_suspicion[:10])))
    assert np.diff(rest).max() < 25
    np.testing.assert_array_equal(embedding_map.choose(by_suspicion[:15]), np.sort(by_suspicion[:15]))


@pytest.mark.parametrize('size', [1, 2, 5, 40])
def test_groups_of_embeddings_stay_apart_on_the_map(size):
    rng = np.random.default_rng(0)
    group = np.arange(size) % 2
    places = embedding_map.lay_out((10 * group[:, None] + rng.normal(size=(size, 8))).astype(np.float32), seed=0)
    assert places.shape == (size, 2)
    assert places.dtype == np.float32
    assert np.isfinite(places).all()
    if size == 40:
        centres = np.array([places[group == g].mean(0) for g in (0, 1)])
        nearest = np.linalg.norm(places[:, None] - centres, axis=-1).argmin(1)
        assert (nearest == group).all()


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('value', [0, 1, 3e38])
def test_embeddings_that_are_all_alike_have_a_map(value):
    assert np.isfinite(embedding_map.lay_out(np.full((5, 8), value, np.float32), seed=0)).all()


def test_the_assets_are_installed(tmp_path):
    pytest.importorskip('setuptools', reason='building needs setuptools')
    root, source = pathlib.Path(__file__).resolve().parents[1], tmp_path / 'source'
    shutil.copytree(root / 'noisy_jax', source / 'noisy_jax', ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('setup.cfg', 'pyproject.toml', 'README.md', 'LICENSE'):
        shutil.copy(root / name, source)
    command = [
        sys.executable,
        '-c',
        'import setuptools; setuptools.setup()',
        '-q',
        'build_py',
        '-d',
        tmp_path / 'built',
    ]
    subprocess.run(command, check=True, cwd=source)
    built, assets = (folder / 'noisy_jax' / 'report' / 'assets' for folder in (tmp_path / 'built', root))
    assert {path.name for path in built.iterdir()} == {path.name for path in assets.iterdir()}


def test_judge_makes_what_it_says():
    probabilities, given, true = judge(5, 400, noise=0.3, certainty=3.5)
    assert np.mean(given != true) == pytest.approx(0.3, abs=0.08)
    assert np.mean(probabilities.argmax(1) == true) > 0.8
