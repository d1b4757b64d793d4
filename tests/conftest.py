"""Settings and fixtures that all tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

# Read when torch is loaded: OpenMP's threads sleep while they wait. Spinning ones take the processor from
# each other where tests ask for more threads than there are cores, or run beside something else.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
import torch
from hypothesis import HealthCheck, Phase, settings

# Derandomized, so that a failure in CI is the same failure at home; `HYPOTHESIS_PROFILE=thorough` goes
# looking for new ones, `brief` is for builds that are slow, `unshrunk` for who asks whether, not why.
_CALM = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
settings.register_profile("ci", derandomize=True, max_examples=60, **_CALM)
settings.register_profile("brief", derandomize=True, max_examples=15, **_CALM)
settings.register_profile("unshrunk", settings.get_profile("ci"), phases=(Phase.explicit, Phase.generate))
settings.register_profile("thorough", max_examples=3000, **_CALM)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


# Where several processes share out the files, the one that takes longest must not come last.
_LONGEST = ("test_triton_interpreter.py", "test_real_data.py", "test_count.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the files that take longest first."""
    items.sort(key=lambda item: item.path.name not in _LONGEST)


@pytest.fixture(scope="session")
def shared_data_folder() -> Path:
    """The folder of real data beside the repository, which a clone does not have."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data (../shared/data) is not here")
    return folder


@pytest.fixture
def flush_denormals() -> Iterator[None]:
    """The calling thread treats subnormals as zero, as a program may have asked torch to do."""
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush subnormals to zero")
    yield
    torch.set_flush_denormal(False)
