"""The shades of the eleven basic colors."""

from collections.abc import Sequence

import numpy as np

from .canvas import RGB, Ink

SHADES: dict[str, tuple[RGB, ...]] = {
    "black": ((44, 42, 50), (34, 36, 44)),
    "blue": ((72, 134, 202), (56, 106, 182), (96, 160, 220)),
    "brown": ((142, 96, 64), (122, 80, 52), (160, 112, 74)),
    "green": ((104, 164, 86), (76, 142, 90), (132, 178, 88)),
    "grey": ((142, 146, 152), (122, 126, 134), (164, 168, 174)),
    "orange": ((240, 144, 56), (230, 124, 44), (244, 158, 78)),
    "pink": ((242, 154, 178), (234, 130, 162), (248, 176, 192)),
    "purple": ((134, 94, 172), (114, 80, 160), (156, 116, 190)),
    "red": ((214, 66, 60), (194, 48, 52), (226, 82, 70)),
    "white": ((248, 246, 240), (242, 242, 238)),
    "yellow": ((250, 208, 84), (246, 194, 58), (252, 220, 116)),
}


def shade(name: str, color: RGB, light: float = 1.06, dark: float = 0.84) -> Ink:
    """Give an ink of the named color that is lit from above."""
    return Ink(name, _scale(color, light), _scale(color, dark))


def dim(ink: Ink, factor: float) -> Ink:
    """Give a darker (or lighter) ink that still bears the color's name."""
    return Ink(ink.name, _scale(ink.top, factor), _scale(ink.bottom, factor))


def flat(name: str, color: RGB) -> Ink:
    """Give an ink of the named color without a gradient."""
    return Ink(name, color, color)


def mix(rng: np.random.Generator, names: Sequence[str], contrast: float = 1.0) -> Ink:
    """Pick one of the named colors, in one of its shades, slightly varied."""
    name = names[int(rng.integers(len(names)))]
    shades = SHADES[name]
    base = shades[int(rng.integers(len(shades)))]
    varied = _scale(base, 1 + rng.uniform(-0.05, 0.05))
    return shade(name, varied, 1 + 0.06 * contrast, 1 - 0.16 * contrast)


def pair(rng: np.random.Generator, names: Sequence[str], others: Sequence[str]) -> tuple[Ink, Ink]:
    """Pick two inks of different color names."""
    first = mix(rng, names)
    return first, mix(rng, [name for name in others if name != first.name])


def _scale(color: RGB, factor: float) -> RGB:
    red, green, blue = (min(255, round(channel * factor)) for channel in color)
    return red, green, blue
