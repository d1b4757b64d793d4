"""What is imported when: torch takes seconds, so that what computes nothing does without."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from broden_builder import BrodenBuilder
from command import process, write_models

import pydissect


def fresh(code: str, *arguments: object) -> str:
    """What a process of its own prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_public_name_is_there_and_listed():
    assert sorted(pydissect.__all__) == pydissect.__all__ == sorted(pydissect._MODULES)
    assert set(pydissect.__all__) <= set(dir(pydissect))
    for name in pydissect.__all__:
        assert getattr(pydissect, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'pydissect' has no attribute 'fastiou'"):
        _ = pydissect.fastiou


def test_the_package_alone_imports_no_torch():
    listed = fresh(
        "import sys, pydissect; print(pydissect.__version__, *dir(pydissect)); sys.exit('torch' in sys.modules)"
    )
    assert {pydissect.__version__, *pydissect.__all__} <= set(listed.split())


def test_a_first_use_within_a_compiled_function():
    """torch.compile follows no import, so all names are there when one is."""
    found = fresh(
        """
import torch, pydissect
masks = pydissect.PackedMasks.from_bool(torch.ones(1, 1, 4, 4, dtype=torch.bool))
def intersection(acts):
    return pydissect.count(acts, masks, torch.zeros(1), nonfinite="off").intersection
print(torch.compile(intersection, backend="aot_eager", fullgraph=True)(torch.ones(1, 1, 2, 2)).item())
"""
    )
    assert found.split() == ["16"]


def test_the_operation_is_there_once_its_module_is():
    """As a process needs it that loads an exported graph."""
    assert (
        fresh("import torch, pydissect.op; print(torch.ops.pydissect.count.default)").strip()
        == "pydissect.count.default"
    )


# What the command line imports after it has ended is what it has imported.
COMMAND = """
import sys
from pydissect.cli import main
try:
    main(sys.argv[1:], prog_name="pydissect")
finally:
    print(*sorted(sys.modules), file=sys.stderr)
"""


def imported(*arguments: object) -> set[str]:
    """The modules that a command imports."""
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


def test_bookkeeping_imports_no_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYDISSECT_CACHE", str(tmp_path / "cache"))
    data = BrodenBuilder(tmp_path / "data")
    data.write()
    model = f"{write_models(tmp_path)}:net"
    out = tmp_path / "scan"
    import torch
    from safetensors.torch import save_file

    save_file({"mix.weight": torch.ones(4, 3)}, tmp_path / "step-1.safetensors")
    scan = ["scan", "--data", data.folder, "--model", model, "--layer", "mix", "--out", out]
    scan += ["--weights", tmp_path / "step-*.safetensors", "--quantile", "0.1"]
    done = process(*scan)
    assert done.returncode == 0, done.stderr

    before = {path: path.read_bytes() for path in (out / "results").iterdir()}
    resumed = imported(*scan)
    assert before == {path: path.read_bytes() for path in (out / "results").iterdir()}
    assert before
    assert "pyarrow" in resumed
    status = imported("scan", "status", out)
    asked = imported("scan", "query", out, "SELECT * FROM units")
    assert "duckdb" in asked
    for modules in (resumed, status, asked):
        assert not modules & {"torch", "matplotlib", "pydissect.pipeline"}
    # Nor do those that list and count import what asks and draws.
    assert "duckdb" not in resumed | status
