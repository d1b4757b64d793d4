"""Textures: two-color patterns given by a formula, at any scale and angle."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.floating]
Bits = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Pattern:
    """A texture by name, its period in pixels of the picture, its angle, and how much it waves like cloth."""

    name: str
    period: float
    angle: float = 0.0
    sway: float = 0.0

    def draw(self, width: int, height: int, origin: tuple[float, float], scale: int) -> Bits:
        """Give the pixels of the pattern's second color, with `scale` pixels for one of the picture."""
        period = np.float32(self.period * scale)
        x = ((np.arange(width, dtype=np.float32) - np.float32(origin[0])) / period)[None, :]
        y = ((np.arange(height, dtype=np.float32) - np.float32(origin[1])) / period)[:, None]
        cos, sin = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        u, v = cos * x + sin * y, cos * y - sin * x
        if self.sway:
            u, v = u + self.sway * np.sin(v * 0.9), v + self.sway * np.sin(u * 0.7)
        return _FORMULAS[self.name](u, v)


def _fraction(value: Plane) -> Plane:
    return value - np.floor(value)


def _striped(u: Plane, v: Plane) -> Bits:
    return _fraction(u) < 0.5


def _dotted(u: Plane, v: Plane) -> Bits:
    shifted = u + 0.5 * np.mod(np.floor(v), 2)
    return (_fraction(shifted) - 0.5) ** 2 + (_fraction(v) - 0.5) ** 2 < 0.085


def _chequered(u: Plane, v: Plane) -> Bits:
    return (_fraction(u) < 0.5) ^ (_fraction(v) < 0.5)


def _zigzagged(u: Plane, v: Plane) -> Bits:
    return _fraction(v + np.abs(_fraction(u) - 0.5) * 1.3) < 0.5


def _grid(u: Plane, v: Plane) -> Bits:
    return (_fraction(u) < 0.22) | (_fraction(v) < 0.22)


def _crosshatched(u: Plane, v: Plane) -> Bits:
    return (_fraction(u + v) < 0.2) | (_fraction(u - v) < 0.2) | (_fraction(2 * u) < 0.14)


def _scaly(u: Plane, v: Plane) -> Bits:
    # Rows of overlapping discs, every other row shifted by half: the rim of the disc hanging from above.
    shifted = _fraction(u + 0.5 * np.mod(np.floor(2 * v), 2)) - 0.5
    radius: Plane = np.hypot(shifted, _fraction(2 * v) * 0.5)
    return (radius > 0.36) & (radius < 0.5)


def _honeycombed(u: Plane, v: Plane) -> Bits:
    ratio = np.float32(np.sqrt(3))

    def to_centre(a: Plane, b: Plane) -> tuple[Plane, Plane]:
        return np.abs(_fraction(a) - 0.5), np.abs(_fraction(b / ratio) - 0.5) * ratio

    near, far = to_centre(u, v), to_centre(u + 0.5, v + 0.5 * ratio)
    hexagonal = [np.maximum(a, 0.5 * a + 0.5 * ratio * b) for a, b in (near, far)]
    return (hexagonal[0] > 0.4) & (hexagonal[1] > 0.4)


def _wavy(u: Plane, v: Plane) -> Bits:
    return _fraction(v + 0.3 * np.sin(2.6 * u)) < 0.45


def _spiralled(u: Plane, v: Plane) -> Bits:
    a, b = _fraction(u / 3 + 0.5) - 0.5, _fraction(v / 3 + 0.5) - 0.5
    return _fraction(5 * np.hypot(a, b) + np.arctan2(b, a) / np.float32(2 * np.pi)) < 0.5


def _woven(u: Plane, v: Plane) -> Bits:
    across = (_fraction(u / 2) < 0.5) ^ (_fraction(v / 2) < 0.5)
    return (across & (_fraction(3 * u) < 0.55)) | (~across & (_fraction(3 * v) < 0.55))


def _bubbly(u: Plane, v: Plane) -> Bits:
    column, row = np.floor(u), np.floor(v)
    chance = _fraction(np.sin(column * 12.99 + row * 78.23) * 437.6)
    radius = np.hypot(_fraction(u) - 0.4 - 0.2 * chance, _fraction(v) - 0.6 + 0.2 * chance)
    size = 0.18 + 0.2 * _fraction(chance * 7)
    return (radius < size) & (radius > size - 0.11)


_FORMULAS: dict[str, Callable[[Plane, Plane], Bits]] = {
    "striped": _striped,
    "dotted": _dotted,
    "chequered": _chequered,
    "zigzagged": _zigzagged,
    "grid": _grid,
    "crosshatched": _crosshatched,
    "scaly": _scaly,
    "honeycombed": _honeycombed,
    "wavy": _wavy,
    "spiralled": _spiralled,
    "woven": _woven,
    "bubbly": _bubbly,
}
