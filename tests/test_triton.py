"""What the Triton backend has of its own: workspaces, tiles, and why it cannot be had.

Without a GPU, tests/test_triton_interpreter.py runs the tests that are skipped here.
"""

import importlib.util
import subprocess
import sys

import pytest
import torch
from engines import Engine
from strategies import make_case
from test_count import check

from pydissect.backends import choose_backend, triton
from pydissect.errors import InputError

TRITON = Engine("triton")
CPU, CUDA, META = (torch.device(name) for name in ("cpu", "cuda", "meta"))
SMALLEST = {"ITEMS": 4, "ROWS": 4, "CAPACITY": 16, "WORDS": 4, "MASKS": 4}


@pytest.mark.parametrize("limit", [1, 300, 1000])
def test_parts_of_a_batch(limit: int, monkeypatch: pytest.MonkeyPatch):
    """The workspace is bounded: parts of single maps, of some units of an image, of some images."""
    case = make_case(images=3, units=3, map_size=(4, 5), size=(9, 20), levels=("value", "pixel"))
    monkeypatch.setattr(triton, "WORKSPACE_BYTES", limit)
    check(TRITON, case)


def test_parts_cover_a_batch_once():
    for limit in (1, 24, 100, 10_000):
        for images, units in ((1, 1), (3, 5), (4, 7)):
            triton_parts = list(triton._parts(images, units, 8, limit))
            maps = [
                (image, unit)
                for part in triton_parts
                for image in range(part.first_image, part.first_image + part.images)
                for unit in range(part.first_unit, part.first_unit + part.units)
            ]
            assert sorted(maps) == [(image, unit) for image in range(images) for unit in range(units)]
            assert all(8 * part.images * part.units <= max(limit, 8) for part in triton_parts)
            assert (triton_parts[0].images, triton_parts[0].units) == (
                max(part.images for part in triton_parts),
                max(part.units for part in triton_parts),
            )


def test_the_list_of_words_fills_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(triton, "COUNT_TILE", SMALLEST)
    check(TRITON, make_case(images=1, units=2, size=(9, 33), map_size=(3, 3), concepts=6, values="alive"))


@pytest.mark.parametrize(("values", "columns"), [(8, 2), (16, 4), (64, 8)])
def test_several_tiles_a_map(values: int, columns: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(triton, "SCAN_VALUES", values)
    monkeypatch.setattr(triton, "SCAN_COLUMNS", columns)
    case = make_case(images=1, units=2, map_size=(10, 9), size=(20, 36), special=("nan",))
    check(TRITON, case)


def test_more_words_than_bits():
    check(TRITON, make_case(images=1, units=2, map_size=(2, 70), size=(3, 1100), concepts=2))


# --- why it cannot be had ---------------------------------------------------------------------------------


def test_importing_pydissect_imports_no_compiler():
    program = "import sys, pydissect, pydissect.cli; print(sorted({'triton', 'cupy'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_not_installed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        InputError, match="Triton is not installed; it comes with PyTorch's CUDA builds, or pip install"
    ):
        choose_backend("triton", CPU)


def test_a_wrong_device():
    with pytest.raises(InputError, match=r"NVIDIA GPUs; move the activations there with \.cuda\(\)"):
        choose_backend("triton", META)


def test_not_interpreted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(triton, "_interpreted", lambda: False)
    with pytest.raises(InputError, match="or set TRITON_INTERPRET=1"):
        choose_backend("triton", CPU)


@pytest.mark.parametrize(
    ("gpu", "capability", "reason"),
    [
        (False, (9, 0), "torch finds no NVIDIA GPU here"),
        (True, (7, 5), "it needs compute capability 8.0, found 7.5"),
        (True, (8, 0), None),
        (True, (10, 0), None),
    ],
)
def test_gpus(gpu: bool, capability: tuple[int, int], reason: str | None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(triton, "_interpreted", lambda: False)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert triton.BACKEND.unavailable(CUDA) == reason
