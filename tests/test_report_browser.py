"""report.html as a person uses it, in headless Chromium without a network."""

import csv
import io
import json
import os
import re
import shutil
import urllib.parse

import numpy as np
import pytest
from PIL import Image
from reported import HOSTILE, read_data, run_of, with_data_issues

from noisy_jax import spreadsheet
from noisy_jax.clean.changes import decide, unchanged
from noisy_jax.files import open_text, read_text
from noisy_jax.workdir import WorkDir

webdriver = pytest.importorskip('selenium.webdriver', reason='the report is tried in a browser by selenium, not found')
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
CHROMEDRIVER = shutil.which('chromedriver')
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and CHROMEDRIVER), reason='the report is tried in chromium with chromedriver, which are not both here'
)
FLAGS = (
    'headless=new no-sandbox disable-gpu disable-dev-shm-usage no-first-run disable-background-networking '
    'disable-component-update disable-sync host-resolver-rules=MAP\xa0*\xa0~NOTFOUND window-size=1200,900'
)


class Page:
    """The browser with a report in it."""

    def __init__(self, driver, downloads):
        self.driver, self.downloads = driver, downloads

    def open(self, folder, keep=False):
        self.driver.get((folder / 'report.html').as_uri())
        if not keep:
            self.js('localStorage.clear()')
            self.driver.refresh()
        return self

    def js(self, code, *arguments):
        return self.driver.execute_script(code, *arguments)

    def find(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector):
        return self.js('return document.querySelector(arguments[0]).textContent', selector)

    def click(self, selector):
        self.js('arguments[0].scrollIntoView({block: "center"})', self.find(selector))
        self.find(selector).click()

    def choose(self, name, text):
        Select(self.find(f'#{name}')).select_by_visible_text(text)

    def places(self):
        return self.js('return [...document.querySelectorAll(".card")].map((card) => Number(card.dataset.place))')

    def decided(self):
        return self.js('return [...document.querySelectorAll(".card")].map((card) => card.dataset.decision)')

    def listed(self):
        return int(re.match(r'([\d,]+) images', self.text('#status-line'))[1].replace(',', ''))

    def focus(self, number):
        self.js('document.querySelectorAll(".card")[arguments[0]].focus()', number)

    def focused(self):
        return self.js('return [...document.querySelectorAll(".card")].indexOf(document.activeElement)')

    def wait(self, condition):
        WebDriverWait(self.driver, 20, poll_frequency=0.02).until(lambda _: condition())

    def confirm(self, answer='yes'):
        before = self.notice()
        self.click(f'#answers [value="{answer}"]')
        self.wait(lambda: self.notice() != before)  # the answer comes after the dialog has closed

    def select(self, first, last):
        for number in range(first, last):
            self.click(f'.card:nth-child({number + 1}) input')

    def place(self):
        return int(self.js('return document.activeElement.dataset.place ?? -1'))

    def notice(self):
        return self.text('.toast .notice')

    def load(self, rows, header='index,id,given_label,decision,label', *, separator=',', head=''):
        path, text = self.downloads / 'loaded.csv', io.StringIO(newline='')
        spreadsheet.write(text, rows)
        text.seek(0)
        with open_text(path) as file:
            file.write(head + header.replace(',', separator) + '\n')
            csv.writer(file, delimiter=separator).writerows(csv.reader(text))  # as a spreadsheet saves it
        before = self.notice()
        self.find('#load-file').send_keys(str(path))
        self.wait(lambda: self.notice() != before or self.find('#ask').is_displayed())

    def press(self, *keys):
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def devtools(self, command, **settings):
        return self.driver.execute_cdp_cmd(command, settings)

    def download(self):
        path = self.downloads / 'reviewed.csv'
        path.unlink(missing_ok=True)
        self.click('#download')
        WebDriverWait(self.driver, 20, poll_frequency=0.05).until(lambda _: path.exists())
        with read_text(path) as file:
            return [row for _, row in spreadsheet.read(file)]


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    downloads = tmp_path_factory.mktemp('downloads')
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS.split(' '), f'user-data-dir={tmp_path_factory.mktemp("profile")}'):
        options.add_argument('--' + flag.replace('\xa0', ' '))
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL', 'performance': 'ALL'})
    options.add_experimental_option('prefs', {'download.default_directory': str(downloads)})
    driver = webdriver.Chrome(options, Service(CHROMEDRIVER, env={**os.environ, 'NO_PROXY': '*'}))
    yield Page(driver, downloads)
    driver.quit()


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return run_of(tmp_path_factory.mktemp('report') / 'work')


@pytest.fixture(scope='module')
def by_judge(tmp_path_factory):
    """A report of a judge's list, all of which is shown."""
    return run_of(tmp_path_factory.mktemp('by_judge') / 'work', judged=True)


@pytest.fixture
def page(browser, folder):
    """The report, as if for the first time; afterwards the browser must have nothing to complain of."""
    browser.driver.get_log('browser'), browser.driver.get_log('performance')
    yield browser.open(folder)
    assert browser.driver.get_log('browser') == []
    for entry in browser.driver.get_log('performance'):
        message = json.loads(entry['message'])['message']
        if message['method'] == 'Network.requestWillBeSent':
            assert not message['params']['request']['url'].startswith(('http', 'ws', 'ftp'))


@pytest.fixture
def data(folder):
    return read_data(folder)


def test_only_suspects_are_listed_the_most_suspicious_first(page, data):
    assert page.listed() == data['cuts']['suspects'][500]
    assert page.places() == list(range(48))
    assert page.text('.card .file') == data['gallery']['id'][0]
    assert page.js('return [...document.images].every((image) => image.complete && image.naturalWidth === 8)')


def test_names_are_shown_as_they_are_and_run_nothing(page, data):
    names = page.js('return [...document.querySelectorAll("#classes button.link")].map((b) => b.textContent)')
    assert tuple(names) == HOSTILE
    assert not page.js('return document.querySelectorAll("main b:not(.tile b), img:not(.picture img)").length')
    given, suggested = (HOSTILE[data['gallery'][side][0]] for side in ('given', 'suggested'))
    assert page.text('.card .labels') == f'{given} → {suggested}'
    assert page.find('.card img').get_attribute('alt').endswith(f'given {given}, suggested {suggested}')


