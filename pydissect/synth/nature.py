"""Plants, animals and things of the sky: each draws itself about one unit high, standing at (0, 0)."""

from collections.abc import Callable

import numpy as np

from .canvas import Ink, Points
from .palette import dim, flat, shade
from .patterns import Pattern
from .pen import Pen, arc, bar, blob, polygon, puff, ribbon, star

_BLACK = shade("black", (46, 44, 54))
_WHITE = shade("white", (248, 247, 242), 1.0, 0.9)
_LEAF = shade("green", (92, 154, 82))


def _tree(pen: Pen) -> None:
    pen.shadow(0.42, 0.07)
    pen.fill(bar((0, 0), (0, 0.5), 0.11, 0.7), pen.mix("brown"), "trunk", "wood")
    crown, radius = pen.mix("green", "green", "green", "orange"), pen.among(0.3, 0.36)
    pen.fill(puff(pen.rng, 0, 0.66, radius, 0.34, 11), crown, "crown", "foliage")
    pen.fill(puff(pen.rng, -0.07, 0.74, radius * 0.66, 0.2, 9), dim(crown, 1.07), "crown", "foliage")
    if pen.chance(0.45):
        fruit = pen.mix("red", "yellow")
        for x, y in pen.rng.uniform(-0.22, 0.22, (8, 2)):
            pen.fill(arc(x, 0.66 + y, 0.036, 0.036), fruit, "crown", "foliage", "fruit")


def _pine(pen: Pen) -> None:
    pen.shadow(0.32, 0.06)
    pen.fill(bar((0, 0), (0, 0.25), 0.08), pen.mix("brown"), "trunk", "wood")
    green = shade("green", (58 + pen.count(0, 23), 120, 86))
    for tier in range(4):
        base, width = 0.12 + 0.19 * tier, 0.32 - 0.062 * tier
        crown = polygon((-width, base), (0, base - 0.03), (width, base), (0.0, base + 0.34))
        pen.fill(crown, dim(green, 0.88 + 0.07 * tier), "crown", "foliage")
        if pen.snowy:
            slope = polygon((-width * 0.62, base + 0.13), (-0.03, base + 0.16), (0, base + 0.34))
            pen.fill(slope, _WHITE, "crown", "snow")


def _palm(pen: Pen) -> None:
    pen.shadow(0.36, 0.06, 0.1)
    lean = pen.among(-0.14, 0.14)
    bark = pen.mix("brown")
    for step in range(6):
        low, high = step / 6, (step + 1) / 6
        foot, head = (lean * low**2, 0.72 * low), (lean * high**2, 0.72 * high)
        pen.fill(bar(foot, head, 0.078 - 0.006 * step, 0.8), bark, "trunk", "wood")
    green = pen.mix("green")
    for angle in (-28, 208, 12, 168, 50, 130, 90):
        turn = np.radians(angle + pen.among(-8, 8))
        along = np.linspace(0, 1, 9)
        spine = np.stack([np.cos(turn) * along, np.sin(turn) * along - 0.55 * along**2], axis=1) * 0.4
        breadth = 0.06 * np.sin(np.pi * along**0.6)[:, None]
        across = np.array([[-np.sin(turn), np.cos(turn)]])
        spine += [lean, 0.72]
        frond = np.concatenate([spine + breadth * across, (spine - breadth * across)[::-1]])
        pen.fill(frond, dim(green, pen.among(0.88, 1.06)), "frond", "foliage")
    for x in (-0.03, 0.04):
        pen.fill(arc(lean + x, 0.69, 0.036, 0.036), dim(bark, 0.8), "fruit", "wood")


def _cactus(pen: Pen) -> None:
    pen.shadow(0.3, 0.06)
    green = pen.mix("green")

    def limb(x: float, bottom: float, top: float, width: float, part: str) -> None:
        foot = polygon((x - width, bottom), (x + width, bottom))
        pen.fill(np.concatenate([foot, arc(x, top, width, width, 0, 180, 12)]), green, part)

    for side, bottom, top in ((-1, 0.38, 0.66), (1, 0.28, 0.52 + pen.among(0, 0.2))):
        pen.fill(bar((0, bottom), (side * 0.29, bottom), 0.12), green, "arm")
        limb(side * 0.25, bottom - 0.06, top, 0.064, "arm")
    limb(0, 0, 0.86, 0.1, "trunk")
    for x in (-0.04, 0.04):
        pen.fill(bar((x, 0.02), (x, 0.88), 0.014), dim(green, 0.82), "trunk")
    if pen.chance(0.7):
        pen.fill(star(0.0, 0.97, 0.1, 6, 0.5), pen.mix("pink", "red"), "flower")


