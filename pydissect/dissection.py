"""What a dissection found, and its files."""

import csv
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import torch
from torch import Tensor

from .counts import Counts
from .errors import InputError
from .files import atomic_write
from .per_image import ImageCounts
from .scores import LayerSummary, UnitLabels, label_units, summarize
from .sources import ConceptName
from .top_images import TopImages

RUN_FORMAT = "pydissect.run"
RUN_VERSION = 1
_RUN_FILE = "run.json"


@dataclass(frozen=True, eq=False)
class LayerDissection:
    """One layer's result.

    Attributes:
        layer: dotted name of the module.
        map_size: ``(h, w)`` of its activation maps.
        thresholds: ``[U]`` fp32.
        counts: the integers behind the IoU.
        concept_images: ``[C]`` int64, images that carry each concept.
        concepts: names, in the order of the counters' last axis.
        union: ``"category"`` or ``"all"``: which unit area the IoU takes.
        iou_threshold: that makes a detector.
        top: the images that excite each unit most.
        per_image: the counts of each image, if they were asked for.
        image_name: of the image of a number.
    """

    layer: str
    map_size: tuple[int, int]
    thresholds: Tensor
    counts: Counts
    concept_images: Tensor
    concepts: tuple[ConceptName, ...]
    union: str
    iou_threshold: float
    top: TopImages
    per_image: ImageCounts | None = None
    image_name: Callable[[int], str] = str

    @cached_property
    def labels(self) -> UnitLabels:
        """The concept of each unit."""
        return label_units(self.counts.iou(self.union), self.counts.categories)

    @cached_property
    def summary(self) -> LayerSummary:
        """Detectors and unique detectors."""
        return summarize(self.labels, self.iou_threshold)

    def unit_rows(self) -> list[dict[str, Any]]:
        """The rows of ``units.csv``: one a unit, in their order."""
        labels, counts = self.labels, self.counts
        names = counts.categories.names
        rows = []
        for unit in range(len(labels.iou)):
            c = int(labels.concept[unit])
            concept = self.concepts[c] if c >= 0 else None
            row: dict[str, Any] = {
                "unit": unit,
                # The shortest text that reads back as the same float32.
                "threshold": str(self.thresholds[unit].numpy()),
                "label": concept.name if concept else "",
                "concept": concept.number if concept else "",
                "category": concept.category if concept else "",
                "iou": float(labels.iou[unit]),
                "intersection": int(counts.intersection[unit, c]) if concept else 0,
                "unit_area": self._unit_area(unit, c),
                "concept_area": int(counts.concept_area[c]) if concept else 0,
                "detector": bool(labels.iou[unit] > self.iou_threshold),
            }
            for k, name in enumerate(names):
                best = int(labels.category_concept[unit, k])
                row[f"{name}_label"] = self.concepts[best].name if best >= 0 else ""
                row[f"{name}_iou"] = float(labels.category_iou[unit, k])
            rows.append(row)
        return rows

    def _unit_area(self, unit: int, concept: int) -> int:
        if concept < 0 or self.union == "all":
            return int(self.counts.unit_area_all[unit])
        return int(self.counts.unit_area[unit, self.counts.categories.of_concept[concept]])

    def concept_rows(self) -> list[dict[str, Any]]:
        """The rows of ``concepts.csv``: one a concept, in the order of the counters' last axis."""
        labels = self.labels
        detectors = labels.concept[labels.iou > self.iou_threshold]
        units = torch.bincount(detectors, minlength=len(self.concepts))
        return [
            {
                "index": index,
                "concept": concept.number,
                "name": concept.name,
                "category": concept.category,
                "images": int(self.concept_images[index]),
                "pixels": int(self.counts.concept_area[index]),
                "units": int(units[index]),
            }
            for index, concept in enumerate(self.concepts)
        ]

    def top_image_rows(self) -> list[dict[str, Any]]:
        """The rows of ``top_images.csv``: for each unit its images by falling activation."""
        rows = []
        for unit, (values, images, places) in enumerate(
            zip(self.top.values, self.top.images.tolist(), self.top.places.tolist(), strict=True)
        ):
            ranked = zip(values.numpy(), images, places, strict=True)
            for rank, (value, image, place) in enumerate(ranked, start=1):
                if value == -np.inf:
                    break
                y, x = divmod(place, self.map_size[1])
                name = self.image_name(image)
                row = {
                    "unit": unit,
                    "rank": rank,
                    "image": image,
                    "name": name,
                    "activation": str(value),
                    "y": y,
                    "x": x,
                }
                rows.append(row)
        return rows

    def save(self, folder: Path) -> None:
        """Writes its tables and ``counts.safetensors`` into an existing folder."""
        columns = ["unit", "threshold", "label", "concept", "category", "iou", "intersection", "unit_area"]
        columns += ["concept_area", "detector"]
        columns += [f"{name}_{what}" for name in self.counts.categories.names for what in ("label", "iou")]
        _write_csv(folder / "units.csv", columns, self.unit_rows())
        columns = ["index", "concept", "name", "category", "images", "pixels", "units"]
        _write_csv(folder / "concepts.csv", columns, self.concept_rows())
        if self.top.values.shape[1]:
            columns = ["unit", "rank", "image", "name", "activation", "y", "x"]
            _write_csv(folder / "top_images.csv", columns, self.top_image_rows())
        if self.per_image is not None:
            self.per_image.save(folder, [concept.number for concept in self.concepts])
        self.save_counts(folder / "counts.safetensors")

    def save_counts(self, path: Path) -> None:
        """Writes ``counts.safetensors``: the integers, the thresholds, and the names of layer and concepts."""
        metadata = {
            "layer": self.layer,
            "concepts": json.dumps([[concept.number, concept.name, concept.category] for concept in self.concepts]),
        }
        self.counts.save(path, metadata, thresholds=self.thresholds)