def test_filters_sorting_and_pages(page, data):
    gallery = {name: np.array(values) for name, values in data['gallery'].items()}
    suspect = gallery['clean'] < 0.5
    page.choose('given', HOSTILE[1])
    page.choose('suggested', HOSTILE[2])
    expected = np.flatnonzero(suspect & (gallery['given'] == 1) & (gallery['suggested'] == 2))
    assert page.places() == expected[:48].tolist()
    page.choose('suggested', 'any class')
    page.choose('given', 'any class')
    page.choose('scope', 'all on this page')
    assert page.listed() == 300
    page.choose('sort', 'file')
    page.choose('size', '24')
    assert page.places() == np.argsort(gallery['id'])[:24].tolist()
    page.click('#next')
    assert page.places() == np.argsort(gallery['id'])[24:48].tolist()
    assert page.text('#page-line') == 'page 2 of 13'
    page.choose('sort', 'most confident suggestion')
    assert page.places()[0] == gallery['pred_prob'].argmax()
    assert page.text('#page-line') == 'page 1 of 13'
    page.find('#search').send_keys(gallery['id'][7][6:11])
    assert page.places() == [7]
    page.find('#search').send_keys('nothing like it')
    assert page.places() == []
    assert 'No image matches' in page.text('#cards')


def test_the_threshold_moves_everything_at_once(page, data):
    cuts = data['cuts']
    x = page.find('#marker').get_attribute('transform')
    page.find('#cut').send_keys(*[Keys.ARROW_LEFT] * 40)
    at = cuts['threshold'].index(0.1)
    assert page.js('return document.getElementById("cut-number").value') == '0.1'
    assert page.listed() == cuts['suspects'][at] < cuts['suspects'][500]
    assert page.text('#suspects').startswith(f'{cuts["suspects"][at]} (')
    assert page.text('#precision').startswith(f'{100 * cuts["caught"][at] / cuts["suspects"][at]:.1f}'[:4])
    assert page.text('#true-recall') == f'{100 * cuts["hits"][at] / data["true_wrong"]:.1f}\N{NO-BREAK SPACE}%'
    assert page.find('#marker').get_attribute('transform') != x
    assert '--config.report.threshold=0.1' in page.text('#rerun')
    page.find('#cut-number').send_keys(Keys.CONTROL, 'a', Keys.NULL, '0.777')
    assert page.text('#suspects').startswith(f'{cuts["suspects"][777]} (')
    assert page.listed() == (np.array(data['gallery']['clean']) < 0.777).sum() > cuts['suspects'][500]


def test_decisions_are_downloaded_as_csv(page, data, folder):
    gallery = data['gallery']
    page.choose('size', '24')
    page.click('#select-page')
    page.click('[data-bulk=accept]')
    page.confirm()
    assert page.text('#page-line').startswith('page 2 of')
    page.click('#previous')
    assert page.decided() == ['relabel'] * 24
    page.click('.card:nth-child(2) [data-decide=keep]')
    page.click('.card:nth-child(3) [data-decide=drop]')
    page.click('.card:nth-child(5) [data-decide=accept]')  # pressed already: undone
    page.click('.card:nth-child(4) [data-decide=other]')
    other = next(label for label in range(4) if label not in (gallery['given'][3], gallery['suggested'][3]))
    page.find('#choose-search').send_keys(HOSTILE[other], Keys.ENTER)
    assert page.decided()[:6] == ['relabel', 'keep', 'drop', 'relabel', '', 'relabel']
    assert page.text('.card:nth-child(4) .badge') == f'→ {HOSTILE[other]}'
    assert page.text('#download') == 'Download decisions (23)'

    header, *rows = page.download()
    assert header == ['index', 'id', 'given_label', 'decision', 'label']
    assert [int(row[0]) for row in rows] == sorted(gallery['index'][place] for place in range(24) if place != 4)
    found = {int(row[0]): row[1:] for row in rows}
    decisions = {0: ('relabel', gallery['suggested'][0]), 1: ('keep', gallery['given'][1]), 3: ('relabel', other)}
    for place, (decision, label) in decisions.items():
        given = HOSTILE[gallery['given'][place]]
        assert found[gallery['index'][place]] == [gallery['id'][place], given, decision, HOSTILE[label]]
    assert found[gallery['index'][2]][2:] == ['drop', '']

    page.open(folder, keep=True)  # the browser keeps them
    assert page.text('#download') == 'Download decisions (23)'
    page.choose('status', 'dropped')
    assert page.places() == [2]
    page.choose('status', 'undecided')
    assert page.listed() == data['cuts']['suspects'][500] - 23


def test_all_that_fit_the_filters_are_decided_at_once(page, data):
    page.choose('given', HOSTILE[0])
    fitting = page.listed()
    page.click('#select-all')
    assert f'{fitting} selected' in page.text('#status-line')
    page.click('[data-bulk=other]')
    page.find('#choose-class').send_keys(Keys.ESCAPE)
    assert page.text('#download') == 'Download decisions (0)'
    page.click('[data-bulk=drop]')
    page.confirm()
    assert {row[2:4] == [HOSTILE[0], 'drop'] for row in page.download()[1:]} == {True}
    assert page.text('#download') == f'Download decisions ({fitting})'
    assert page.notice().startswith('Everything in this list is decided; ')
    page.click('#undo')
    assert page.text('#download') == 'Download decisions (0)'


