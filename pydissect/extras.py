"""Packages that only some commands need."""

import importlib
from typing import Any

from .errors import InputError


def needs(module: str, extra: str) -> Any:
    """Imports a module that comes with an extra of this package.

    Args:
        module: dotted name.
        extra: such as ``scan``, of ``pip install 'pydissect[scan]'``.

    Returns:
        The module.

    Raises:
        InputError: it is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise InputError(
            f"expected the package {package}, found none; pip install 'pydissect[{extra}]' brings it"
        ) from None
