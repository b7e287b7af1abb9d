"""Lists of files, in the layouts of WebVision and Clothing1M."""

import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import refused
from PIL import Image
from tiny import CONFIGS

from noisy_jax import config as config_lib
from noisy_jax import data, errors, settings
from noisy_jax.data import lazy
from noisy_jax.data.class_names import classes_of
from noisy_jax.data.list_file import Entries


def _pixels(number, height=8, width=8):
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _image(file, number=0, **size):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(_pixels(number, **size)).save(file, **({'quality': 95} if file.suffix == '.jpg' else {}))


def _text(file, *lines):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(''.join(f'{line}\n' for line in lines))


def _load(root, split='train', **settings):
    return data.load('filelist', split=split, path=str(root), **{'list': 'list.txt', **settings})


def _classes(file, labels, max_classes=0):
    """What class names are for these labels of a training list."""
    rows = range(len(labels))
    return classes_of(Entries('list.txt', list(rows), [f'{row}.png' for row in rows], list(labels)), file, max_classes)


@pytest.fixture
def three(tmp_path):
    """a.png, b c.png and d/e.png."""
    for number, name in enumerate(('a.png', 'b c.png', 'd/e.png')):
        _image(tmp_path / name, number)
    return tmp_path


@pytest.mark.parametrize(
    ('name', 'lines'),
    [
        ('list.txt', ['d/e.png 2', 'b c.png\t0', '', '  a.png   2  ']),
        ('list.csv', ['path,label', 'd/e.png,2', 'b c.png,0', '', '"a.png", 2']),
        ('list.csv', ['d/e.png,2', 'b c.png,0', 'a.png,2']),
        ('list.csv', ['"d/e.png", "2"', 'b c.png , 0', 'a.png,"2"']),
        ('list.csv', ['path,label,,', 'd/e.png,2,,', 'b c.png,0,,', ',,,', 'a.png,2,,']),
        ('list.csv', ['path;label', 'd/e.png;2', '"b c.png";0', '', 'a.png;2']),
        ('list.csv', ['sep=;', 'path;label', 'd/e.png;2', 'b c.png;0', 'a.png;2']),
        ('list.csv', ['"sep=\t"', 'path\tlabel', 'd/e.png\t2', 'b c.png\t0', 'a.png\t2']),
        ('list.TSV', ['d/e.png\t2', 'b c.png\t0', 'a.png\t2']),
    ],
)
def test_images_come_in_the_order_of_the_list(three, name, lines):
    _text(three / name, *lines)
    train = _load(three, list=name)
    np.testing.assert_array_equal(train.image, [_pixels(2), _pixels(1), _pixels(0)])
    np.testing.assert_array_equal(train.label, [1, 0, 1])
    assert train.id.tolist() == ['d/e.png', 'b c.png', 'a.png']
    assert train.class_names == ('0', '2')
    assert train.true_label is None
    assert _load(three, 'test', list=name) is None


def test_what_a_formula_could_not_find_is_warned_of(three):
    _text(three / 'list.csv', 'a.png,cat', 'b c.png,#N/A')
    with pytest.warns(UserWarning, match='#N/A is taken for a class'):
        assert _load(three, list='list.csv').class_names == ('#N/A', 'cat')


def test_minus_one_among_names_is_warned_of(three):
    _text(three / 'list.csv', 'a.png,cat', 'b c.png,-1')
    with pytest.warns(UserWarning, match='-1 is taken for a class'):
        assert _load(three, list='list.csv').class_names == ('-1', 'cat')


def test_names_of_classes(three):
    _text(three / 'list.txt', 'a.png dog', 'b c.png cat', 'd/e.png dog')
    assert _load(three).class_names == ('cat', 'dog')
    np.testing.assert_array_equal(_load(three).label, [1, 0, 1])
    _text(three / 'names.txt', 'eel', 'dog', 'cat', 'big fish')
    named = _load(three, class_names='names.txt')
    assert named.class_names == ('eel', 'dog', 'cat', 'big fish')
    np.testing.assert_array_equal(named.label, [1, 2, 1])
    # The test list has the classes of the training list.
    _text(three / 'test.txt', 'a.png cat')
    assert _load(three, 'test', test_list='test.txt').label.tolist() == [0]
    _text(three / 'test.txt', 'a.png eel')
    refused(lambda: _load(three, 'test', test_list='test.txt'), three / 'test.txt', 'line 1', "'eel'", '2 class names')


