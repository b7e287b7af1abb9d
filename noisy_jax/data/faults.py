"""What can be wrong with an image file, as an error that names it."""

import errno

from PIL import Image, UnidentifiedImageError

from noisy_jax.errors import InputError, one_line

_UNREAD = 'cannot be read'  # how the reason begins where the file may well be whole


class BrokenImage(InputError):
    """An image file that is damaged, incomplete or of an unknown kind.

    Attributes:
      name: how errors call the image.
      reason: what is wrong with it.
    """

    def __init__(self, name: object, reason: str) -> None:
        super().__init__(name, reason)  # pickled with both, by worker processes
        self.name, self.reason = name, reason

    @property
    def found(self) -> str:
        """The message without what to do."""
        return one_line(f'{self.name}: {self.reason if self._is_unread else f"not a whole image ({self.reason})"}')

    @property
    def _is_unread(self) -> bool:
        return self.reason.startswith(_UNREAD)

    def __str__(self) -> str:
        return f'{self.found}; {"see to that, or remove it" if self._is_unread else "repair or remove it"}'


class BrokenImages(InputError):
    """Images of a data set are broken, which `found` says; a run may leave them out."""

    def __init__(self, found: str) -> None:
        super().__init__(f'{found}; repair or remove what is broken, or set config.data.broken=leave_out')
        self.found = found


def broken(name: object, error: Exception) -> BrokenImage:
    """What an error says of the image that was opened or loaded."""
    if isinstance(error, UnidentifiedImageError):  # its text repeats the name
        return BrokenImage(name, 'of no kind that is known')
    if isinstance(error, Image.DecompressionBombError):
        return too_large(name, 2 * Image.MAX_IMAGE_PIXELS)
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # the system's, not Pillow's
        return BrokenImage(name, f'{_UNREAD}: {error.strerror}')
    return BrokenImage(name, ' '.join(str(error).split()))


def too_large(name: object, most: int) -> BrokenImage:
    """The error that an image has more than `most` pixels."""
    return BrokenImage(name, f'more than {most:,} pixels, which are not read')