def test_bulk_actions_ask_and_leave_single_decisions_alone(page):
    page.click('.card:nth-child(2) [data-decide=keep]')
    page.select(0, 4)
    page.click('[data-bulk=drop]')
    assert page.text('#question') == 'Drop 3 undecided images? 1 selected image decided already stays as it is.'
    assert page.js('return document.activeElement.textContent') == 'Drop 3'
    page.press(Keys.ESCAPE)
    assert page.decided()[:5] == ['', 'keep', '', '', '']
    page.click('[data-bulk=other]')
    page.find('#choose-search').send_keys(HOSTILE[1], Keys.ENTER)
    page.wait(lambda: page.find('#ask').is_displayed())
    assert page.text('#question').startswith(f'Set the label {HOSTILE[1]} for 3 undecided images?')
    page.press(Keys.SHIFT + Keys.TAB)  # to Cancel
    assert page.js('return document.activeElement.textContent') == 'Cancel'
    page.press(Keys.ENTER)
    assert page.decided()[:5] == ['', 'keep', '', '', '']
    page.click('[data-bulk=drop]')
    page.press(Keys.ENTER)
    page.wait(lambda: page.decided()[0])
    assert page.decided()[:5] == ['drop', 'keep', 'drop', 'drop', '']
    page.select(0, 2)
    page.click('[data-bulk=keep]')
    assert page.notice().startswith('The selected images are all decided')
    page.press('u')
    assert page.decided()[:5] == ['', 'keep', '', '', '']
    page.press('u')
    assert page.decided()[:5] == [''] * 5


def test_undo_goes_back_through_the_history(page):
    page.focus(0)
    page.press('k', 'k', Keys.ARROW_LEFT, 'd')
    assert page.decided()[:3] == ['keep', 'drop', '']
    page.press('u')
    assert page.decided()[:3] == ['keep', 'keep', '']
    assert page.focused() == 1
    page.press('u')
    assert page.decided()[:3] == ['keep', '', '']
    page.press('n', 'k', 'u', 'u')
    assert page.text('#page-line').startswith('page 1 ')
    assert page.focused() == 0
    assert page.decided()[:3] == [''] * 3
    page.press('u')
    assert page.notice() == 'There is nothing to undo.'
    assert not page.find('#undo').is_enabled()
    page.press('k', Keys.ARROW_LEFT, 'k')  # so already: no action
    page.click('.card [data-decide=keep]')  # pressed already: taken away
    assert page.decided()[0] == ''
    page.click('#undo')
    assert page.decided()[0] == 'keep'
    page.click('#undo')
    assert page.decided()[0] == ''
    assert not page.find('#undo').is_enabled()


def test_the_page_goes_on_when_its_images_are_decided(page, data):
    page.choose('given', HOSTILE[0])
    page.choose('size', '24')
    fitting = page.listed()
    assert 24 < fitting < 48
    page.click('.card [data-decide=keep]')
    assert page.text('#page-line') == 'page 1 of 2'
    page.focus(1)
    page.press(*['a'] * 22)
    assert page.focused() == 23
    page.press('x', Keys.ARROW_LEFT, 'd')
    assert page.text('#page-line') == 'page 1 of 2'
    page.press('a')
    assert page.text('#page-line') == 'page 2 of 2'
    assert page.notice() == 'Page 1 is decided. This is page 2 of 2.'
    assert page.focused() == 0
    page.press('p', 'd')  # nothing was left to decide: nothing goes on
    assert page.text('#page-line') == 'page 1 of 2'
    assert page.focused() == 1
    page.press('n')
    page.press(Keys.ARROW_RIGHT, *['k'] * (fitting - 24 - 1))
    assert page.focused() == 0  # at the end, the one that was left out
    page.press('k')
    others = 300 - fitting
    assert page.notice() == f'Everything in this list is decided; {others} other images in this report are not.'
    page.choose('given', 'any class')
    page.choose('scope', 'all on this page')
    page.click('#select-all')
    page.click('[data-bulk=keep]')
    page.confirm()
    assert page.notice().startswith('Every image in this report is decided.')


def test_decided_images_can_be_hidden(page, folder):
    page.focus(0)
    page.press('k', 'd')
    page.click('#hide')
    assert page.places()[:2] == [2, 3]
    listed = page.listed()
    page.focus(1)
    page.press('a')
    assert page.places()[:3] == [2, 4, 5]
    assert (page.place(), page.listed(), len(page.places())) == (4, listed - 1, 48)
    page.press('u')
    assert (page.place(), page.places()[:3]) == (3, [2, 3, 4])
    page.click('.card [data-decide=drop]')
    assert page.places()[0] == page.place() == 3
    page.open(folder, keep=True)  # remembered
    assert page.places()[0] == 3
    page.choose('status', 'dropped')
    assert page.places() == [1, 2]
    page.click('#classes [data-given="2"]')
    assert page.find('#hide').is_selected()
    page.click('#hide')
    page.open(folder, keep=True)
    assert page.places()[:3] == [0, 1, 2]


def _rows(data, choices):
    """Rows of a reviewed.csv: {place: (decision, label)}; every index is another image's."""
    gallery = data['gallery']
    return [
        [399 - gallery['index'][place], gallery['id'][place], HOSTILE[gallery['given'][place]], *choice]
        for place, choice in choices.items()
    ]


def test_decisions_are_loaded_by_id(page, data):
    other = next(label for label in range(4) if label not in (data['gallery'][s][1] for s in ('given', 'suggested')))
    rows = _rows(data, {0: ('keep', ''), 1: ('relabel', HOSTILE[other]), 2: ('drop', ''), 299: ('drop', '')})
    given = HOSTILE[data['gallery']['given'][4]]
    wrong = _rows(data, dict.fromkeys(range(3, 9), ('drop', '')))
    wrong[0][1] = 'train/elsewhere "x"\n.jpg'
    wrong[1][2] = next(name for name in HOSTILE if name != given)
    wrong[2][3] = 'burn'
    wrong[3][3:] = ['relabel', 'no class']
    wrong[4][3:] = ['keep', next(name for name in HOSTILE if name != wrong[4][2])]
    wrong[5:] = [wrong[5][:3], [], rows[0]]
    page.load(rows + wrong)
    assert page.notice() == (
        'loaded.csv: 4 decisions loaded. Left out: 1 row of an image that is not in this report, 1 row with another '
        'given label, 5 rows without a decision of this run.'
    )
    assert page.decided()[:10] == ['keep', 'relabel', 'drop'] + [''] * 7
    assert page.text('.card:nth-child(2) .badge') == f'→ {HOSTILE[other]}'
    assert page.text('#download') == 'Download decisions (4)'
    found = page.download()[1:]
    assert [row[1] for row in found] == [
        data['gallery']['id'][p] for p in sorted((0, 1, 2, 299), key=lambda p: data['gallery']['index'][p])
    ]
    page.click('#undo')
    assert page.text('#download') == 'Download decisions (0)'
    page.load(found)  # what it writes, it reads
    assert page.download()[1:] == found


