"""A tiny dataset in Broden's format, to be changed in one place and written."""

import csv
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

Table = list[dict[str, str]]
SH, SW, IH, IW = 4, 6, 8, 12
COLUMNS = ("image", "split", "ih", "iw", "sh", "sw", "object", "part", "scene", "color", "note")


def encode(labels: np.ndarray) -> np.ndarray:
    """Label numbers `[h, w]` as the RGB of a label PNG."""
    labels = np.asarray(labels, np.uint16)
    return np.stack([labels % 256, labels // 256, np.zeros_like(labels)], axis=-1).astype(np.uint8)


def block(number: int, rows: slice = slice(None), columns: slice = slice(None)) -> np.ndarray:
    """A label map of sh x sw that holds one number in a rectangle, 0 elsewhere."""
    labels = np.zeros((SH, SW), np.uint16)
    labels[rows, columns] = number
    return labels


def _row(name: str, split: str, **cells: str) -> dict[str, str]:
    sizes = {"ih": str(IH), "iw": str(IW), "sh": str(SH), "sw": str(SW)}
    return {"image": f"a/{name}.png", "split": split, **sizes, **cells}


@dataclass
class BrodenBuilder:
    """The tables and pictures of a dataset; a test changes one thing, then writes it.

    Three photos: one with labels in every category (two layers in `part`), one with a whole-image label only,
    one with nothing. Labels 1 dog, 2 leg (part and object), 300 red, 7 street, 9 unused.
    """

    folder: Path
    header: list[str] = field(default_factory=lambda: list(COLUMNS))
    index: Table = field(
        default_factory=lambda: [
            _row("x", "train", object="a/x_o.png", part="a/x_p1.png;a/x_p2.png", scene="7", color="a/x_c.png"),
            _row("y", "val", scene="7;0"),
            _row("z", "train", object="0"),
        ]
    )
    labels: Table = field(
        default_factory=lambda: [
            {"number": "7", "name": "street", "category": "scene(2)", "frequency": "2"},
            {"number": "1", "name": "dog", "category": "object(1)", "frequency": "1"},
            {"number": "2", "name": "leg", "category": "object(1);part(3)", "frequency": "4"},
            {"number": "300", "name": "red, bright", "category": "color(1)", "frequency": "1"},
            {"number": "9", "name": "unused", "category": "part", "frequency": "0"},
        ]
    )
    categories: Table = field(
        default_factory=lambda: [
            {"name": "object", "first": "1", "last": "2", "count": "2", "frequency": "2"},
            {"name": "part", "first": "2", "last": "9", "count": "2", "frequency": "3"},
            {"name": "scene", "first": "7", "last": "7", "count": "1", "frequency": "2"},
            {"name": "color", "first": "300", "last": "300", "count": "1", "frequency": "1"},
        ]
    )
    coverage: dict[str, Table] = field(
        default_factory=lambda: {
            "object": [
                {"code": "1", "number": "1", "name": "dog", "frequency": "1", "coverage": "0.5"},
                {"code": "2", "number": "2", "name": "leg", "frequency": "1", "coverage": "0.125"},
            ],
            "part": [
                {"code": "1", "number": "2", "name": "leg", "frequency": "3", "coverage": "0.25"},
                {"code": "2", "number": "9", "name": "unused", "frequency": "0", "coverage": "0"},
            ],
            "scene": [{"code": "1", "number": "7", "name": "street", "frequency": "2", "coverage": "2.0"}],
        }
    )
    photos: dict[str, Image.Image] = field(default_factory=lambda: {name: photo(name) for name in "xyz"})
    maps: dict[str, Image.Image] = field(
        default_factory=lambda: {
            "x_o": Image.fromarray(encode(block(1, slice(0, 2)))),
            "x_p1": Image.fromarray(encode(block(2, slice(0, 1)))),
            "x_p2": Image.fromarray(encode(block(2, slice(0, 2), slice(0, 3)))),
            "x_c": Image.fromarray(encode(block(300, columns=slice(2, 4)))),
        }
    )
    newline: str = "\r\n"
    encoding: str = "utf-8"

    @property
    def pictures(self) -> Path:
        return self.folder / "images" / "a"

    def write(self) -> Path:
        self.pictures.mkdir(parents=True, exist_ok=True)
        self.table("index", self.index, self.header)
        self.table("label", self.labels)
        self.table("category", self.categories)
        for category, rows in self.coverage.items():
            self.table(f"c_{category}", rows)
        for name, picture in {**self.photos, **self.maps}.items():
            picture.save(self.pictures / f"{name}.png")
        return self.folder

    def table(self, name: str, rows: Table, header: list[str] | None = None) -> None:
        path = self.folder / f"{name}.csv"
        with path.open("w", newline="", encoding=self.encoding) as file:
            columns = header or list(rows[0])
            writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator=self.newline)
            writer.writeheader()
            writer.writerows(rows)


def photo(seed: str, size: tuple[int, int] = (IH, IW)) -> Image.Image:
    """An RGB photo of noise, (height, width) as given."""
    rng = np.random.default_rng(ord(seed))
    return Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8))