@pytest.mark.parametrize(
    ('labels', 'names'),
    [
        (('90210', '02134', '10001'), ('02134', '10001', '90210')),
        (('7', '007', '1'), ('1', '007', '7')),
        (('10', '9', '01'), ('01', '9', '10')),
        (('10', '9', 'cat'), ('10', '9', 'cat')),
        (('9' * 5000, '1' + '0' * 4999, '2'), ('2', '1' + '0' * 4999, '9' * 5000)),
    ],
)
def test_labels_are_names_as_they_are_written(three, labels, names):
    _text(three / 'list.csv', *map(','.join, zip(('a.png', 'b c.png', 'd/e.png'), labels, strict=True)))
    train = _load(three, list='list.csv')
    assert train.class_names == names
    assert [names[label] for label in train.label] == list(labels)


def test_numbers_with_class_names(three):
    _text(three / 'list.txt', 'a.png 0', 'b c.png 2')
    _text(three / 'names.txt', 'cat', 'dog')
    refused(lambda: _load(three, class_names='names.txt'), three / 'list.txt', 'line 2', "'2'", '0 to 1')
    _text(three / 'names.txt', 'cat', 'dog', 'eel')
    assert _load(three, class_names='names.txt').class_names == ('cat', 'dog', 'eel')
    np.testing.assert_array_equal(_load(three, class_names='names.txt').label, [0, 2])
    _text(three / 'list.txt', 'a.png 12', 'b c.png 7')  # both are names: no numbers of lines
    _text(three / 'names.txt', '7', '0', '12')
    np.testing.assert_array_equal(_load(three, class_names='names.txt').label, [2, 0])
    _text(three / 'list.txt', 'a.png 12', 'b c.png fish')
    refused(lambda: _load(three, class_names='names.txt'), 'line 2', "'fish'", '3 class names: 7, 0, 12')
    _text(three / 'names.txt', 'cat', 'dog', 'eel')
    _text(three / 'list.txt', 'a.png 0', 'b c.png 2', 'd/e.png 2.0')  # not the first line is wrong
    refused(lambda: _load(three, class_names='names.txt'), 'line 3', "'2.0'", 'from 0 to 2', 'cat, dog, eel')


@pytest.mark.parametrize('head', ['name', 'Class', 'CLASS_NAME', 'label'])
def test_a_header_of_class_names_is_no_class(three, head):
    _text(three / 'list.txt', 'a.png 0', 'b c.png 1')
    _text(three / 'names.csv', head, 'cat', 'dog')
    assert _load(three, class_names='names.csv').class_names == ('cat', 'dog')
    _text(three / 'names.txt', head, 'cat')
    assert _load(three, class_names='names.txt').class_names == (head, 'cat')  # only a table has a header


def test_class_names_without_images_are_told(three):
    _text(three / 'list.txt', 'a.png 0', 'b c.png 2')
    _text(three / 'names.txt', 'cat', 'dog', 'eel', 'fox')
    with pytest.warns(UserWarning, match=r'names\.txt: no training image is of 2 of the 4 classes \(dog, fox\)'):
        _load(three, class_names='names.txt')


@pytest.mark.parametrize(
    ('names', 'words'),
    [
        (('cat', 'dog', ' cat '), ('line 3', "'cat' is in line 1 too", 'no two alike')),
        (('cat', '', 'dog'), ('line 2', 'empty')),
        ((), ('empty',)),
    ],
)
def test_class_names_that_cannot_be_used(three, names, words):
    _text(three / 'list.txt', 'a.png 0', 'b c.png 1')
    for file in ('names.txt', 'names.csv'):
        _text(three / file, *names)
        refused(lambda file=file: _load(three, class_names=file), three / file, *words)


_OTHER = 'names alone are needed, one per line, in the order of their numbers from 0'


