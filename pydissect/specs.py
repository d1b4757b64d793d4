"""How a model is named: ``FILE.py:FACTORY`` or ``package.module:factory``."""

import os

from .errors import InputError


def split_spec(spec: str) -> tuple[str, str, bool]:
    """The two parts of a spec (see :func:`pydissect.models.load_factory`), and whether the first is a Python file.

    Raises:
        InputError: when `spec` has no colon with something on both sides.
    """
    source, colon, attributes = spec.rpartition(":")
    if not (colon and source and attributes):
        raise InputError(f"--model: expected FILE.py:FACTORY or package.module:factory, found {spec!r}")
    return source, attributes, source.endswith(".py") or os.sep in source
