"""What is said when memory does not suffice."""

import errno

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import refused, refused_by_command
from PIL import Image, PngImagePlugin

from noisy_jax.cli import exit_status
from noisy_jax.data import conversion, decoding
from noisy_jax.data.faults import BrokenImage
from noisy_jax.training import memory

MORE_THAN_THERE_IS = 2**50


@pytest.mark.parametrize('of', [np, jnp], ids=['host', 'device'])
def test_a_real_allocation_that_fails(of):
    @memory.needed()
    def allocate():
        return of.ones(MORE_THAN_THERE_IS, np.uint8).sum()

    refused(allocate, 'not enough memory', 'batch_size', 'model.width', 'data.image_size')


def test_other_errors_stay():
    error = jax.errors.JaxRuntimeError('INTERNAL: something else')
    with pytest.raises(jax.errors.JaxRuntimeError, match='something else'), memory.needed():
        raise error


def test_an_image_for_which_no_file_may_be_opened_is_not_called_broken(tmp_path, monkeypatch):
    def refuse(path):
        raise OSError(errno.EMFILE, 'Too many open files', str(path))

    monkeypatch.setattr(decoding, 'open_bytes', refuse)
    with pytest.raises(OSError, match='Too many open files'):
        decoding.decode(tmp_path / 'a.png')


@pytest.mark.parametrize('error', [MemoryError(), OSError('broken data stream')])  # the latter of some decoders
@pytest.mark.parametrize('is_short', [True, False])
def test_an_image_for_which_there_is_no_memory_is_not_called_broken(tmp_path, monkeypatch, is_short, error):
    """Unlike one whose damaged bytes claim to need more than there is."""

    def load(_):
        if is_short:
            monkeypatch.setattr(decoding, '_ROOM', MORE_THAN_THERE_IS)
        raise error

    Image.new('L', (3, 3)).save(tmp_path / 'a.png')
    monkeypatch.setattr(PngImagePlugin.PngImageFile, 'load', load)
    with pytest.raises(MemoryError if is_short else BrokenImage, match=r'a\.png'):
        decoding.decode(tmp_path / 'a.png')


def test_an_image_that_is_cut_off_is_broken_whatever_the_memory(tmp_path, monkeypatch):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)).save(tmp_path / 'a.jpg')
    (tmp_path / 'a.jpg').write_bytes((tmp_path / 'a.jpg').read_bytes()[:-500])
    monkeypatch.setattr(decoding, '_has_room', lambda size=0: not size)
    with pytest.raises(BrokenImage, match=r'a\.jpg.*truncated'):
        decoding.decode(tmp_path / 'a.jpg')


def test_a_thread_for_which_there_is_no_memory(tmp_path, monkeypatch, capsys):
    def submit(*_):
        raise RuntimeError("can't start new thread")

    Image.new('L', (3, 3)).save(tmp_path / 'a.png')
    monkeypatch.setattr(conversion, 'LARGE', 1)
    monkeypatch.setattr(decoding._large_images, 'submit', submit)
    status = exit_status(lambda: decoding.decode(tmp_path / 'a.png'))
    refused_by_command(capsys, status, "not enough memory (can't start new thread)")


def test_a_command_says_it_in_one_line(capsys):
    refused_by_command(capsys, exit_status(lambda: np.ones(MORE_THAN_THERE_IS)), 'not enough memory')
