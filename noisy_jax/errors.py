"""The one exception for what a person can mend: `main` prints it in one line and exits with status 2."""


class InputError(ValueError):
    """A file, field or command that cannot be used.

    The message is one line: it names the file or field, says what was found and what is allowed.
    """
