"""What the suites share."""

from collections.abc import Iterator

import pytest
import torch

from pydissect.bench.timing import threads


@pytest.fixture(params=["1-thread", "all-threads"])
def thread_count(request: pytest.FixtureRequest) -> Iterator[None]:
    """One thread, and all."""
    with threads(1 if request.param == "1-thread" else torch.get_num_threads()):
        yield
