"""A picture that knows what each of its pixels is: shapes are drawn into it together with their labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from .patterns import Pattern

SIDE = 224
MASK_SIDE = 112
OVERSAMPLING = 3

_FULL = SIDE * OVERSAMPLING
_STEP = _FULL // MASK_SIDE
# A gradient on a shape of this size (in oversampled pixels) would not be seen.
_FLAT = 12

Points = npt.NDArray[np.float64]
RGB = tuple[int, int, int]


class Tag(NamedTuple):
    """The labels of a region, by layer of annotation; `detail` is a part of the part."""

    object: str | None = None
    part: str | None = None
    detail: str | None = None
    material: str | None = None
    texture: str | None = None
    color: str | None = None


class Ink(NamedTuple):
    """One of the basic colors by name, and its shade at the top and the bottom of a shape."""

    name: str
    top: RGB
    bottom: RGB


@dataclass(frozen=True)
class Frame:
    """Where a thing stands: its own coordinates have y upwards from its foot and its size as the unit."""

    x: float
    y: float
    size: float
    flip: bool = False
    angle: float = 0.0

    def place(self, points: Points) -> Points:
        """Give the points' coordinates in the picture."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        x = -points[:, 0] if self.flip else points[:, 0]
        y = points[:, 1]
        return np.stack([self.x + self.size * (cos * x - sin * y), self.y - self.size * (sin * x + cos * y)], axis=1)


class Canvas:
    """A picture and, pixel by pixel, the tag of the shape drawn there last."""

    def __init__(self) -> None:
        self._picture = Image.new("RGB", (_FULL, _FULL))
        self._ids = Image.new("L", (_FULL, _FULL))
        self._on_picture = ImageDraw.Draw(self._picture)
        self._on_ids = ImageDraw.Draw(self._ids)
        self._tags: dict[Tag, int] = {Tag(): 0}

    def fill(self, points: Points, ink: Ink, tag: Tag, pattern: Pattern | None = None, over: Ink | None = None) -> None:
        """Fill a polygon (pixels of the picture); a pattern is drawn on it in the ink `over`."""
        outline = points * OVERSAMPLING
        low = np.maximum(np.floor(outline.min(axis=0)), 0).astype(int)
        high = np.minimum(np.ceil(outline.max(axis=0)) + 1, _FULL).astype(int)
        width, height = (int(side) for side in high - low)
        if width <= 0 or height <= 0:
            return
        if pattern is None and (ink.top == ink.bottom or min(width, height) <= _FLAT):
            flat = [(float(x), float(y)) for x, y in outline]
            self._on_picture.polygon(flat, fill=ink.top)
            self._on_ids.polygon(flat, fill=self._id(tag, ink))
            return
        stencil = Image.new("L", (width, height))
        ImageDraw.Draw(stencil).polygon([(float(x), float(y)) for x, y in outline - low], fill=255)
        corner = (int(low[0]), int(low[1]))
        self._paste(stencil, corner, ink, tag)
        if pattern is not None and over is not None:
            # Anchored at the shape, not at the visible part of it, so that cropping moves no stripe.
            origin = (outline.min(axis=0) + outline.max(axis=0)) / 2 - low
            drawn = pattern.draw(width, height, (float(origin[0]), float(origin[1])), OVERSAMPLING)
            drawn &= np.asarray(stencil) > 0
            self._paste(Image.fromarray(drawn.astype(np.uint8) * 255), corner, over, tag)

    def band(self, top: float, bottom: float, stops: Sequence[Ink], tag: Tag) -> None:
        """Fill the picture's rows from top to bottom with a gradient through the stops' colors."""
        first, last = round(top * OVERSAMPLING), round(bottom * OVERSAMPLING)
        at = np.linspace(0, len(stops) - 1, last - first)
        shades = np.array([stop.top for stop in stops], np.float64)
        rows = np.stack([np.interp(at, np.arange(len(stops)), channel) for channel in shades.T], axis=1)
        column = Image.fromarray(rows.round().astype(np.uint8)[:, None])
        self._picture.paste(column.resize((_FULL, last - first), Image.Resampling.NEAREST), (0, first))
        nearest = at.round().astype(int)
        for index, stop in enumerate(stops):
            rows_of = np.flatnonzero(nearest == index)
            if rows_of.size:
                box = (0, first + int(rows_of[0]), _FULL, first + int(rows_of[-1]))
                self._on_ids.rectangle(box, fill=self._id(tag, stop))

    def glow(self, x: float, y: float, rx: float, ry: float, color: RGB, strength: float) -> None:
        """Lay a soft-edged ellipse of light or shadow over the picture; the labels stay as they are."""
        width, height = round(2 * rx * OVERSAMPLING), round(2 * ry * OVERSAMPLING)
        if width < 2 or height < 2:
            return
        stencil = _SOFT.resize((width, height), Image.Resampling.BILINEAR).point(
            [round(level * strength) for level in range(256)]
        )
        self._picture.paste(color, (round((x - rx) * OVERSAMPLING), round((y - ry) * OVERSAMPLING)), stencil)

    def picture(self) -> npt.NDArray[np.uint8]:
        """Give the antialiased picture, [SIDE, SIDE, 3]."""
        return np.asarray(self._picture.reduce(OVERSAMPLING))

    def tags(self) -> tuple[npt.NDArray[np.uint8], list[Tag]]:
        """Give the number of the tag at the centre of each mask pixel, and the tags by number."""
        ids = np.asarray(self._ids)[_STEP // 2 :: _STEP, _STEP // 2 :: _STEP]
        return ids, list(self._tags)

    def _id(self, tag: Tag, ink: Ink) -> int:
        return self._tags.setdefault(tag._replace(color=f"{ink.name}-c"), len(self._tags))

    def _paste(self, stencil: Image.Image, corner: tuple[int, int], ink: Ink, tag: Tag) -> None:
        shades = Image.new("RGB", (1, 2), ink.top)
        shades.putpixel((0, 1), ink.bottom)
        # The box starts and ends at pixel centres: a ramp from the first shade to the second, no plateaus.
        ramp = shades.resize((1, stencil.height), Image.Resampling.BILINEAR, box=(0, 0.5, 1, 1.5))
        self._picture.paste(ramp.resize(stencil.size, Image.Resampling.NEAREST), corner, stencil)
        self._ids.paste(self._id(tag, ink), corner, stencil)


def _soft_disc(side: int = 96) -> Image.Image:
    offset = (np.arange(side) + 0.5) / side * 2 - 1
    falloff = np.clip(1 - np.hypot(offset[:, None], offset), 0, 1)
    return Image.fromarray((255 * falloff**2 * (3 - 2 * falloff)).astype(np.uint8))


_SOFT = _soft_disc()