@pytest.mark.parametrize(('separator', 'head'), [(';', ''), ('\t', ''), (';', 'sep=;\r\n')])
def test_decisions_are_loaded_as_spreadsheets_of_many_languages_save_them(page, data, separator, head):
    page.load(_rows(data, {0: ('keep', ''), 1: ('drop', '')}), separator=separator, head=head)
    assert page.notice() == 'loaded.csv: 2 decisions loaded.'
    assert page.decided()[:3] == ['keep', 'drop', '']


def test_decisions_are_loaded_without_their_empty_last_cells(page, data):
    """As a spreadsheet leaves them out, or as R and pandas write them."""
    choices = {0: ('keep',), 1: ('drop',), 2: ('relabel',), 3: ('keep', 'NA'), 4: ('drop', 'nan'), 5: ('relabel', 'NA')}
    page.load(_rows(data, choices))
    assert page.notice() == 'loaded.csv: 4 decisions loaded. Left out: 2 rows without a decision of this run.'
    assert page.decided()[:6] == ['keep', 'drop', '', 'keep', 'drop', '']


def test_loading_replaces_decisions_only_when_confirmed(page, data):
    page.focus(0)
    page.press('k', 'd')
    rows = _rows(data, {0: ('drop', ''), 1: ('drop', ''), 2: ('keep', '')})
    page.load(rows)
    assert page.text('#question') == 'loaded.csv differs from 1 decision made here. Replace it?'
    page.press(Keys.ESCAPE)
    assert page.decided()[:3] == ['keep', 'drop', '']
    page.load(rows)
    page.confirm('new')
    assert page.decided()[:3] == ['keep', 'drop', 'keep']
    page.load(rows)
    page.confirm('all')
    assert page.decided()[:3] == ['drop', 'drop', 'keep']
    assert page.notice() == 'loaded.csv: 1 decision loaded, 2 were made here already.'
    page.press('u', 'u')
    assert page.decided()[:3] == ['keep', 'drop', '']


@pytest.mark.parametrize('header', ['id,label', 'index,id,given_label,decision,label,"'])
def test_another_csv_is_refused(page, data, header):
    page.load(_rows(data, {0: ('drop', '')}), header)
    assert page.notice() == 'loaded.csv cannot be loaded: its first line has to be index,id,given_label,decision,label.'
    assert page.text('#download') == 'Download decisions (0)'


def test_an_image_is_shown_large(page, data):
    gallery = data['gallery']
    page.focus(0)
    page.press(Keys.ENTER)
    assert page.find('#large').is_displayed()
    assert page.text('#large-id') == gallery['id'][0]
    given, suggested = (HOSTILE[gallery[side][0]] for side in ('given', 'suggested'))
    assert page.text('#large-labels') == f'{given} → {suggested}'
    assert page.find('#large img').get_attribute('src') == gallery['image'][0]
    assert 'Thumbnail' in page.text('#large-source')
    assert not page.js('return document.querySelectorAll("#large a, #large b").length')
    page.press(Keys.ARROW_LEFT)
    assert page.text('#large .notice') == 'This is the first image of the list.'
    page.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert page.text('#large-id') == gallery['id'][2]
    page.press('k', 'd', 'a')
    assert page.text('#large-id') == gallery['id'][5]
    assert page.text('#large-state').endswith(', undecided')
    page.press('u')
    assert page.text('#large-id') == gallery['id'][4]
    assert page.decided()[:6] == ['', '', 'keep', 'drop', '', '']
    page.press('c')
    page.find('#choose-search').send_keys(HOSTILE[gallery['given'][4]], Keys.ENTER)
    page.wait(lambda: page.text('#large-id') == gallery['id'][5])
    page.press('?')
    assert page.find('#help').is_displayed()
    page.press(Keys.ESCAPE)
    page.click('#large [data-large=previous]')
    assert page.text('#large-state').endswith(', kept')
    assert page.find('#large [data-decide=keep]').get_attribute('aria-pressed') == 'true'
    page.click('#large [data-decide=keep]')  # pressed already: taken away
    assert page.text('#large-state').endswith(', undecided')
    page.press(Keys.ESCAPE)
    assert not page.find('#large').is_displayed()
    page.wait(lambda: page.place() == 4)
    assert page.js('return document.images.length') == 48

    page.click('.card:nth-child(48) .enlarge')
    page.press('k')
    page.click('#large [data-large=close]')
    page.wait(lambda: page.place() == 48)
    assert page.text('#page-line').startswith('page 2 ')


def test_similar_and_typical_images_are_beside_a_large_one(page, by_judge):
    data = read_data(by_judge)
    gallery, others = data['gallery'], data['others']
    page.open(by_judge)
    assert not page.text('.card .chances').endswith('similar images: ')
    page.click('.card .enlarge')
    everything = {key: gallery[key] + others[key] for key in ('id', 'given', 'image')}
    sides = list(dict.fromkeys([gallery['given'][0], gallery['suggested'][0]]))
    expected = data['similar'][0] + [place for label in sides for place in data['typical'][str(label)]]
    shown = page.js(
        'return [...document.querySelectorAll("#large-evidence img")].map((image) => [image.src, image.title])'
    )
    assert shown == [[everything['image'][place], everything['id'][place]] for place in expected]
    labels = page.js(
        'return [...document.querySelectorAll("#large-evidence figcaption")].map((each) => each.textContent)'
    )
    assert labels == [HOSTILE[everything['given'][place]] for place in expected]
    votes = np.bincount([everything['given'][place] for place in data['similar'][0]])
    card = page.text('.card .chances')
    assert f'similar images: {votes.max()} of 6 ' in card
    if (votes == votes.max()).sum() == 1:
        assert card.endswith(HOSTILE[votes.argmax()])
    assert page.js('return document.querySelectorAll("#large b").length') == 0  # names run nothing
    page.press(Keys.ESCAPE)
    # The event of closing comes after that of the key.
    page.wait(lambda: not page.js('return document.querySelectorAll("#large-evidence img").length'))