@pytest.mark.parametrize(
    ('names', 'labels', 'words'),
    [
        ('1 dog|0 cat', '01', ("line 1: '1 dog' would be class 0", _OTHER)),
        ('cat: 0|eel: 2|dog: 1', '012', ("line 2: 'eel: 2' would be class 1", _OTHER)),
        ('"0": "cat",|"2": "eel"', '00', ('line 2', 'would be class 1', _OTHER)),
        ('cat 01|dog 02|eel 03', '12', ("line 1: 'cat 01' would be class 0", _OTHER)),
        ('01|00', '01', ("line 1: '01' would be class 0", _OTHER)),
        ('n012 1 dog|n034 0 cat', '01', ("line 1: 'n012 1 dog' would be class 0", _OTHER)),
        ('1: person|2: car|4: bus|7: cow', '124', ("line 1: '1: person' would be class 0", _OTHER)),
        *(
            (form.format(1, 'dog') + '|' + form.format(0, 'cat'), '01', ('line 1', _OTHER))
            for form in (
                '#{} {}',
                '[{}] {}',
                '({}) {}',
                '{}/{}',
                'id {}: {}',
                '{1} [{0}]',
                'c{} {}',
                '{1}{0}',
                '- {}: {}',
            )
        ),
        ('0 cat|1 dog|2 eel', '02', ()),
        ('1 star|2 stars|3 stars', '012', ()),  # 0 is the number of none of them
        ('0-5 years|6-10 years', '01', ()),
        ('10 euro|5 euro|1 euro', '012', ()),
        ('1 cat|1 dog', '11', ()),  # no numbers of classes
        ('7 up|cola', '01', ()),
        ('2 a|1 b|0 c', ('2 a', '0 c'), ()),  # labels are names as written
        ('2021|2020', ('2020', '2021'), ()),
        ('7|5|0', '012', ()),
    ],
)
def test_numbers_within_class_names(tmp_path, labels, names, words):
    names = names.split('|')
    _text(tmp_path / 'names.txt', *names)
    if words:
        refused(lambda: _classes(tmp_path / 'names.txt', labels), tmp_path / 'names.txt', *words)
    else:
        assert _classes(tmp_path / 'names.txt', labels).names == tuple(names)


def test_numbers_within_class_names_of_the_first_classes(tmp_path):
    _text(tmp_path / 'names.txt', '2 dog', '1 cat')
    refused(lambda: _classes(tmp_path / 'names.txt', '19', max_classes=2), 'line 1', _OTHER)


@pytest.mark.parametrize('title', ['# classes', '#', 'Class name', 'class_names:', 'Labels', 'categories'])
def test_a_title_above_class_names_is_refused(tmp_path, title):
    for file in (tmp_path / 'names.txt', tmp_path / 'names.csv'):
        _text(file, title, 'cat', 'dog', 'eel')
        refused(lambda file=file: _classes(file, '02'), file, 'line 1', repr(title), 'header')
        refused(lambda file=file: _classes(file, '019', max_classes=3), file, 'line 1', repr(title), 'header')
        for labels in ('03', '01', '12'):  # all are used, two are not, or they may count from 1; the loader warns
            assert _classes(file, labels).names == (title, 'cat', 'dog', 'eel')


@pytest.mark.parametrize('title', ['0', 'x', 'V1', 'Column1', 'Unnamed: 0'])
def test_the_name_of_a_column_without_a_name_is_no_class(tmp_path, title):
    _text(tmp_path / 'names.csv', title, 'cat', 'dog', 'eel')
    refused(lambda: _classes(tmp_path / 'names.csv', '02'), 'line 1', repr(title), 'header')
    assert _classes(tmp_path / 'names.csv', '03').names == (title, 'cat', 'dog', 'eel')


def test_other_first_names_are_asked_of_where_the_last_class_has_no_image(tmp_path):
    errors._warn_once.cache_clear()
    _text(tmp_path / 'names.txt', 'Klasse', 'cat', 'dog')
    with pytest.warns(UserWarning, match="line 1, 'Klasse', is the name of class 0, and the last class has no image"):
        _classes(tmp_path / 'names.txt', '01')


