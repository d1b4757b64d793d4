"""Scans that are killed: the tables are those of one that was not. At size: ``make soak``."""

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
import soak

CHECKPOINTS, IMAGES = 10, 6


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> soak.Bench:
    return soak.make(tmp_path_factory.mktemp("soak"), CHECKPOINTS, IMAGES)


@pytest.fixture(autouse=True)
def cache(bench: soak.Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYDISSECT_CACHE", str(bench.folder / "cache"))


def test_the_driver_is_killed_and_ray_finds_the_same(bench: soak.Bench):
    """Ten checkpoints, three of them bad: locally with a kill of the driver, and on Ray without."""
    killed = soak.scan_and_kill(bench, "local", bench.folder / "local", 1, random.Random(0))
    assert len(killed) == 1
    found = soak.tables(bench.folder / "local")
    soak.check_rows(bench, found)
    soak.scan(bench, "ray", bench.folder / "ray")
    soak.check_tables(found, soak.tables(bench.folder / "ray"), "ray")
