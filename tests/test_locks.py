"""A lock keeps others out, goes with its process and leaves nothing."""

import errno
import fcntl
import os
import pathlib
import subprocess
import sys
from unittest import mock

import pytest
from conftest import refused

from noisy_jax import errors, locks


def _lock(path):
    return locks.locked(path / 'lock', path, 'workdir')


def test_a_second_command_changes_nothing(tmp_path):
    folder = tmp_path / 'run'
    with _lock(folder):
        said = (folder / 'lock').read_text()
        assert f'process {os.getpid()} on ' in said
        with pytest.raises(ValueError, match=f'is in use: process {os.getpid()} on .*, since 20'), _lock(folder):
            pass
        assert (folder / 'lock').read_text() == said
    assert not list(folder.iterdir())
    with _lock(folder):  # it is free again
        pass


def test_a_lock_that_others_take_and_release_again_and_again(tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'fstat', lambda _: os.stat_result([0] * 10))  # no name leads to it any more
    refused(lambda: _lock(tmp_path / 'run').__enter__(), 'workdir', 'is in use')


def test_a_folder_that_may_not_be_looked_into_was_not_moved(tmp_path, monkeypatch):
    with _lock(tmp_path / 'run') as check:
        for error, held in ((PermissionError, True), (FileNotFoundError, False)):
            monkeypatch.setattr(pathlib.Path, 'read_bytes', mock.Mock(side_effect=error))
            check() if held else refused(check, 'workdir', 'was moved or removed')
        monkeypatch.undo()


def test_the_current_folder_is_renamed(tmp_path, monkeypatch):
    """What is written by its whole path would go into a folder made anew."""
    (tmp_path / 'project').mkdir()
    monkeypatch.chdir(tmp_path / 'project')
    with _lock(pathlib.Path('run')) as check:
        check()
        (tmp_path / 'project').rename(tmp_path / 'renamed')
        refused(check, 'workdir: run', 'was moved or removed')


def test_what_fails_leaves_neither_lock_nor_folder(tmp_path):
    with pytest.raises(KeyboardInterrupt), _lock(tmp_path / 'a/run'):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_a_lock_for_which_there_is_no_room_does_not_stay(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(locks.secrets, 'token_hex', full)  # as the write of it would
    refused(lambda: _lock(tmp_path / 'new').__enter__(), 'No space left')
    assert not (tmp_path / 'new').exists()


def test_a_killed_process_holds_nothing(tmp_path):
    """The lock is the system's: the file that stays behind keeps nobody out."""
    code = f'import os, pathlib; from noisy_jax import errors, locks; path = pathlib.Path({str(tmp_path)!r})\n'
    code += "with locks.locked(path / 'lock', path, 'workdir'): os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, '-c', code]).returncode == -9
    assert (tmp_path / 'lock').read_text().startswith('process ')
    with _lock(tmp_path):
        assert f'process {os.getpid()} ' in (tmp_path / 'lock').read_text()


def test_a_disk_without_locks(tmp_path, monkeypatch):
    def flock(file, kind):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(fcntl, 'flock', flock)
    errors._warn_once.cache_clear()
    alone = 'this disk has no locks; see to it that no other command writes there'
    first, second = _lock(tmp_path), _lock(tmp_path)
    with pytest.warns(UserWarning, match=f'{alone}$'):
        check = first.__enter__()
    check()
    with pytest.warns(UserWarning, match=f'{alone}; it may be there now: process {os.getpid()} on .*, since 20'):
        second.__enter__()
    refused(check, 'workdir', f'is written by another command too, process {os.getpid()} on')
    second.__exit__(None, None, None)
    first.__exit__(None, None, None)
    assert not list(tmp_path.iterdir())


def test_a_lock_that_its_holder_removes_meanwhile(tmp_path, monkeypatch):
    """Between opening and locking it: the lock on a removed file would keep nobody out."""
    flock, removed = fcntl.flock, []

    def late(file, kind):
        if not removed:
            (tmp_path / 'lock').unlink()
            removed.append('lock')
        flock(file, kind)

    monkeypatch.setattr(fcntl, 'flock', late)
    with _lock(tmp_path):
        assert removed
        assert (tmp_path / 'lock').exists()


def test_a_file_of_a_user_is_not_taken_for_a_lock(tmp_path):
    def lock():
        with _lock(tmp_path / 'run'):
            pytest.fail('locked')

    (tmp_path / 'run').mkdir()
    (tmp_path / 'mine').write_text('process of mine')
    (tmp_path / 'run/lock').symlink_to(tmp_path / 'mine')
    refused(lock, 'workdir', 'cannot be written', 'symbolic links')
    assert (tmp_path / 'mine').read_text() == 'process of mine'
    (tmp_path / 'run/lock').unlink()
    (tmp_path / 'run/lock').write_bytes(b'mine \xff')
    refused(lock, 'workdir', 'another file, not a lock')
    assert (tmp_path / 'run/lock').read_bytes() == b'mine \xff'
    (tmp_path / 'run/lock').unlink()
    (tmp_path / 'run/lock').mkdir()
    refused(lock, 'workdir', 'cannot be written', 'Is a directory')