def test_numbers_that_may_be_meant_by_value_are_asked_of(tmp_path):
    errors._warn_once.cache_clear()
    _text(tmp_path / 'names.txt', '01', '02', '03', '04')
    with pytest.warns(UserWarning, match='rows of class_names, from 0, not their values: label 1 is 02'):
        _classes(tmp_path / 'names.txt', '123')


@pytest.mark.parametrize('name', ['NA', 'nan', '<NA>', 'None', '0'])
def test_what_stands_for_no_label_elsewhere_is_warned_of(three, name):
    errors._warn_once.cache_clear()
    _text(three / 'list.csv', 'a.png,cat', 'b c.png,dog', f'd/e.png,{name}')
    with pytest.warns(UserWarning, match=f'{name} is taken for a class'):
        assert name in _load(three, list='list.csv').class_names


@pytest.mark.parametrize('field', ['test_path', 'test_labels'])
def test_what_belongs_to_a_test_list_that_is_not_there_is_refused(three, field):
    _text(three / 'list.txt', 'a.png 0', 'b c.png 1')
    given = settings.default().data.to_dict() | {'name': 'filelist', 'path': str(three), 'list': 'list.txt', field: 'x'}
    refused(lambda: data.load_splits(given), f'data.{field}', "'x'", 'data.test_list')


@pytest.mark.parametrize(
    ('names', 'labels'), [('#1|#2|#3', '01'), ('#a|b', ('b', '#a')), ('label 1|label 2', '0'), ('classic|names', '0')]
)
def test_names_that_are_no_titles(tmp_path, names, labels):
    _text(tmp_path / 'names.txt', *names.split('|'))
    assert _classes(tmp_path / 'names.txt', labels).names == tuple(names.split('|'))


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('names.txt', '["cat", "dog"]'),
        ('names.csv', '[\n  "cat",\n  "dog"\n]'),
        ('names.txt', "{0: 'cat',\n 1: 'dog'}"),
        ('names.JSON', '{"names": 2}'),
        ('names.yaml', 'nc: 2\nnames: [cat, dog]'),
    ],
)
def test_class_names_in_json_or_yaml_are_refused(tmp_path, name, text):
    _text(tmp_path / name, text)
    for labels in ('01', ('cat', 'dog')):
        refused(lambda labels=labels: _classes(tmp_path / name, labels), tmp_path / name, 'no plain list', 'JSON')
    _text(tmp_path / 'names.txt', '[cat]', '[dog]')
    assert _classes(tmp_path / 'names.txt', '01').names == ('[cat]', '[dog]')


@pytest.mark.parametrize('separator', ',;\t')
def test_class_names_of_two_columns_are_refused(three, separator):
    _text(three / 'list.txt', 'a.png 0', 'b c.png 1')
    _text(three / 'names.csv', *(separator.join(row) for row in (('id', 'name'), ('0', 'cat'), ('1', 'dog'))))
    refused(lambda: _load(three, class_names='names.csv'), three / 'names.csv', 'line 1', '2 columns', 'id')


@pytest.mark.parametrize(
    ('name', 'lines'),
    [
        ('list.csv', ['path,label', 'a.png,cat', 'b c.png', 'd/e.png,dog']),
        ('list.csv', ['path;label', 'a.png;cat', 'b c.png', 'd/e.png;dog']),
        ('list.tsv', ['a.png\tcat', 'b c.png', 'd/e.png\tdog']),
        ('list.csv', ['a.png,cat', 'd/e.png,dog', 'b c.png']),
    ],
)
def test_a_table_may_lack_separators_behind_which_nothing_is(three, name, lines):
    _text(three / name, *lines)
    found = _load(three, list=name)
    assert dict(zip(found.id.tolist(), found.label.tolist(), strict=True)) == {'a.png': 0, 'b c.png': -1, 'd/e.png': 1}
    _text(three / name, 'path', 'a.png', 'b c.png')
    refused(lambda: _load(three, list=name), three / name, 'line 2', "'a.png' is not a path and a label")
    _text(three / name, 'a.png', 'b c.png')
    refused(lambda: _load(three, list=name), three / name, 'line 1', "'a.png' is not a path and a label")


