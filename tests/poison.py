"""A pytest plugin: memory that nobody has written to is full of NaN and of the largest integers."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _poison() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)  # torch.empty fills what it gives, then
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)