def test_large_images_step_through_what_is_left(page, data):
    page.choose('given', HOSTILE[0])
    page.click('#hide')
    first, *_, last = np.flatnonzero(
        (np.array(data['gallery']['given']) == 0) & (np.array(data['gallery']['clean']) < 0.5)
    )
    while page.find('#next').is_enabled():
        page.click('#next')
    page.click('.card:last-child .enlarge')
    assert page.text('#large-id') == data['gallery']['id'][last]
    left = page.listed() - 1
    page.press('k')
    assert page.text('#large-id') == data['gallery']['id'][first]
    assert (
        page.text('#large .notice') == f'The list is at its end; {left} images of it are undecided. This is the first.'
    )
    page.press(*['k'] * left)
    assert page.text('#large .notice').startswith('Everything in this list is decided')
    page.press(Keys.ESCAPE)
    assert page.listed() == 0
    page.wait(lambda: page.js('return document.activeElement.id') == 'status-line')
    assert 'Decided images are hidden.' in page.text('#cards')


@pytest.mark.parametrize('is_absolute', [False, True])
def test_the_original_is_shown_where_it_is_reachable(page, tmp_path, is_absolute):
    photos = tmp_path / 'my photos #1?'
    prefix = f'{photos}/50% #?/' if is_absolute else '50% #?/'
    folder = run_of(tmp_path / 'runs' / 'work', data=('filelist', photos), prefix=prefix)
    gallery = read_data(folder)['gallery']
    (photos / '50% #?').mkdir(parents=True)
    Image.new('RGB', (300, 200), (200, 30, 30)).save(photos / gallery['id'][0])
    page.open(folder)
    page.focus(0)
    page.press(Keys.ENTER)

    page.wait(lambda: 'Original, 300 × 200 pixels.' in page.text('#large-source'))
    url = page.find('#large-source a').get_attribute('href')
    assert urllib.parse.unquote(url) == f'file://{photos / gallery["id"][0]}'
    assert page.js('return document.querySelector("#large img").naturalWidth') == 300
    page.press(Keys.ARROW_RIGHT)  # there is no such file
    page.wait(lambda: 'cannot show the original' in page.text('#large-source'))
    assert page.js('return document.querySelector("#large img").naturalWidth') == 8
    (complaint,) = page.driver.get_log('browser')
    assert 'ERR_FILE_NOT_FOUND' in complaint['message']


def test_keys(page):
    page.focus(0)
    page.press(Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    columns = page.focused() - 1
    assert columns > 1
    page.press(Keys.ARROW_UP, Keys.ARROW_LEFT)
    assert page.focused() == 0
    page.press('a', 'k', 'd', 'a', 'u')
    assert page.decided()[:5] == ['relabel', 'keep', 'drop', '', '']
    assert page.focused() == 3
    page.press('x')
    assert '1 selected' in page.text('#status-line')
    page.press('x')
    assert 'selected' not in page.text('#status-line')
    page.press('n')
    assert page.places()[0] == 48
    assert page.focused() == 0
    page.press('p')
    assert page.places()[0] == 0
    page.press('?')
    assert page.find('#help').is_displayed()
    page.press(Keys.ESCAPE)
    assert not page.find('#help').is_displayed()
    page.find('#search').send_keys('ak?dn')  # letters of a text, no keys
    assert page.text('#download') == 'Download decisions (3)'
    assert not page.find('#help').is_displayed()


def test_tab_reaches_everything_and_everything_has_a_name(page):
    page.choose('size', '24')
    page.focus(0)
    page.press(Keys.TAB)
    assert page.js('return document.activeElement.type') == 'checkbox'
    assert page.js('return getComputedStyle(document.activeElement).outlineStyle') == 'solid'
    nameless = page.js("""
      const named = (e) => e.textContent.trim() || e.ariaLabel || e.labels?.length || e.alt;
      return [...document.querySelectorAll('button, input, select, canvas, a, svg[role=img]')]
        .filter((e) => !named(e) || e.tabIndex < 0 && !e.matches('svg')).map((e) => e.outerHTML)""")
    assert nameless == []


def test_tables_are_sorted_by_their_heads(page):
    page.click('#classes th:nth-child(2) button')
    column = (
        'return [...document.querySelectorAll("#classes tbody tr")].map((row) => Number(row.cells[1].dataset.sort))'
    )
    sizes = page.js(column)
    assert sizes == sorted(sizes, reverse=True)
    page.click('#classes th:nth-child(2) button')
    assert page.js(column) == sorted(sizes)
    assert page.find('#classes th:nth-child(2)').get_attribute('aria-sort') == 'ascending'


def test_a_class_shows_its_images(page, data):
    page.click('#classes [data-given="2"]')
    given = np.array(data['gallery']['given'])[np.array(data['gallery']['clean']) < 0.5]
    assert page.listed() == (given == 2).sum()


def test_the_map_shows_images_by_keys_and_opens_them(page, data):
    page.js('document.getElementById("canvas").scrollIntoView()')
    page.find('#canvas').send_keys(Keys.ARROW_RIGHT)
    assert data['gallery']['id'][1] in page.text('#tip')
    assert page.find('#tip img').get_attribute('src') == data['gallery']['image'][1]
    page.press(Keys.ENTER)
    assert page.js('return document.activeElement.dataset.place') == '1'
    drawn = 'return document.getElementById("canvas").toDataURL()'
    before = page.js(drawn)
    page.click('#map-legend li:nth-child(1) button')
    assert page.js(drawn) != before


@pytest.mark.parametrize('made_by', ['folder', 'by_judge'])
def test_a_phone_needs_no_sideways_scrolling(page, made_by, request):
    page.open(request.getfixturevalue(made_by))
    page.devtools('Emulation.setDeviceMetricsOverride', width=360, height=700, deviceScaleFactor=2, mobile=True)
    try:
        page.driver.refresh()
        assert page.js('return [innerWidth, document.documentElement.scrollWidth]') == [360, 360]
        assert page.js('return document.querySelector(".card").offsetWidth') < 360 / 2
        page.focus(0)
        page.press(Keys.ENTER)
        inside = (
            'const box = document.querySelector(arguments[0]).getBoundingClientRect(); return [box.left, box.right]'
        )
        overflow = 'const e = document.querySelector(arguments[0]); return e.scrollWidth - e.clientWidth'
        for name in ('#large', '#help', '#ask'):
            if name == '#help':
                page.press('?')
            elif name == '#ask':
                page.press(Keys.ESCAPE, Keys.ESCAPE, 'x')
                page.click('[data-bulk=accept]')
            if name == '#help':
                assert page.js('return document.querySelector("#help").scrollTop') == 0, 'it is read from its top'
            left, right = page.js(inside, name)
            assert 0 <= left < right <= 360
            assert page.js(overflow, name) == 0
        page.confirm()
        page.press('u', 'u')
        assert page.notice() == 'There is nothing to undo.'
        assert page.js('return [innerWidth, document.documentElement.scrollWidth]') == [360, 360]
    finally:
        page.devtools('Emulation.clearDeviceMetricsOverride')


def _contrast(first, second):
    """WCAG's ratio of two CSS colours 'rgb(r, g, b)'."""
    values = [np.array(re.findall(r'[\d.]+', colour)[:3], float) / 255 for colour in (first, second)]
    linear = [np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4) for v in values]
    low, high = sorted(float(v @ [0.2126, 0.7152, 0.0722]) for v in linear)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize('made_by', ['folder', 'by_judge'])