@pytest.mark.parametrize('columns', ['path,second,label', 'file,label,second', 'path,,label,note'])
def test_a_table_of_more_columns_is_refused_by_its_header(three, columns):
    """A label of the second is not taken for one of the third, which is empty."""
    _text(three / 'list.csv', columns, 'a.png,cat,', 'b c.png,dog,')
    named = ', '.join(filter(None, columns.split(',')))
    refused(lambda: _load(three, list='list.csv'), 'line 1', f'columns {named};', 'a path and a label')


def test_a_path_in_a_list_of_paths_may_have_semicolons(three):
    (three / 'a.png').rename(three / 'a;b.png')
    _text(three / 'paths.csv', 'path', 'a;b.png', 'b c.png')
    _text(three / 'first.csv', 'a;b.png', 'b c.png')
    _text(three / 'labels.csv', 'path,label', 'a;b.png,cat', 'b c.png,dog')
    for name in ('paths.csv', 'first.csv'):
        assert _load(three, list=name, labels='labels.csv').id.tolist() == ['a;b.png', 'b c.png']


def test_the_first_classes(three):
    _text(three / 'list.txt', 'a.png 1', 'b c.png 40', 'd/e.png 3')
    _text(three / 'test.txt', 'a.png 40', 'b c.png 3')
    few = _load(three, max_classes=2)
    assert few.class_names == ('1', '3')
    assert few.id.tolist() == ['a.png', 'd/e.png']
    assert _load(three, 'test', test_list='test.txt', max_classes=2).id.tolist() == ['b c.png']
    refused(lambda: _load(three, 'test', test_list='test.txt', max_classes=1), three / 'test.txt', 'max_classes')
    _text(three / 'test.txt', 'a.png 7')
    refused(lambda: _load(three, 'test', test_list='test.txt', max_classes=2), three / 'test.txt', 'line 1', "'7'")
    _text(three / 'names.txt', 'cat', 'dog')  # labels above are of classes without a name
    assert _load(three, max_classes=2, class_names='names.txt').id.tolist() == ['a.png']
    _text(three / 'list.txt', 'a.png dog', 'b c.png cat', 'd/e.png eel')
    assert _load(three, max_classes=2).id.tolist() == ['a.png', 'b c.png']


def test_a_limit_is_balanced_and_looks_for_nothing_else(three):
    _text(three / 'list.txt', 'a.png 0', 'gone.png 0', 'b c.png 1', 'gone too.png 1')
    assert _load(three, limit=2).id.tolist() == ['a.png', 'b c.png']


def _splits(root, **settings):
    settings = {'list': 'list.csv', 'test_list': 'test.csv', 'limit': 0, 'test_limit': 0} | settings
    return data.load_splits({'name': 'filelist', 'path': str(root), **settings})


@pytest.fixture
def five(three):
    """The three, a link to the first and one to a folder; in the training list all but d/e.png have a label."""
    (three / 'link.png').symlink_to('a.png')
    (three / 'linked').symlink_to('.')
    _text(three / 'list.csv', 'a.png,x', 'b c.png,y', 'd/e.png,')
    return three


@pytest.mark.parametrize(
    'paths', [('a.png', 'b c.png'), ('./b c.png',), ('link.png',), ('linked/a.png', '{0}/b c.png')]
)
def test_a_test_list_of_training_images_is_refused(five, paths):
    paths = [path.format(five) for path in paths]
    _text(five / 'test.csv', *(f'{path},x' for path in paths))
    refused(lambda: _splits(five), 'data.test_list', five / 'test.csv', f'{paths[0]} (line 1)', 'data.test_path')


def test_a_training_list_of_links_to_test_images(five):
    _text(five / 'list.csv', 'link.png,x', 'b c.png,y')
    _text(five / 'test.csv', 'a.png,x')
    refused(lambda: _splits(five), 'data.test_list', 'a.png (line 1)')


@pytest.mark.parametrize('limit', [0, 2])
def test_training_images_among_test_images_are_told(five, limit):
    for name in ('f.png', 'g.png'):
        _image(five / name)
    _text(five / 'list.csv', 'a.png,x', 'b c.png,y', 'f.png,x')
    _text(five / 'test.csv', 'path,label', 'g.png,x', 'linked/f.png,y')
    with pytest.warns(UserWarning, match=r'test\.csv: 1 of 2 test images .*, such as linked/f\.png \(line 3\)'):
        train, test = _splits(five, limit=limit)
    assert (len(train), test.id.tolist()) == (2 if limit else 3, ['g.png', 'linked/f.png'])