@dataclass(frozen=True, eq=False)
class Dissection:
    """The result of :func:`pydissect.dissect`: a mapping from each layer's name to its result.

    Attributes:
        layers: in the order asked for.
        run: facts of the run, as ``run.json`` keeps them: arguments, versions, backend, timings.
    """

    layers: Mapping[str, LayerDissection]
    run: Mapping[str, Any]

    def __getitem__(self, layer: str) -> LayerDissection:
        return self.layers[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def save(self, folder: str | Path, overwrite: bool = False) -> None:
        """Writes all files of the dissection; they appear together, when the last is complete.

        Args:
            folder: to make; with ``overwrite``, one that a dissection made before is replaced.
            overwrite: as said.

        Raises:
            InputError: see :func:`check_output`.
        """
        with output_folder(Path(folder), overwrite) as part:
            for name, layer in self.layers.items():
                target = part / "layers" / quote(name, safe="")
                target.mkdir(parents=True)
                layer.save(target)
            text = json.dumps({"format": RUN_FORMAT, "version": RUN_VERSION, **self.run}, indent=2)
            with atomic_write(part / _RUN_FILE) as file:
                file.write((text + "\n").encode())


def check_output(folder: Path, overwrite: bool) -> None:
    """Checks, before any work, that a dissection may be written to ``folder``.

    Raises:
        InputError: it exists and ``overwrite`` is not set, or it holds something other than a dissection.
    """
    if not (folder.exists() or folder.is_symlink()):
        parent = next(parent for parent in folder.absolute().parents if parent.exists())
        if not (parent.is_dir() and os.access(parent, os.W_OK)):
            raise InputError(f"out: {folder} cannot be made: {parent} is not a folder that can be written")
        return
    if not folder.is_dir() or folder.is_symlink():
        raise InputError(f"out: expected a folder or nothing at {folder}, found a file or a link")
    empty = not any(folder.iterdir())
    if not overwrite:
        raise InputError(f"out: folder {folder} exists; overwrite (--overwrite) replaces it")
    if overwrite and not empty and not (folder / _RUN_FILE).is_file():
        raise InputError(
            f"out: folder {folder} holds no {_RUN_FILE}, so it is not the result of a dissection; it is not replaced"
        )


@contextmanager
def output_folder(folder: Path, overwrite: bool) -> Iterator[Path]:
    """A new folder to fill, put in the place of ``folder`` when the block ends well, else removed.

    Raises:
        InputError: see :func:`check_output`.
    """
    check_output(folder, overwrite)
    folder = folder.absolute()
    missing = [parent for parent in folder.parents if not parent.exists()]
    part = old = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".part"))
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o777 & ~umask)
        yield part
        check_output(folder, overwrite)
        if folder.exists():
            old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".old"))
            folder.replace(old)
        part.replace(folder)
    except BaseException as error:
        if old is not None and not folder.exists():
            old.replace(folder)
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)
        for parent in missing:
            # One that others have begun to use stays.
            with suppress(OSError):
                parent.rmdir()
        if isinstance(error, OSError) and (part is None or str(error.filename or part).startswith(str(part))):
            # The name that the user knows.
            error.filename = str(folder)
        raise
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())
