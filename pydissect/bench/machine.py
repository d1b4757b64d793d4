"""What machine and software numbers are from."""

import datetime
import os
import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .. import __version__, _cpu


@dataclass(frozen=True)
class Machine:
    """A machine and its software, at a date.

    Attributes:
        cpu: the processor's name, family and model.
        levels: the instruction sets of ours that it runs, best first.
        cores: that this process may use.
        memory_bytes: of the machine.
        system: operating system and kernel.
        compiler: that built the extension.
        commit: of pydissect, where it runs from a git checkout.
        date: of the run, UTC.
        load: processes that ran or waited for a core in the minute before; next to none on a machine left alone.
    """

    cpu: str
    levels: list[str]
    cores: int
    memory_bytes: int
    system: str
    compiler: str
    python: str
    torch: str
    numpy: str
    pydissect: str
    commit: str | None
    date: str
    load: float


def describe_machine() -> Machine:
    """This machine, now."""
    return Machine(
        cpu=_cpu_name(),
        levels=_cpu.levels(),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        system=f"{_distribution()}, Linux {platform.release()}",
        compiler=_compiler(Path(_cpu.__file__)),
        python=platform.python_version(),
        torch=torch.__version__,
        numpy=np.__version__,
        pydissect=__version__,
        commit=_commit(Path(__file__).parent),
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        load=round(os.getloadavg()[0], 2),
    )


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    fields = dict(re.findall(r"^([\w ]+?)\s*: (.*)$", info.read_text(), re.MULTILINE)) if info.exists() else {}
    name = fields.get("model name", platform.processor() or platform.machine())
    # Virtual machines often hide the model behind a plain "AMD EPYC".
    return f"{name} (family {fields['cpu family']}, model {fields['model']})" if "cpu family" in fields else name


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _compiler(extension: Path) -> str:
    """GCC and Clang leave their name in what they build."""
    found = re.search(rb"(GCC: \([^)\0]*\) [\d.]+|clang version [\d.]+)", extension.read_bytes())
    return found[0].decode() if found else "unknown"


def _commit(folder: Path) -> str | None:
    def git(*arguments: str) -> str | None:
        try:
            process = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return process.stdout.strip()

    # An installed package may lie inside a checkout of something else.
    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    return git("describe", "--always", "--dirty")