@pytest.mark.filterwarnings('error')
def test_other_test_images_may_have_names_of_training_images(five):
    _image(five / 'held' / 'a.png', 7)
    _text(five / 'test.csv', 'a.png,x')
    assert _splits(five, test_path='held')[1].image.tolist() == [_pixels(7).tolist()]
    _text(five / 'test.csv', 'd/e.png,x')  # pre-training alone sees it, without its label
    assert _splits(five)[1].id.tolist() == ['d/e.png']


@pytest.mark.parametrize(
    ('lines', 'words'),
    [
        (['a.png 0', '', 'gone.png 1'], ['line 3', 'no file', 'gone.png']),
        (['a.png 0', 'none/a.png 1'], ['line 2', 'no file', 'none/a.png']),
        (['a.png 0', 'b c.png -1'], ['line 2', "'-1'", 'whole numbers from 0']),
        (['a.png 0', 'b c.png 1', './a.png 1'], ['line 3', './a.png is the file of line 1, a.png']),
        (['a.png 0', 'd/../a.png 1'], ['line 2', 'd/../a.png is the file of line 1, a.png']),
        (['a.png 0', 'link.png 1'], ['line 2', 'link.png is the file of line 1, a.png']),
        (['link.png 1', 'b c.png 1', 'a.png 1'], ['line 3', 'a.png is the file of line 1, link.png']),
        (['linked/e.png 1', 'd/e.png 1'], ['line 2', 'd/e.png is the file of line 1, linked/e.png']),
        (['a.png 0', 'b.png'], ['line 2', "'b.png'", 'a path and a label']),
        (['a.png 0', 'b c.png 1', 'a.png 1'], ['line 3', 'a.png', 'line 1']),
        ([], ['empty']),
    ],
)
def test_lists_that_cannot_be_used_name_the_line(three, lines, words):
    (three / 'link.png').symlink_to('a.png')
    (three / 'linked').symlink_to('d')
    _text(three / 'list.txt', *lines)
    refused(lambda: _load(three), three / 'list.txt', *words)


def test_a_zero_byte_far_behind_the_beginning_and_pipes(three):
    _text(three / 'list.txt', *(f'{number}.png 0' for number in range(9000)), 'a\0b/c.png 0')
    refused(lambda: _load(three), three / 'list.txt', 'cannot be read as text (a byte of it is 0)')
    forms = {b'PK\x03\x04\0': 'a workbook', 'a.png 0'.encode('utf-16'): 'it is in UTF-16; save it in UTF-8'}
    for content, words in forms.items():
        (three / 'list.txt').write_bytes(content)
        refused(lambda: _load(three), three / 'list.txt', f'cannot be read as text ({words}')
    os.mkfifo(three / 'pipe.png')
    os.mkfifo(three / 'pipe.txt')
    _text(three / 'list.txt', 'a.png 0', 'pipe.png 1')
    refused(lambda: _load(three), three / 'pipe.png', 'no file, but a pipe or a device')
    refused(lambda: _load(three, list='pipe.txt'), "data.list: no file 'pipe.txt'")


@pytest.mark.parametrize('head', [(), ('label,path',)])
def test_columns_that_are_exchanged(three, head):
    _text(three / 'list.csv', *head, 'cat,a.png', 'cat,b c.png', 'dog,d/e.png')
    words = 'list.csv, line 2', "'cat' is taken for a path, and '", 'paths come first'
    refused(lambda: _load(three, list='list.csv'), *words)


