"""Installs a wheel in a new environment, away from the sources, and runs a small demo with it."""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

# What GPUs need lies in other folders of the sources.
FOR_GPUS = """
import pydissect.kernels
from pydissect.backends.nvrtc import kernel_source
assert "site-packages" in pydissect.kernels.__file__, pydissect.kernels.__file__
source = kernel_source()
assert source.folder.name == "csrc" and (source.folder / "core" / "lerp.hpp").exists(), source.folder
"""


def main(wheel: Path) -> None:
    """Raises CalledProcessError if any step fails."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder / "venv", with_pip=True)
        bin_ = folder / "venv" / "bin"
        # The version of torch that the tests run with.
        pin = next(line for line in Path("requirements/dev.txt").read_text().splitlines() if line.startswith("torch=="))
        subprocess.run([bin_ / "pip", "install", "--quiet", wheel.resolve(), pin], check=True, cwd=folder)
        subprocess.run([bin_ / "python", "-c", FOR_GPUS], check=True, cwd=folder)
        pydissect = str(bin_ / "pydissect")
        subprocess.run([pydissect, "data", "synth", "--images", "40", "--out", "data"], check=True, cwd=folder)
        subprocess.run(
            [
                *(pydissect, "dissect", "--data", "data", "--model", "pydissect.demo:trained"),
                *("--layer", "layer6", "--out", "out"),
            ],
            check=True,
            cwd=folder,
        )
        units = folder / "out" / "layers" / "layer6" / "units.csv"
        print(f"{wheel.name}: {len(units.read_text().splitlines()) - 1} units dissected")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
