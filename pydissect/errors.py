"""The one exception that means "the input is wrong"."""


class InputError(ValueError):
    """An argument, a file or a dataset is not what it must be.

    The message is one line that names the file, field or argument, what was
    expected and what was found. The command line prints it without a
    traceback and exits with status 2.
    """