def test_other_files_that_cannot_be_used(three):
    _text(three / 'list.csv', 'path,label', 'a.png,0,1')
    refused(lambda: _load(three, list='list.csv'), three / 'list.csv', 'line 2')
    _text(three / 'list.csv', 'a.png,cat', 'b c.png,"cat', 'd/e.png,dog')  # one label from the quotation mark on
    refused(lambda: _load(three, list='list.csv'), three / 'list.csv', 'line 2: unexpected end of data in line 3;')
    _text(three / 'list.csv', 'a.png,cat', f'b c.png,{"x" * 131_073}')
    refused(lambda: _load(three, list='list.csv'), three / 'list.csv', 'line 2', '131072')
    _text(three / 'list.csv', 'a.png,"cat', 'b c.png,"dog', 'd/e.png,dog')  # marks that close each other
    refused(lambda: _load(three, list='list.csv'), three / 'list.csv', 'line 1: ', ' in line 2; a quotation mark may')
    _text(three / 'list.csv', 'a.png,"cat', 'dog"')
    refused(lambda: _load(three, list='list.csv'), three / 'list.csv', 'line 2', 'line break')
    _text(three / 'list.csv', 'path,label')
    refused(lambda: _load(three, list='list.csv'), three / 'list.csv', 'empty')
    _text(three / 'paths.txt', 'a.png')
    _text(three / 'labels.txt', 'a.png cat', 'a.png dog')
    refused(
        lambda: _load(three, list='paths.txt', labels='labels.txt'), three / 'labels.txt', 'line 2', "'dog'", "'cat'"
    )
    refused(lambda: _load(three, list=''), 'data.list', "''")
    refused(lambda: _load(three, list='none.txt'), 'data.list', "'none.txt'", three)
    refused(lambda: _load(three / 'none'), 'data.path', three / 'none')
    refused(lambda: data.load('filelist', split='train', path='', list='list.txt'), 'data.path')
    refused(lambda: _load(three, list='a.png'), three / 'a.png', 'cannot be read as text')


@pytest.mark.skipif(sys.platform != 'linux', reason='other file systems have no such names')
@pytest.mark.parametrize('name', ['list.txt', 'list.csv'])
def test_names_that_are_not_utf8(three, name):
    _image(three / os.fsdecode(b'gr\xfcn.png'))
    separator = b',' if name == 'list.csv' else b' '
    (three / name).write_bytes(separator.join((b'gr\xfcn.png', b'k\xe4fer\n')))
    found = _load(three, list=name)
    assert (found.id.tolist(), found.class_names) == (['gr\udcfcn.png'], ('k\udce4fer',))


def test_a_list_in_the_current_folder(three, monkeypatch):
    (three / 'here').mkdir()
    _text(three / 'here' / 'mine.txt', 'a.png 0')
    monkeypatch.chdir(three / 'here')
    assert len(_load(three, list='mine.txt')) == 1
    monkeypatch.chdir(three)
    assert len(_load(three, list='here/mine.txt')) == 1
    _text(three / 'mine.txt', 'a.png 0', 'b c.png 1')
    assert len(_load(three, list='mine.txt')) == 2  # one file, seen twice
    monkeypatch.chdir(three / 'here')
    paths = three / 'mine.txt', three / 'here' / 'mine.txt'
    refused(lambda: _load(three, list='mine.txt'), 'data.list', 'another one in the current folder', *paths)
    for path, count in zip(paths, (2, 1), strict=True):
        assert len(_load(three, list=str(path))) == count


def _webvision(root):
    """20 images of classes 0, 1 and 60, and 5 to validate."""
    lines = []
    for i in range(20):
        name, label = f'google/q{i % 4:04d}/image {i}.jpg', (0, 1, 60)[i % 3]
        _image(root / name, i, height=10 + i, width=20)
        lines.append(f'{name} {label}')
    _text(root / 'info' / 'train_filelist_google.txt', *lines)
    for i in range(5):
        _image(root / 'val_images_256' / f'val{i:06d}.jpg', 50 + i, height=16, width=24)
    _text(root / 'info' / 'val_filelist.txt', *(f'val{i:06d}.jpg {(0, 1, 60)[i % 3]}' for i in range(5)))


def _configured(argument, path, **changes):
    config = config_lib.load(f'{CONFIGS}/{argument}')
    config.data.path = str(path)
    config.update_from_flattened_dict({f'data.{name}': value for name, value in changes.items()})
    return config


