"""Where the package under test lies, which may be a build outside the source tree (``scripts/try_build.py``)."""

from pathlib import Path

import pydissect

PACKAGE = Path(pydissect.__file__).resolve().parents[1]
"""For ``PYTHONPATH`` of a process of its own."""