def test_light_and_dark_have_contrast(page, made_by, request):
    page.open(request.getfixturevalue(made_by))
    pairs = """
      const behind = (e) => { const c = getComputedStyle(e).backgroundColor;
        return c === 'rgba(0, 0, 0, 0)' && e.parentElement ? behind(e.parentElement) : c; };
      const shown = [...document.querySelectorAll('body *')].filter((e) => e.checkVisibility() && !e.disabled
        && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())
        && !e.closest('svg, .matrix .other'));
      return [getComputedStyle(document.body).backgroundColor, [...new Set(shown.map((e) =>
        [getComputedStyle(e).color, behind(e)].join(' on ')))]]"""
    pages = []
    for scheme in ('light', 'dark'):
        page.devtools('Emulation.setEmulatedMedia', features=[{'name': 'prefers-color-scheme', 'value': scheme}])
        background, found = page.js(pairs)
        pages.append(background)
        for pair in found:
            assert _contrast(*pair.split(' on ')) >= 4.5, f'{scheme}: {pair}'
    page.devtools('Emulation.setEmulatedMedia', features=[])
    assert _contrast(*pages) > 10


def test_without_storage_the_page_works_and_says_so(page, folder):
    blocked = 'Object.defineProperty(window, "localStorage", {get() { throw new Error("blocked"); }});'
    added = page.devtools('Page.addScriptToEvaluateOnNewDocument', source=blocked)
    try:
        page.open(folder, keep=True)
        assert 'does not keep decisions' in page.text('#note')
        page.click('.card [data-decide=drop]')
        assert page.download()[1][3] == 'drop'
    finally:
        page.devtools('Page.removeScriptToEvaluateOnNewDocument', identifier=added['identifier'])


def test_thousands_of_images_stay_a_page_in_the_document(page, tmp_path):
    folder = run_of(tmp_path / 'work', names=('a', 'b', 'c', 'd'), images=6000, gallery=5000)
    page.open(folder)
    nodes = 'return document.querySelectorAll("*").length'
    assert page.js(nodes) < 2500
    page.choose('scope', 'all on this page')
    assert page.listed() == 5000
    page.choose('size', '96')
    page.js('document.getElementById("cut-number").focus()')
    page.find('#cut-number').send_keys(Keys.ARROW_UP)
    page.click('#select-all')
    page.click('[data-bulk=accept]')
    page.confirm()
    assert page.text('#download') == 'Download decisions (5,000)'
    for _ in range(3):
        page.click('#next')
    assert page.text('#page-line') == 'page 4 of 53'
    assert page.js(nodes) < 4000
    assert page.js('return document.images.length') == 96
    assert len(page.download()) == 5001


def test_where_every_label_is_trusted_there_is_no_threshold(page, tmp_path):
    page.open(run_of(tmp_path / 'work', noise=0, certainty=0))
    assert not page.find('#cut').is_displayed()
    assert page.listed() == 300
    assert page.places() == list(range(48))


def test_a_list_of_a_judge_has_intervals_and_no_mixture(page, by_judge, tmp_path):
    cuts = read_data(by_judge)['cuts']
    summary = json.loads((by_judge / 'summary.json').read_text())['label_issues']
    page.open(by_judge)
    low, high = (100 * value for value in summary['precision_interval'])
    assert _shown(page, '#precision').startswith(f'{low:.0f} to {high:.0f} % (about ')
    low, high = (400 * value for value in summary['noise_rate_interval'])
    assert _shown(page, '#wrong').startswith(f'{low:.0f} to {high:.0f} (about ')
    for at, keys in ((500, ()), (100, [Keys.ARROW_LEFT] * 40)):
        page.find('#cut').send_keys(*keys)
        size = cuts['suspects'][at]
        caught, least, most = (cuts[name][at] / size for name in ('caught', 'least', 'most'))
        least -= 2 * np.sqrt(least * (1 - least) / size)
        most = min(most + 2 * np.sqrt(most * (1 - most) / size), 1)
        assert _shown(page, '#precision') == f'{100 * least:.0f} to {100 * most:.0f} % (about {100 * caught:.0f} %)'
    assert page.find('#judges').is_displayed()
    assert 'mixture' not in page.js('return document.body.innerText')  # what is hidden is not part of it
    page.open(run_of(tmp_path / 'mixture'))
    assert 'fitted mixture' in page.js('return document.body.innerText')
    assert page.js('return document.getElementById("judges")') is None
    assert not page.find('#sample').is_displayed()
    assert page.js('return document.querySelector("#scope [value=sample]")') is None


