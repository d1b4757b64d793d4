"""Drawing one thing: outlines in the thing's own coordinates, filled under the thing's own label."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from . import palette
from .canvas import Canvas, Frame, Ink, Points, Tag
from .dice import Dice
from .patterns import Pattern


@dataclass(frozen=True)
class Pen(Dice):
    """Draws the parts of one object in its frame."""

    canvas: Canvas
    rng: np.random.Generator
    object: str
    frame: Frame
    night: bool = False
    snowy: bool = False

    def fill(
        self,
        points: Points,
        ink: Ink,
        part: str | None = None,
        material: str | None = None,
        detail: str | None = None,
        pattern: Pattern | None = None,
        over: Ink | None = None,
    ) -> None:
        """Fill an outline given in the thing's coordinates; the pattern's period is in them too."""
        tag = Tag(self.object, part, detail, material, pattern.name if pattern else None)
        if pattern is not None:
            pattern = Pattern(
                pattern.name,
                max(pattern.period * self.frame.size, 3.0),
                pattern.angle - self.frame.angle,
                pattern.sway,
            )
        self.canvas.fill(self.frame.place(points), ink, tag, pattern, over)

    def shadow(self, rx: float = 0.5, ry: float = 0.1, x: float = 0.0, strength: float = 0.32) -> None:
        """Lay a soft shadow on the ground at the thing's foot."""
        at = self.frame
        self.canvas.glow(at.x + x * at.size, at.y, rx * at.size, ry * at.size, (20, 24, 50), strength)

    def mix(self, *names: str) -> Ink:
        """Pick one of the named colors."""
        return palette.mix(self.rng, names)


def polygon(*points: tuple[float, float]) -> Points:
    """Make an outline from its corners."""
    return np.array(points, np.float64)


def rectangle(left: float, bottom: float, right: float, top: float) -> Points:
    """Make an upright rectangle."""
    return polygon((left, bottom), (right, bottom), (right, top), (left, top))


def bar(start: tuple[float, float], end: tuple[float, float], width: float, taper: float = 1.0) -> Points:
    """Make a straight stroke, `taper` times as wide at its end."""
    a, b = np.array(start), np.array(end)
    along = (b - a) / max(float(np.hypot(*(b - a))), 1e-9)
    side = np.array([-along[1], along[0]]) * width / 2
    return np.array([a - side, b - side * taper, b + side * taper, a + side])


def ribbon(spine: Points, breadth: float | npt.NDArray[np.float64]) -> Points:
    """Make an upright strand along the points of a line, as far to both sides as the breadth tells."""
    x, y = spine[:, 0], spine[:, 1]
    left, right = np.stack([x - breadth, y], axis=1), np.stack([x + breadth, y], axis=1)
    return np.concatenate([left, right[::-1]])


def arc(x: float, y: float, rx: float, ry: float, start: float = 0.0, end: float = 360.0, points: int = 36) -> Points:
    """Make an ellipse, or the piece of one between two angles in degrees."""
    at = np.radians(np.linspace(start, end, points, endpoint=end - start < 360))
    return np.stack([x + rx * np.cos(at), y + ry * np.sin(at)], axis=1)


def blob(rng: np.random.Generator, x: float, y: float, rx: float, ry: float, rough: float = 0.1) -> Points:
    """Make an ellipse with a softly irregular rim."""
    at = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    rim = np.ones_like(at)
    for wave in (2, 3, 5, 7):
        rim += rough / wave**0.5 * rng.uniform(-1, 1) * np.cos(wave * at + rng.uniform(0, 2 * np.pi))
    return np.stack([x + rx * rim * np.cos(at), y + ry * rim * np.sin(at)], axis=1)


def puff(rng: np.random.Generator, x: float, y: float, rx: float, ry: float, lobes: int = 9) -> Points:
    """Make the scalloped outline of a tree's crown or a cloud."""
    at = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    rim = 0.84 + 0.16 * np.abs(np.sin(at * lobes / 2 + rng.uniform(0, np.pi)))
    rim *= 1 + 0.06 * np.cos(2 * at + rng.uniform(0, 2 * np.pi))
    return np.stack([x + rx * rim * np.cos(at), y + ry * rim * np.sin(at)], axis=1)


def star(x: float, y: float, radius: float, tips: int = 5, inner: float = 0.45, turn: float = 90.0) -> Points:
    """Make a star with the given number of tips."""
    at = np.radians(turn + np.arange(2 * tips) * 180 / tips)
    reach = np.where(np.arange(2 * tips) % 2 == 0, radius, radius * inner)
    return np.stack([x + reach * np.cos(at), y + reach * np.sin(at)], axis=1)


def ridge(
    rng: np.random.Generator,
    level: float,
    height: float,
    bottom: float,
    waves: Sequence[float] = (1, 2.3, 4.1),
) -> Points:
    """Make a hilly skyline across the whole picture, in pixels, closed along `bottom`."""
    x = np.linspace(-2, 226, 77)
    y = np.full_like(x, level)
    for wave in waves:
        y -= height / len(waves) * np.sin(x / 224 * 2 * np.pi * wave * 0.6 + rng.uniform(0, 2 * np.pi)) / wave**0.4
    return np.concatenate([np.stack([x, y], axis=1), polygon((226, bottom), (-2, bottom))])
