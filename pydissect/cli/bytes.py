"""Sizes in bytes, as people write them."""

import re
from typing import Any

import click

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


class Bytes(click.ParamType[int]):
    """A number of bytes: ``500MB``, ``2 GB``, ``1.5gb``, ``4000000``."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?B)?", str(value).strip().upper())
        if match is None:
            self.fail(f"expected a size such as 500MB or 2GB, found {value!r}", param, ctx)
        return int(float(match[1]) * _UNITS[match[2] if match[2] in _UNITS else ""])


def show_bytes(number: int) -> str:
    """A size in the largest unit that it reaches."""
    unit = max((unit for unit, size in _UNITS.items() if number >= size), key=lambda u: _UNITS[u], default="")
    return f"{number / _UNITS[unit]:,.3g} {unit}" if unit else f"{number} bytes"