@pytest.mark.parametrize('memory_bytes', [0, 2**20])
def test_webvision_as_its_config_reads_it(tmp_path, memory_bytes):
    _webvision(tmp_path)
    config = _configured('webvision.py', tmp_path, image_size=8, memory_bytes=memory_bytes)
    settings.validate(config)
    assert config.data.max_classes == 50
    config.data.max_classes = 2
    train, test = (data.load_split(config.data, split) for split in ('train', 'test'))
    assert isinstance(train.image, lazy.Files) == (not memory_bytes)
    assert train.num_classes == test.num_classes == 2
    assert train.id.tolist() == [f'google/q{i % 4:04d}/image {i}.jpg' for i in range(20) if i % 3 < 2]
    np.testing.assert_array_equal(train.label, [i % 3 for i in range(20) if i % 3 < 2])
    assert train.image.shape == (14, 8, 8, 3)
    assert test.id.tolist() == [f'val{i:06d}.jpg' for i in (0, 1, 3, 4)]
    np.testing.assert_array_equal(test.label, [0, 1, 0, 1])


def test_tiny_imagenet_as_its_config_reads_it(tmp_path):
    """The archive's own layout, and the lists that the config's docstring makes of it."""
    for label, name in enumerate(('n01443537', 'n01629819')):
        for i in range(3):
            _image(tmp_path / 'train' / name / 'images' / f'{name}_{i}.JPEG', 10 * label + i, height=8, width=8)
        _text(tmp_path / 'train' / name / f'{name}_boxes.txt', f'{name}_0.JPEG\t0\t32\t44\t62')
    names = ['n01629819', 'n01443537']
    for i, _ in enumerate(names):
        _image(tmp_path / 'val' / 'images' / f'val_{i}.JPEG', 30 + i, height=8, width=8)
    lines = [f'val_{i}.JPEG\t{name}\t0\t32\t44\t62' for i, name in enumerate(names)]
    _text(tmp_path / 'val' / 'val_annotations.txt', *lines)
    _image(tmp_path / 'test' / 'images' / 'test_0.JPEG', 40, height=8, width=8)
    docstring = (CONFIGS / 'tiny_imagenet.py').read_text()
    commands = [line for line in docstring.splitlines() if line.startswith(('  find ', '  cut '))]
    assert len(commands) == 2
    for command in commands:
        subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    config = _configured('tiny_imagenet.py', tmp_path, image_size=8)
    settings.validate(config)
    train, test = (data.load_split(config.data, split) for split in ('train', 'test'))
    assert train.class_names == ('n01443537', 'n01629819')
    np.testing.assert_array_equal(train.label, [0, 0, 0, 1, 1, 1])
    assert train.id[0] == 'train/n01443537/images/n01443537_0.JPEG'
    np.testing.assert_array_equal(test.label, [1, 0])
    assert test.id.tolist() == ['val_0.JPEG', 'val_1.JPEG']


@pytest.mark.parametrize('lists', ['', 'annotations'])
def test_clothing1m_as_its_config_reads_it(tmp_path, lists):
    paths = [f'images/{i % 3}/{i:02d}/{i},{i + 1}.jpg' for i in range(17)]
    for i, path in enumerate(paths):
        _image(tmp_path / path, i, height=12, width=9)
    place = tmp_path / lists
    _text(place / 'noisy_train_key_list.txt', *paths[:14])
    _text(place / 'noisy_label_kv.txt', *(f'{path} {max(13 - i, 0)}' for i, path in enumerate(paths)))
    _text(place / 'clean_test_key_list.txt', *paths[14:])
    _text(place / 'clean_label_kv.txt', *(f'{path} {i - 9}' for i, path in enumerate(paths[9:], 9)))
    config = _configured(f'clothing1m.py:lists={lists}', tmp_path, image_size=8)
    train, test = (data.load_split(config.data, split) for split in ('train', 'test'))
    assert train.id.tolist() == paths[:14]
    np.testing.assert_array_equal(train.label, np.arange(13, -1, -1))
    assert train.num_classes == test.num_classes == 14
    np.testing.assert_array_equal(test.label, [5, 6, 7])
    _text(place / 'noisy_label_kv.txt', *(f'{path} 1' for path in paths[:4]))
    refused(lambda: data.load_split(config.data, 'train'), 'noisy_train_key_list.txt', 'line 5', paths[4], 'no label')
