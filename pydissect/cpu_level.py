"""The cap on the CPU's instruction set, from the environment."""

from . import _cpu
from .errors import InputError


def level_cap() -> str:
    """``PYDISSECT_CPU_LEVEL``, which is there for tests and for comparing machines; empty for no cap.

    Raises:
        InputError: it is set to something else than ``avx512-bitalg``, ``avx512``, ``avx2`` or ``portable``.
    """
    cap = _cpu.environment_cap()
    if cap and cap not in (names := _cpu.level_names()):
        raise InputError(f"PYDISSECT_CPU_LEVEL: expected {', '.join(names)}, found {cap!r}")
    return cap