def _shown(page, selector):
    return page.text(selector).replace('\N{NO-BREAK SPACE}', ' ')


@pytest.fixture
def plain(by_judge, tmp_path):
    """A report of 400 images, 120 of them listed, each wrong by .6, the others by .1; of the list 100 are shown."""
    source = (by_judge / 'report.html').read_text(encoding='utf-8')
    data = read_data(by_judge)
    data['gallery'] = {name: values[:100] for name, values in data['gallery'].items()} | {'clean': [0.4] * 100}
    threshold = np.array(data['cuts']['threshold'])
    for name, listed, rest in (('suspects', 1, 1), ('caught', 0.6, 0.1), ('least', 0.4, 0.05), ('most', 0.8, 0.3)):
        data['cuts'][name] = (120 * listed * (threshold > 0.4) + 280 * rest * (threshold > 0.9)).tolist()
    data |= {'wrong': 100, 'noise_rate': [0.15, 0.4], 'map': None}
    before, _, after = source.partition('<script type="application/json" id="data">')
    after = after[after.index('</script>') :]
    text = json.dumps(data).replace('<', '\\u003c')
    (tmp_path / 'report.html').write_text(f'{before}<script type="application/json" id="data">{text}{after}', 'utf-8')
    return tmp_path


def _estimates(page):
    return [_shown(page, selector) for selector in ('#precision', '#wrong', '#recall')]


def test_decisions_narrow_the_estimates(page, plain):
    """Of 72 wrong labels in the list between 48 and 96, each side two standard errors further off; 100 in all."""
    page.open(plain)
    data = read_data(plain)
    begun = ['31 to 87 % (about 60 %)', '60 to 160 (about 100)', '72.0 %']
    assert _estimates(page) == begun
    assert page.text('#looked') == (
        'Each decision on an image updates these numbers. Of the 50 most suspicious undecided images, about 30 '
        'are expected to have a wrong label.'
    )
    # None of 10 is wrong where 6 were expected: a seventh of what was claimed, at most thrice that, outside the claim.
    page.load(_rows(data, dict.fromkeys(range(10), ('keep', ''))))
    kept = ['0 to 31 % (about 8 %)', '0 to 52 (about 13)', '70.2 %']
    assert _estimates(page) == kept
    assert page.text('#looked') == (
        'Of 10 images decided, 0 had a wrong label; the judge expected 6.0. Of the 50 most suspicious undecided '
        'images, about 4.3 are expected to have a wrong label.'
    )
    other = next(name for label, name in enumerate(HOSTILE) if label != data['gallery']['given'][14])
    # 6 of 16, where 9.6 were expected: 7 / 10.6 of what was claimed, within 76 %, and inside the claim.
    page.load(_rows(data, dict.fromkeys(range(10, 14), ('drop', '')) | {14: ('relabel', other)}))
    page.focus(15)
    page.press('d')
    assert _estimates(page) == ['31 to 73 % (about 39 %)', '60 to 126 (about 66)', '71.9 %']
    page.press('u', 'u')
    assert _estimates(page) == kept
    page.driver.refresh()
    assert _estimates(page) == kept
    # 30 of 30 right: a nineteenth of .6 in each of the next 50.
    page.load(_rows(data, dict.fromkeys(range(10, 30), ('keep', ''))))
    assert page.text('#looked').endswith('about 1.6 are expected to have a wrong label; looking further hardly pays.')
    page.press('u')
    # All 400 are listed: 10 right ones and the rest as before.
    page.find('#cut-number').send_keys(Keys.CONTROL, 'a', Keys.NULL, '0.95')
    assert _estimates(page)[0].endswith(' % (about 3 %)')
    assert _estimates(page)[2] == '100.0 %'
    page.find('#cut-number').send_keys(Keys.CONTROL, 'a', Keys.NULL, '0.1')
    assert _estimates(page) == ['–', kept[1], '0.0 %']
    assert not page.find('#sample').is_enabled()


def test_what_is_all_decided_needs_no_interval(page, by_judge):
    page.open(by_judge)
    page.choose('size', '96')
    page.find('#cut-number').send_keys(Keys.CONTROL, 'a', Keys.NULL, '0.05')
    listed = page.listed()
    assert listed > 20
    page.click('#select-all')
    page.click('[data-bulk=drop]')
    page.confirm()
    page.click('.card:nth-child(1) [data-decide=keep]')
    assert _shown(page, '#precision') == f'{100 * (listed - 1) / listed:.1f} %'


def test_where_nothing_was_trained_there_is_no_training(page, tmp_path):
    assert page.find('.with-training').is_displayed()
    page.open(run_of(tmp_path / 'work', judged=True, first=True))
    assert not page.find('.with-training').is_displayed()
    assert page.js('return document.getElementById("training")') is None


def test_the_table_of_judges_fills_the_space_below_the_chart(page, by_judge):
    def edges(selector):
        return page.js(
            'const r = document.querySelector(arguments[0]).getBoundingClientRect(); return [r.left, r.top, r.bottom]',
            selector,
        )

    def places():
        return [edges(selector) for selector in ('#threshold figure', '#judges', '#cut')]

    page.open(by_judge)
    (left, _, below), (judges_left, judges_top, _), (cut_left, cut_top, _) = places()
    assert judges_left == left < cut_left
    assert cut_top < below <= judges_top
    page.devtools('Emulation.setDeviceMetricsOverride', width=360, height=700, deviceScaleFactor=2, mobile=True)
    try:
        (_, _, below), (_, judges_top, _), (_, cut_top, _) = places()
        assert below <= cut_top < judges_top, 'on a phone the threshold comes first'
    finally:
        page.devtools('Emulation.clearDeviceMetricsOverride')


