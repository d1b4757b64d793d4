"""The CUDA kernels' logic on the host, as a backend: the same sources, compiled by the C++ compiler."""

import importlib.util
import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

import torch
from filelock import FileLock
from torch import Tensor

from pydissect.backends import CountArguments, Selection, Sums
from pydissect.backends.cuda_launch import Launch, Limits, count_launch
from pydissect.backends.cuda_select import select_launch
from pydissect.backends.gpu import TorchRanks, no_image
from pydissect.backends.torch_sift import TorchSifting

ROOT = Path(__file__).resolve().parents[1]

# Of an imaginary GPU, so small that a block has few units, and that not all masks of a large image fit.
LIMITS = Limits(shared_bytes_a_block=99 * 1024, shared_bytes=100 * 1024, multiprocessors=1)


@cache
def extension() -> ModuleType:
    """``pydissect._cuda_host``: that of a build which has it, else built in ``build/cuda_host``.

    Raises:
        CalledProcessError: it does not compile.
    """
    try:
        from pydissect import _cuda_host
    except ImportError:
        pass
    else:
        return _cuda_host
    base = ROOT / "build" / "cuda_host"
    command = [sys.executable, "setup.py", "-q", "build_ext", f"--build-temp={base}/temp", f"--build-lib={base}/lib"]
    base.mkdir(parents=True, exist_ok=True)
    # Of the processes that run tests at the same time, one builds.
    with FileLock(base / "lock"):
        subprocess.run(command, cwd=ROOT, env={**os.environ, "PYDISSECT_BUILD": "cuda_host"}, check=True)
    path = base / "lib" / "pydissect" / f"_cuda_host{sysconfig.get_config_var('EXT_SUFFIX')}"
    spec = importlib.util.spec_from_file_location("pydissect._cuda_host", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class CudaHost(TorchRanks, TorchSifting):
    """See :class:`pydissect.backends.Backend`. Blocks have few threads here, since the host runs them one by one."""

    limits: Limits = LIMITS
    threads: int = 128

    name = "cuda-host"

    def unavailable(self, device: torch.device) -> str | None:
        return None if device.type == "cpu" else "the host runs it"

    def launch(self, arguments: CountArguments, sums: Sums, first_nonfinite: Tensor) -> Launch:
        return count_launch(arguments, sums, first_nonfinite, self.limits, self.threads)

    def count(self, arguments: CountArguments, sums: Sums) -> Tensor:
        first_nonfinite = no_image(arguments.acts.device)
        launch = self.launch(arguments, sums, first_nonfinite)
        extension().count(launch.fields, self.threads)
        return first_nonfinite

    def select(self, acts: Tensor, selection: Selection) -> Tensor:
        first_nonfinite = no_image(acts.device)
        if acts.numel():
            extension().select(select_launch(acts, selection, first_nonfinite).fields, self.threads)
        return first_nonfinite