def _bush(pen: Pen) -> None:
    pen.shadow(0.6, 0.14)
    pen.fill(puff(pen.rng, 0, 0.36, 0.6, 0.4, 13), pen.mix("green"), "crown", "foliage")


def _flower(pen: Pen) -> None:
    pen.fill(bar((0, 0), (0, 0.66), 0.06), _LEAF, "stem", "foliage")
    pen.fill(arc(0.12, 0.28, 0.13, 0.055), dim(_LEAF, 1.08), "leaf", "foliage")
    petal = pen.mix("red", "pink", "purple", "white", "yellow", "orange")
    for angle in range(15, 375, 60):
        x, y = 0.17 * np.cos(np.radians(angle)), 0.74 + 0.17 * np.sin(np.radians(angle))
        pen.fill(arc(x, y, 0.125, 0.125, points=18), petal, "petal")
    center = shade("orange", (236, 150, 54)) if petal.name == "yellow" else shade("yellow", (250, 206, 80))
    pen.fill(arc(0, 0.74, 0.1, 0.1, points=18), center, "center")


def _mushroom(pen: Pen) -> None:
    pen.shadow(0.5, 0.1)
    pen.fill(bar((0, 0), (0, 0.55), 0.28, 0.8), shade("white", (246, 238, 222)), "stem")
    cap = pen.mix("red", "red", "orange", "brown")
    pen.fill(arc(0, 0.42, 0.5, 0.52, 0, 180, 30), cap, "cap", pattern=Pattern("dotted", 0.3, 0.3), over=_WHITE)


def _rock(pen: Pen) -> None:
    pen.shadow(0.9, 0.2)
    outline = blob(pen.rng, 0, 0.3, 0.75, 0.5, 0.16)
    outline[:, 1] = np.maximum(outline[:, 1], 0)
    grey = pen.mix("grey")
    pen.fill(outline, grey, None, "stone")
    pen.fill(outline * [0.5, 0.45] + [-0.16, 0.32], dim(grey, 1.1), None, "stone")


def _sheep(pen: Pen) -> None:
    pen.shadow(0.62, 0.12)
    dark = pen.mix("black", "black", "brown")
    for x in (-0.3, -0.16, 0.18, 0.32):
        pen.fill(bar((x, 0), (x, 0.35), 0.075), dark, "leg")
    pen.fill(puff(pen.rng, 0, 0.52, 0.56, 0.36, 14), _WHITE, "body", "wool")
    pen.fill(arc(0.6, 0.66, 0.15, 0.19), dark, "head")
    pen.fill(arc(0.48, 0.76, 0.1, 0.05), dark, "head", None, "ear")
    pen.fill(arc(0.64, 0.7, 0.03, 0.03), _WHITE, "head", None, "eye")
    pen.fill(puff(pen.rng, 0.56, 0.82, 0.14, 0.09, 6), _WHITE, "head", "wool")


def _cat(pen: Pen) -> None:
    pen.shadow(0.45, 0.08)
    fur = pen.mix("orange", "grey", "black", "white", "brown")
    stripes = Pattern("striped", 0.16, 1.45, 0.2) if fur.name in ("orange", "brown", "grey") else None
    darker = dim(fur, 0.78)
    at = np.linspace(0, 1, 12)
    tail = np.stack([0.3 + 0.26 * np.sin(at * 2.4), 0.08 + 0.5 * at], axis=1)
    pen.fill(ribbon(tail, 0.045), fur, "tail")
    pen.fill(arc(0, 0.3, 0.29, 0.34), fur, "body", None, None, stripes, darker)
    for x in (-0.12, 0.12):
        pen.fill(arc(x, 0.04, 0.1, 0.06), fur, "leg")
        pen.fill(polygon((x * 2.1, 0.7), (x * 0.3, 0.86), (x * 1.9, 1.02)), fur, "ear")
    pen.fill(arc(0, 0.7, 0.27, 0.22), fur, "head")
    for x in (-0.11, 0.11):
        pen.fill(arc(x, 0.72, 0.055, 0.06), shade("green", (136, 190, 96)), "head", None, "eye")
        pen.fill(arc(x, 0.72, 0.02, 0.05), _BLACK, "head", None, "eye")
    pen.fill(polygon((-0.04, 0.64), (0.04, 0.64), (0, 0.6)), shade("pink", (240, 150, 170)), "head", None, "nose")