def test_a_random_sample_of_the_list_says_its_own_share(page, plain):
    page.open(plain)
    data = read_data(plain)
    page.load(_rows(data, dict.fromkeys(range(30), ('keep', ''))))  # looked at before, from the top
    page.click('#sample')
    sample = page.places()
    assert len(sample) == 20
    assert len({place // 25 for place in sample}) == 4  # from everywhere
    already = sum(place < 30 for place in sample)
    assert 0 < already < 20
    assert page.text('#sample') == f'Check a random sample ({already} of 20 decided)'
    assert page.place() == next(place for place in sample if place >= 30)
    assert 'random' not in page.text('#looked')
    wrong = [place for place in sample if place >= 30][:7]
    rest = [place for place in sample if place >= 30][7:]
    page.load(_rows(data, dict.fromkeys(wrong, ('drop', '')) | dict.fromkeys(rest[1:], ('keep', ''))))
    assert 'random' not in page.text('#looked')
    page.focus(sample.index(rest[0]))
    page.press('k')
    # Wilson: (7 + 1.92 +- 1.96 sqrt(7 13 / 20 + .96)) / (20 + 3.84)
    assert _shown(page, '#looked').endswith(
        ' Of 20 random ones of the 100 listed images on this page, 7 were wrong: 18 to 57 %.'
    )
    assert page.text('#sample') == 'Check a random sample'
    page.driver.refresh()
    page.click('#sample')
    assert page.places() == sample
    page.press('u')  # the history is that of the page, which was loaded anew
    assert page.notice() == 'There is nothing to undo.'
    page.choose('scope', 'likely errors')
    assert page.listed() == 100


def test_a_short_list_is_its_own_sample(page, tmp_path):
    page.open(run_of(tmp_path / 'work', judged=True, images=40))
    size = page.listed()
    assert 1 < size <= 20
    page.click('#sample')
    assert page.places() == list(range(size))
    page.press(*['d'] * (size - 1), 'k')
    assert page.text('#looked').endswith(f' Of all {size} of the list, {size - 1} were wrong.')


def test_what_else_is_wrong_is_looked_at_and_decided_on(page, tmp_path):
    assert not page.find('.with-data-issues').is_displayed(), 'this run has not looked'
    root = tmp_path / 'photos'
    folder, ids = with_data_issues(run_of(tmp_path / 'work', data=('folder', root), images=90), root)
    page.open(folder)
    listed = read_data(folder)['gallery']['id']
    assert page.find('.with-data-issues').is_displayed()
    assert page.js('return [...document.querySelectorAll("#data-issues .look img")].every((i) => i.naturalWidth > 0)')
    looks = page.js('return [...document.querySelectorAll("#data-issues .look")].map((b) => b.dataset.file)')
    assert looks[0] == ids[0]
    decidable = [place for place, name in enumerate(looks) if name in listed]
    assert 0 < len(decidable) < len(looks)
    page.click('#data-issues .look')
    assert page.text('#look-id') == ids[0]
    page.wait(lambda: page.js('return document.querySelector("#look img").naturalWidth') == 32)  # that of the file
    assert urllib.parse.unquote(page.find('#look a').get_attribute('href')) == f'file://{root / ids[0]}'
    page.click('#look-close')
    assert not page.find('#data-issues details li').is_displayed()
    page.click('#data-issues summary')
    assert page.find('#data-issues details li').is_displayed()
    for place in (decidable[0], next(place for place in range(len(looks)) if place not in decidable)):
        page.js('document.querySelectorAll("#data-issues .look")[arguments[0]].click()', place)
        assert page.find('#look-decide').is_displayed() == (place in decidable)
        page.click('#look-close')
    page.js('document.querySelectorAll("#data-issues .look")[arguments[0]].click()', decidable[0])
    page.click('#look-decide')
    assert page.text('#large-id') == looks[decidable[0]]
    page.press('d')
    assert page.text('#download') == 'Download decisions (1)'
    page.devtools('Emulation.setDeviceMetricsOverride', width=360, height=700, deviceScaleFactor=2, mobile=True)
    try:
        assert page.js('return document.documentElement.scrollWidth') == 360
    finally:
        page.devtools('Emulation.clearDeviceMetricsOverride')


def test_nothing_runs_but_the_scripts_of_the_page(browser, folder):
    browser.open(folder)
    found = browser.js("""
        const script = document.createElement('script');
        script.textContent = 'window.ran = "script"';
        document.body.append(script);
        document.body.insertAdjacentHTML('beforeend', '<p id="probe" onclick="ran = 1" style="color: #f00">probe</p>');
        const probe = document.getElementById('probe');
        probe.click();
        return [window.ran ?? 'nothing', getComputedStyle(probe).color === 'rgb(255, 0, 0)'];
    """)
    assert found == ['nothing', False]


def test_names_that_cannot_be_shown_are_exact_in_the_csv(page, tmp_path):
    """Classes that turn text round, are no UTF-8 or look like a formula; files in a folder of such a name."""
    names, start = ('safe\u202egnp', 'caf\udce9', '=1+1', "'=1"), '=\udcfc\x1b/'
    root = tmp_path / 'photos'
    (root / start).mkdir(parents=True)
    work = run_of(tmp_path / 'work', names=names, images=40, prefix=start, data=('folder', root))
    data, folder = read_data(work), WorkDir(work)
    Image.new('RGB', (20, 10)).save(root / data['gallery']['id'][0], 'png')
    page.open(work)
    shown = ['safe\\u202egnp', 'caf\\xe9', '=1+1', "'=1"]
    for selector in ('#classes button.link', '#map-legend button'):
        found = page.js('return [...document.querySelectorAll(arguments[0])].map((each) => each.textContent)', selector)
        assert found == shown
    assert page.text('.card .file').startswith('=\\xfc\\x1b/0')
    page.focus(0)
    page.press(Keys.ENTER)
    page.wait(lambda: page.text('#large-source').startswith('Original, 20'))
    page.press(Keys.ESCAPE)
    page.choose('scope', 'all on this page')
    page.click('#select-all')
    page.click('[data-bulk=accept]')
    page.confirm()
    rows = page.download()[1:]
    assert [row[1] for row in rows] == sorted(data['gallery']['id'])
    changes = decide(unchanged(folder.load_labels(), names), page.downloads / 'reviewed.csv')
    assert changes.new.tolist() == [names[label] for label in np.load(work / 'pred_probs.npy').argmax(1)]
    page.load(rows)
    assert page.notice() == 'loaded.csv: 0 decisions loaded, 40 were made here already.'
