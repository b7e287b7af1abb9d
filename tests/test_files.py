"""Where outputs may lie, and that two commands do not write the same one."""

import errno
import os
import resource

import pytest
from conftest import refused

from noisy_jax import errors, files, outputs
from noisy_jax.errors import InputError


def _free(folder):
    files.check_free(folder, 'mark.json', 'workdir', ('spare',))


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('', ["''", 'not allowed']),
        ('/', ["'/'", 'not allowed']),
        ('.', ["'.'", 'not allowed']),
        ('..', ["'..'", 'not allowed']),
        ('a\0b', ['a\\x00b', 'not allowed']),
        ('gs://bucket/a', ["'gs://bucket/a'", 'not allowed']),
        ('n' * 300, ['too long']),
        ('n' * 253, ['too long']),  # with the suffix of what is unfinished
        ('there', ['there already exists']),
        ('dangling', ['dangling already exists']),
        ('killed', ['killed.part already exists: another command writes it, or has been ended']),
        ('there/new', ['no folder there']),
        ('nowhere/new', ['no folder nowhere']),
    ],
)
def test_outputs_that_are_not_new(tmp_path, monkeypatch, name, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'there').write_text('mine')
    (tmp_path / 'killed.part').mkdir()
    (tmp_path / 'dangling').symlink_to('nowhere')
    refused(lambda: outputs.check_new(name), '--out', *words)
    outputs.check_new('new')


def test_a_folder_that_may_not_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'access', lambda *_: False)
    refused(lambda: outputs.check_new(tmp_path / 'new'), '--out', tmp_path, 'no permission')


def test_a_folder_of_a_user_is_not_taken(tmp_path, monkeypatch):
    _free(tmp_path / 'new')
    (tmp_path / '.DS_Store').touch()
    (tmp_path / 'spare').touch()
    _free(tmp_path)
    for name in ('labels.csv', 'b', 'c', 'd'):
        (tmp_path / name).touch()
    refused(lambda: _free(tmp_path), 'workdir', tmp_path, '(b, c, d and 1 more)', 'a new or an empty folder')
    refused(lambda: _free(tmp_path / 'b'), 'Not a directory')
    (tmp_path / 'dangling').symlink_to('nowhere')
    refused(lambda: _free(tmp_path / 'dangling'), 'No such file')
    refused(lambda: _free(tmp_path / ('n' * 300)), 'too long')
    (tmp_path / 'mark.json').touch()
    _free(tmp_path)

    def forbidden(path):
        raise PermissionError(errno.EACCES, 'Permission denied')

    monkeypatch.setattr(os, 'listdir', forbidden)
    (tmp_path / 'mark.json').unlink()
    refused(lambda: _free(tmp_path), 'Permission denied')


@pytest.mark.parametrize('new', [outputs.new_folder, outputs.new_file])
def test_two_that_see_no_output_at_once(tmp_path, monkeypatch, new):
    """The second fails, and what the first is writing stays."""

    def second():
        with new(tmp_path / 'out'):
            pytest.fail('both write')

    monkeypatch.setattr(outputs, 'check_new', lambda _: None)
    with new(tmp_path / 'out'):
        refused(second, '--out', 'cannot be written', 'File exists')
        assert (tmp_path / 'out.part').exists()
    assert [path.name for path in tmp_path.iterdir()] == ['out']


@pytest.mark.parametrize('new', [outputs.new_folder, outputs.new_file])
def test_what_somebody_has_put_there_meanwhile_stays(tmp_path, new):
    def write():
        with new(tmp_path / 'out'):
            (tmp_path / 'out').write_text('mine')

    refused(write, '--out', 'File exists')
    assert (tmp_path / 'out').read_text() == 'mine'
    assert not (tmp_path / 'out.part').exists()


def test_a_file_is_no_folder(tmp_path):
    refused(lambda: outputs.new_file(f'{tmp_path}/out/').__enter__(), '--out', 'name of a folder')


def test_where_one_file_does_not_fit_all_stay(tmp_path):
    files.write_all(tmp_path, {'a': b'old', 'b': b'old'})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, before[1]))
    try:
        with pytest.raises(OSError, match='too large') as caught:
            files.write_all(tmp_path, {'a': b'new', 'b': b'too long'})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.filename == str(tmp_path / 'b')
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {'a': b'old', 'b': b'old'}


def test_links_are_followed(tmp_path):
    (tmp_path / 'data').mkdir()
    (tmp_path / 'link').symlink_to('data')
    assert str(files.lies_in(tmp_path / 'link/a/b', tmp_path / 'data')) == 'a/b'
    assert str(files.lies_in(tmp_path / 'data/a', tmp_path / 'link')) == 'a'
    assert str(files.lies_in(tmp_path / 'data', tmp_path / 'link')) == '.'
    for other in ('database', 'data/../a', '.'):
        assert files.lies_in(tmp_path / other, tmp_path / 'data') is None


def test_a_folder_is_known_by_what_it_is(tmp_path, monkeypatch):
    """As on a disk that takes names in any case: there is no other on which all tests run."""

    def stat(path, stat=os.stat, **options):
        return stat(str(path).replace('Data', 'data'), **options)

    (tmp_path / 'data').mkdir()
    monkeypatch.setattr(os, 'stat', stat)
    assert str(files.lies_in(tmp_path / 'Data/A/b', tmp_path / 'data')) == 'A/b'
    assert files.lies_in(tmp_path / 'Dat', tmp_path / 'data') is None


def test_folders_that_were_made_go_when_the_work_fails(tmp_path):
    def fail():
        with files.folders(tmp_path / 'a/b/c', '--out'):
            (tmp_path / 'a/kept').touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob('*')] == ['a', 'a/kept']
    with files.folders(tmp_path / 'a/b', '--out'):
        pass
    assert (tmp_path / 'a/b').is_dir()


def test_a_link_that_leads_nowhere_is_named(tmp_path):
    (tmp_path / 'runs').symlink_to(tmp_path / 'not mounted')
    with pytest.raises(InputError, match=r'workdir: .*/runs/one cannot be made \(.*/runs is a link that leads nowhere'):
        files.folders(tmp_path / 'runs/one', 'workdir').__enter__()


def test_writing_follows_no_link_and_names_the_file(tmp_path):
    (tmp_path / 'mine').write_text('mine')
    (tmp_path / 'report.html.part').symlink_to(tmp_path / 'mine')
    files.write(tmp_path / 'report.html', b'new')
    assert (tmp_path / 'mine').read_text() == 'mine'
    assert (tmp_path / 'report.html').read_bytes() == b'new'
    assert not (tmp_path / 'report.html').is_symlink()
    with pytest.raises(OSError, match='No space left') as caught, open('/dev/full', 'wb', buffering=0) as full:
        _written(full, tmp_path / 'report.html')
    assert caught.value.filename == str(tmp_path / 'report.html')


def _written(file, name):
    with errors.named(name):
        file.write(b'x')