def _bird(pen: Pen) -> None:
    plumage = pen.mix("white", "black", "grey", "blue", "red")
    lift = pen.among(0.1, 0.35)
    pen.fill(polygon((-0.5, 0.02), (-0.15, 0.1), (-0.2, -0.06)), plumage, "tail")
    pen.fill(arc(0, 0, 0.3, 0.13), plumage, "body")
    pen.fill(arc(0.32, 0.08, 0.13, 0.12), plumage, "head")
    pen.fill(polygon((0.42, 0.11), (0.42, 0.03), (0.57, 0.05)), shade("orange", (240, 150, 50)), "beak")
    pen.fill(polygon((-0.14, 0.04), (0.16, 0.04), (-0.22, lift + 0.3)), dim(plumage, 0.88), "wing")
    pen.fill(arc(0.35, 0.11, 0.025, 0.025), _BLACK if plumage.name != "black" else _WHITE, "head", None, "eye")


def _fish(pen: Pen) -> None:
    skin = pen.mix("orange", "red", "yellow", "pink", "purple", "white")
    second = _WHITE if skin.name != "white" else shade("orange", (240, 140, 60))
    choice = pen.choose(("scaly", "striped", "dotted", None))
    pattern = Pattern(choice, {"scaly": 0.3, "striped": 0.42, "dotted": 0.24}[choice]) if choice else None
    over = second if choice == "striped" else dim(skin, 0.8)
    fin = dim(skin, 0.86)
    pen.fill(polygon((-0.5, 0), (-0.95, 0.36), (-0.82, 0), (-0.95, -0.36)), fin, "tail")
    pen.fill(polygon((-0.3, 0.26), (0.05, 0.58), (0.22, 0.3)), fin, "fin")
    pen.fill(polygon((-0.1, -0.3), (-0.22, -0.54), (0.16, -0.32)), fin, "fin")
    along = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    body = np.stack([0.62 * np.cos(along), 0.4 * np.sin(along) * (1 + 0.25 * np.cos(along))], axis=1)
    pen.fill(body, skin, "body", None, None, pattern, over)
    pen.fill(polygon((0.08, -0.02), (-0.2, 0.12), (-0.2, -0.2)), fin, "fin")
    pen.fill(arc(0.38, 0.1, 0.1, 0.1), flat("white", (250, 250, 246)), "body", None, "eye")
    pen.fill(arc(0.4, 0.1, 0.052, 0.052), _BLACK, "body", None, "eye")


def _jellyfish(pen: Pen) -> None:
    skin = pen.mix("pink", "purple", "white")
    at = np.linspace(0, 1, 14)
    for x in (-0.3, -0.15, 0, 0.15, 0.3):
        wave = x + 0.05 * np.sin(at * 9 + pen.among(0, 6))
        spine = np.stack([wave, 0.55 - at * pen.among(0.4, 0.6)], axis=1)
        pen.fill(ribbon(spine, 0.022), dim(skin, 0.9), "tentacle")
    pen.fill(arc(0, 0.52, 0.42, 0.44, 0, 180, 24), skin, "bell")
    pen.fill(arc(-0.12, 0.72, 0.12, 0.09), dim(skin, 1.12), "bell")


def _seaweed(pen: Pen) -> None:
    at = np.linspace(0, 1, 20)
    green = pen.mix("green")
    for blade in range(3):
        height, phase = pen.among(0.6, 1.0), pen.among(0, 6)
        x = 0.16 * (blade - 1) + 0.07 * np.sin(at * 9 + phase)
        spine = np.stack([x, at * height], axis=1)
        pen.fill(ribbon(spine, 0.05 * (1 - at) ** 0.5), dim(green, pen.among(0.8, 1.0)), None, "foliage")


def _coral(pen: Pen) -> None:
    skin = pen.mix("red", "pink", "orange", "purple")

    def branch(x: float, y: float, turn: float, length: float, width: float) -> None:
        tip = (x + length * np.cos(turn), y + length * np.sin(turn))
        pen.fill(bar((x, y), tip, width, 0.8), skin)
        pen.fill(arc(*tip, width * 0.42, width * 0.42, points=14), skin)
        if length > 0.17:
            for side in (-0.5, 0.5):
                branch(*tip, turn + side + pen.among(-0.15, 0.15), length * 0.68, width * 0.78)

    for turn in (1.0, 1.57, 2.14):
        branch(0, 0, turn, 0.36, 0.15)


