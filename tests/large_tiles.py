"""A pytest plugin for Triton's interpreter, where an operation costs the same for one value and for a thousand."""

from collections.abc import Iterator

import pytest

from pydissect.backends import triton


@pytest.fixture(autouse=True, scope="session")
def _large_tiles() -> Iterator[None]:
    tile = {"ITEMS": 64, "ROWS": 16, "CAPACITY": 4096, "WORDS": 256, "MASKS": 32}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triton, "COUNT_TILE", tile)
        patch.setattr(triton, "SELECT_VALUES", 2**12)
        patch.setattr(triton, "SELECT_BLOCK", 2**12)
        yield
