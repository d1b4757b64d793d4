"""The pictures and their labels on disk, in the Broden format."""

import csv
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import InputError
from .canvas import MASK_SIDE, SIDE, Tag
from .labels import CATEGORIES, NUMBERS, SYNONYMS, TEXTURES
from .scenes import SCENES, Painter, close_up

_FIELDS = (
    "image",
    "split",
    "ih",
    "iw",
    "sh",
    "sw",
    "color",
    "object",
    "part",
    "material",
    "scene",
    "texture",
)
# Category -> its layers of annotation, the dominant one first.
_LAYERS = {
    "color": ("color",),
    "object": ("object",),
    "part": ("part", "detail"),
    "material": ("material",),
    "texture": ("texture",),
}
# Textures that are a case of another one carry both labels.
_ALSO = {"wavy": "striped", "crosshatched": "grid"}
_SCENE_NAMES = tuple(SCENES)
_CLOSE_UPS = 3
_BLOCK = len(_SCENE_NAMES) + _CLOSE_UPS


def make_dataset(out: Path, images: int, seed: int = 0, progress: Callable[[int], None] | None = None) -> None:
    """Draw a dataset with exact labels of all six categories and write it to `out` in the Broden format.

    The same seed gives the same bytes, and picture `i` does not depend on how many follow it. As in a real
    Broden, not every picture is annotated for every category, a fifth of them are textures seen from near
    with no other label than texture and color, and a few scene cells hold 0, a label that was dropped.

    Args:
        out: The folder to make; it must not exist. It appears complete or not at all.
        images: How many pictures to draw.
        seed: Picks the pictures.
        progress: Called after each picture with the number of pictures done.
    """
    if images < 1:
        raise InputError(f"images: expected at least 1, found {images}")
    if seed < 0:
        raise InputError(f"seed: expected 0 or more, found {seed}")
    if out.exists():
        raise InputError(f"{out}: expected a folder that does not exist yet, found one that does")
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        (unfinished / "images" / "synth").mkdir(parents=True)
        statistics = _Statistics()
        rows = []
        for index in range(images):
            rows.append(_make_picture(unfinished / "images", index, seed, statistics))
            if progress is not None:
                progress(index + 1)
        _write_csv(unfinished / "index.csv", _FIELDS, rows)
        statistics.write(unfinished)
        unfinished.rename(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@dataclass
class _Statistics:
    """In how many pictures each label of each category is, and how much of them it covers."""

    frequency: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in CATEGORIES})
    pixels: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in CATEGORIES})

    def add(self, category: str, pixels: Mapping[str, int]) -> None:
        self.frequency[category].update(pixels.keys())
        self.pixels[category].update(pixels)

    def write(self, folder: Path) -> None:
        """Write `category.csv`, `label.csv` and `c_<category>.csv`, of the labels that occur."""
        categories = [name for name in CATEGORIES if self.frequency[name]]
        spans = []
        for category in categories:
            counts = self.frequency[category]
            numbers = [NUMBERS[name] for name in counts]
            spans.append((category, min(numbers), max(numbers), len(counts), counts.total()))
            ranked = sorted(counts, key=lambda name: (-counts[name], NUMBERS[name]))
            codes = [
                (code, NUMBERS[name], name, counts[name], _coverage(self.pixels[category][name]))
                for code, name in enumerate(ranked, 1)
            ]
            _write_csv(folder / f"c_{category}.csv", ("code", "number", "name", "frequency", "coverage"), codes)
        _write_csv(folder / "category.csv", ("name", "first", "last", "count", "frequency"), spans)
        present = {name for category in categories for name in self.frequency[category]}
        labels = [self._label(name, categories) for name in sorted(present, key=NUMBERS.__getitem__)]
        _write_csv(folder / "label.csv", ("number", "name", "category", "frequency", "coverage", "syns"), labels)

    def _label(self, name: str, categories: Sequence[str]) -> tuple[object, ...]:
        mine = [category for category in categories if self.frequency[category][name]]
        mine.sort(key=lambda category: -self.frequency[category][name])
        return (
            NUMBERS[name],
            name,
            ";".join(f"{category}({self.frequency[category][name]})" for category in mine),
            sum(self.frequency[category][name] for category in mine),
            _coverage(sum(self.pixels[category][name] for category in mine)),
            SYNONYMS.get(name, ""),
        )