def _starfish(pen: Pen) -> None:
    skin = pen.mix("orange", "red", "purple")
    turn = pen.among(0, 72)
    pen.fill(star(0, 0.1, 0.55, 5, 0.42, turn), skin, "arm")
    pen.fill(arc(0, 0.1, 0.2, 0.2), dim(skin, 1.1), "body")


def _sun(pen: Pen) -> None:
    at = pen.frame
    pen.canvas.glow(at.x, at.y, at.size * 2.4, at.size * 2.4, (255, 244, 206), 0.75)
    pen.fill(arc(0, 0, 0.5, 0.5, points=48), shade("yellow", (255, 224, 112), 1.02, 0.95))


def _moon(pen: Pen) -> None:
    at = pen.frame
    pen.canvas.glow(at.x, at.y, at.size * 2.2, at.size * 2.2, (190, 200, 240), 0.4)
    pale = shade("white", (244, 240, 224), 1.0, 0.94)
    if pen.chance(0.5):
        inner = arc(0.24, 0.04, 0.42, 0.44, 75, 285, 24)[::-1]
        pen.fill(np.concatenate([arc(0, 0, 0.5, 0.5, 58, 302, 40), inner]), pale)
        return
    pen.fill(arc(0, 0, 0.5, 0.5, points=48), pale)
    for x, y, radius in ((-0.15, 0.12, 0.11), (0.16, -0.06, 0.14), (-0.05, -0.25, 0.07)):
        pen.fill(arc(x, y, radius, radius, points=20), shade("grey", (206, 202, 196)))


def _star(pen: Pen) -> None:
    pen.fill(star(0, 0, 0.5, 4, 0.34), flat("white", (255, 250, 228)))


def _planet(pen: Pen) -> None:
    skin = pen.mix("orange", "red", "blue", "purple", "green", "pink", "yellow")
    banded = Pattern("striped", 0.3, 1.5, 0.1) if pen.chance(0.6) else None
    tilt = pen.among(0.1, 0.5)
    ring = _turn(arc(0, 0, 0.92, 0.24, 0, 180), tilt), _turn(arc(0, 0, 0.68, 0.13, 0, 180)[::-1], tilt)
    dust = shade("brown", (196, 160, 120)) if pen.chance(0.6) else None
    if dust:
        pen.fill(np.concatenate(ring), dust, "ring")
    pen.fill(arc(0, 0, 0.5, 0.5, points=48), skin, None, None, None, banded, dim(skin, 0.84))
    if dust:
        pen.fill(-np.concatenate(ring), dim(dust, 1.08), "ring")


def _cloud(pen: Pen) -> None:
    body = shade("grey", (96, 98, 122)) if pen.night else Ink("white", (255, 255, 252), (226, 232, 240))
    pieces = [
        (0.0, 0.3, 0.44, 0.34),
        (-0.5, 0.2, 0.34, 0.22),
        (0.5, 0.18, 0.36, 0.22),
        (0.2, 0.12, 0.8, 0.14),
    ]
    for x, y, rx, ry in pieces:
        outline = arc(x + pen.among(-0.06, 0.06), y, rx * pen.among(0.85, 1.15), ry)
        outline[:, 1] = np.maximum(outline[:, 1], 0.02)
        pen.fill(outline, body)


def _turn(points: Points, angle: float) -> Points:
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = points[:, 0], points[:, 1]
    return np.stack([cos * x - sin * y, sin * x + cos * y], axis=1)


NATURE: dict[str, Callable[[Pen], None]] = {
    "tree": _tree,
    "pine": _pine,
    "palm": _palm,
    "cactus": _cactus,
    "bush": _bush,
    "flower": _flower,
    "mushroom": _mushroom,
    "rock": _rock,
    "sheep": _sheep,
    "cat": _cat,
    "bird": _bird,
    "fish": _fish,
    "jellyfish": _jellyfish,
    "seaweed": _seaweed,
    "coral": _coral,
    "starfish": _starfish,
    "sun": _sun,
    "moon": _moon,
    "star": _star,
    "planet": _planet,
    "cloud": _cloud,
}
"""How to draw each of them."""
