"""The one exception for user errors: `main` prints it in one line and exits with status 2."""


class InputError(ValueError):
    """A file, setting or command that cannot be used.

    The message is one line: it names the file or setting, says what was found and what is allowed.
    """


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its type where there is none: the reason within an InputError."""
    return (str(error).splitlines() or [type(error).__name__])[0]