def _make_picture(folder: Path, index: int, seed: int, statistics: _Statistics) -> list[object]:
    """Draw one picture, write its files, count its labels, and give its row of `index.csv`."""
    painter = Painter(np.random.default_rng((seed, 1, index)))
    stem = f"synth/{index:05d}"
    cells: dict[str, str] = {}
    block, kind = _kind(index, seed)
    if kind < len(_SCENE_NAMES):
        SCENES[_SCENE_NAMES[kind]](painter)
        # One scene of every block of pictures has lost its label.
        dropped = kind == (7 + 5 * block) % len(_SCENE_NAMES)
        whole = {} if dropped else {"scene": [f"{_SCENE_NAMES[kind]}-s"]}
        cells["scene"] = "0"
        unannotated = {"material"} if index % 7 == 3 else set()
    else:
        texture = TEXTURES[(_CLOSE_UPS * block + kind - len(_SCENE_NAMES)) % len(TEXTURES)]
        close_up(painter, texture)
        whole = {"texture": [texture, *([_ALSO[texture]] if texture in _ALSO else [])]}
        unannotated = {"texture"}
    if (index + index // 5) % 5 == 0:
        unannotated.add("color")
    for category, names in whole.items():
        statistics.add(category, dict.fromkeys(names, MASK_SIDE * MASK_SIDE))
        cells[category] = ";".join(str(NUMBERS[name]) for name in names)

    Image.fromarray(painter.canvas.picture()).save(folder / f"{stem}.jpg", quality=92, subsampling=0)
    ids, tags = painter.canvas.tags()
    pixels = np.bincount(ids.ravel(), minlength=len(tags))
    for category in _LAYERS:
        if category in unannotated:
            continue
        found: Counter[str] = Counter()
        for tag, count in zip(tags, pixels.tolist(), strict=True):
            if count:
                found.update(dict.fromkeys(_names(tag, category), count))
        if found:
            statistics.add(category, found)
            cells[category] = ";".join(_write_layers(folder, stem, category, ids, tags))
    split = "val" if index % 5 == 3 else "train"
    row: list[object] = [f"{stem}.jpg", split, SIDE, SIDE, MASK_SIDE, MASK_SIDE]
    return row + [cells.get(category, "") for category in _FIELDS[len(row) :]]


def _kind(index: int, seed: int) -> tuple[int, int]:
    """Give the picture's block and its kind in it: every kind occurs once a block, in an order of its own."""
    block, slot = divmod(index, _BLOCK)
    return block, int(np.random.default_rng((seed, 0, block)).permutation(_BLOCK)[slot])


def _names(tag: Tag, category: str) -> set[str]:
    return {name for layer in _LAYERS[category] if (name := getattr(tag, layer)) is not None}


def _write_layers(
    folder: Path,
    stem: str,
    category: str,
    ids: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
    tags: list[Tag],
) -> list[str]:
    """Write the category's label maps that are not empty, and give their paths."""
    paths = []
    for position, layer in enumerate(_LAYERS[category], 1):
        numbers = np.array([NUMBERS.get(getattr(tag, layer), 0) for tag in tags])
        labels = numbers[ids]
        if not labels.any():
            continue
        suffix = f"_{position}" if len(_LAYERS[category]) > 1 else ""
        paths.append(f"{stem}_{category}{suffix}.png")
        encoded = np.stack([labels % 256, labels // 256, np.zeros_like(labels)], axis=2)
        Image.fromarray(encoded.astype(np.uint8)).save(folder / paths[-1])
    return paths


def _coverage(pixels: int) -> str:
    return f"{pixels / (MASK_SIDE * MASK_SIDE):.12g}"


def _write_csv(path: Path, header: Iterable[object], rows: Iterable[Iterable[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
