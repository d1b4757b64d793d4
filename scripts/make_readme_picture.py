"""Draws ``docs/units.png``: the best units of the demo network, each on the pictures that excite it most.

python scripts/make_readme_picture.py --data demo/data --results demo/trained --layer layer6
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from pydissect import Broden, reference
from pydissect.capture import LayerCapture
from pydissect.demo import trained
from pydissect.normalize import Normalization

SIDE, GAP, CAPTION, PICTURES, COLUMNS = 160, 6, 30, 3, 2
DIMMED = 0.25


def choose(rows: list[dict[str, str]], count: int) -> list[dict[str, str]]:
    """The units of the largest IoU, one a label."""
    best: dict[str, dict[str, str]] = {}
    for row in sorted(rows, key=lambda row: -float(row["iou"])):
        best.setdefault(row["label"], row)
    return list(best.values())[:count]


def main() -> None:
    """Draws the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--layer", required=True)
    parser.add_argument("--out", type=Path, default=Path("docs/units.png"))
    parser.add_argument("--units", type=int, default=8)
    arguments = parser.parse_args()

    data = Broden(arguments.data)
    pictures = np.stack([data.read_image(i) for i in range(len(data))])
    images = Normalization.parse("imagenet")(torch.from_numpy(pictures).permute(0, 3, 1, 2))
    with LayerCapture(trained(), [arguments.layer], images[:1]) as capture:
        acts = torch.cat([capture(batch)[arguments.layer] for batch in images.split(32)])
    with (arguments.results / "layers" / arguments.layer / "units.csv").open(newline="") as file:
        units = choose(list(csv.DictReader(file)), arguments.units)

    font = ImageFont.load_default(size=16)
    block_width = PICTURES * (SIDE + GAP) + 3 * GAP
    block_height = SIDE + CAPTION + 2 * GAP
    rows = -(-len(units) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * block_width + GAP, rows * block_height + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for i, unit in enumerate(units):
        left, top = GAP + i % COLUMNS * block_width, GAP + i // COLUMNS * block_height
        text = f"unit {unit['unit']}   {unit['label']} ({unit['category']})   IoU {float(unit['iou']):.2f}"
        draw.text((left, top + 5), text, fill="black", font=font)
        maps = acts[:, int(unit["unit"])]
        for place, n in enumerate(maps.amax((1, 2)).topk(PICTURES).indices.tolist()):
            on = reference.upsample(maps[n][None], pictures.shape[1:3])[0] > float(unit["threshold"])
            shown = np.where(on.numpy()[..., None], pictures[n], pictures[n] * DIMMED + 255 * (1 - DIMMED) * 0.75)
            picture = Image.fromarray(shown.astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            sheet.paste(picture, (left + place * (SIDE + GAP), top + CAPTION))
    sheet.save(arguments.out, optimize=True)


if __name__ == "__main__":
    main()
