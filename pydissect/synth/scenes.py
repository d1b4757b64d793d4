"""Whole pictures: a backdrop, and things standing in it from far to near."""

from collections.abc import Callable, Sequence

import numpy as np

from . import palette
from .canvas import RGB, SIDE, Canvas, Frame, Ink, Points, Tag
from .dice import Dice
from .labels import COLORS
from .made import MADE
from .nature import NATURE
from .palette import dim, flat, shade
from .patterns import Pattern
from .pen import Pen, polygon, rectangle, ridge

_THINGS = NATURE | MADE
_LABELS = {"floor lamp": "lamp"}
# Among things of one height in the foreground, these are small.
_RELATIVE = {"rock": 0.45, "ball": 0.42, "starfish": 0.5, "bush": 0.7, "flower": 0.9, "towel": 0.85}

_SKIES: dict[str, tuple[Ink, ...]] = {
    "day": (flat("blue", (104, 172, 226)), flat("blue", (196, 226, 240))),
    "clear": (flat("blue", (70, 140, 210)), flat("blue", (170, 214, 240))),
    "dusk": (
        flat("purple", (112, 90, 160)),
        flat("pink", (236, 144, 164)),
        flat("orange", (250, 182, 112)),
        flat("yellow", (252, 222, 140)),
    ),
    "dawn": (flat("pink", (240, 176, 190)), flat("yellow", (252, 226, 168))),
    "overcast": (flat("grey", (158, 168, 178)), flat("grey", (204, 210, 214))),
    "night": (flat("black", (20, 24, 48)), flat("black", (40, 44, 84)), flat("purple", (84, 70, 122))),
}

_WATERS: tuple[tuple[RGB, RGB], ...] = (
    ((44, 116, 172), (112, 182, 212)),
    ((40, 128, 168), (126, 200, 210)),
    ((36, 92, 150), (96, 152, 196)),
)


class Painter(Dice):
    """One picture in the making."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.canvas = Canvas()
        self.rng = rng
        self.night = False
        self.snowy = False

    def place(self, thing: str, x: float, y: float, size: float, angle: float = 0.0) -> None:
        """Draw a thing that stands at (x, y), in pixels, mirrored by chance."""
        frame = Frame(x, y, size, self.chance(0.5), angle)
        label = _LABELS.get(thing, thing)
        _THINGS[thing](Pen(self.canvas, self.rng, label, frame, self.night, self.snowy))

    def scatter(self, things: Sequence[str], count: int, rows: tuple[float, float], sizes: tuple[float, float]) -> None:
        """Place things of the list between two rows, the far ones (higher up) smaller, far to near."""
        columns = (np.arange(count) + self.rng.uniform(0.1, 0.9, count)) / max(count, 1) * SIDE
        depths = np.sort(self.rng.uniform(0, 1, count))
        self.rng.shuffle(columns)
        for x, depth in zip(columns, depths, strict=True):
            y, size = (float(far + depth * (near - far)) for far, near in (rows, sizes))
            thing = self.choose(things)
            self.place(thing, float(x), y, size * _RELATIVE.get(thing, 1.0) * self.among(0.85, 1.15))

    def sky(self, mood: str, horizon: float) -> None:
        """Fill the sky down to the horizon, with what belongs in it."""
        self.night = mood == "night"
        self.canvas.band(0, horizon, _SKIES[mood], Tag("sky"))
        if self.night:
            for x, y in self.rng.uniform(0, 1, (14, 2)):
                self.place("star", x * SIDE, y * horizon * 0.75, self.among(3, 8))
        if self.night or (mood == "dusk" and self.chance(0.3)):
            self.place("moon", self.among(30, 194), self.among(24, 44), self.among(20, 32))
        elif mood in ("day", "clear", "dawn", "dusk") and self.chance(0.6):
            heights = (0.55, 0.85) if mood in ("dusk", "dawn") else (0.2, 0.4)
            self.place("sun", self.among(24, 200), horizon * self.among(*heights), self.among(20, 30))
        if mood in ("day", "overcast", "dawn") or self.chance(0.25):
            for _ in range(self.count(1, 3)):
                self.place("cloud", self.among(0, SIDE), horizon * self.among(0.15, 0.6), self.among(18, 36))

    def flyers(self, things: Sequence[str], horizon: float) -> None:
        """Let some of the things fly in the sky."""
        for thing in things:
            if thing == "balloon":
                size = self.among(44, 86)
                self.place(thing, self.among(24, 200), max(size * 1.05, horizon * self.among(0.7, 0.95)), size)
            else:
                for _ in range(self.count(1, 3)):
                    self.place(thing, self.among(10, 214), horizon * self.among(0.15, 0.7), self.among(13, 24))

    def mountains(self, horizon: float, tints: Sequence[str], snow: bool = True) -> None:
        """Draw one or two mountain ranges, the highest with snow on their peaks if there is any."""
        for layer in range(self.count(1, 2)):
            rock = dim(palette.mix(self.rng, tints, 0.6), 1.12 - 0.12 * layer)
            x = self.among(-40, 10)
            while x < SIDE + 20:
                half, top = self.among(34, 62), horizon - self.among(34, 72) / (1 + 0.5 * layer)
                self.canvas.fill(_triangle(x, top, half, horizon + 2), rock, Tag("mountain", material="stone"))
                if snow and layer == 0 and horizon - top > 44:
                    cap = _triangle(x, top, half * 0.3, top + 0.3 * (horizon + 2 - top))
                    cap = np.insert(cap, 2, [[x + half * 0.1, top + 0.22 * (horizon - top)]], axis=0)
                    self.canvas.fill(cap, flat("white", (246, 248, 252)), Tag("mountain", "peak", None, "snow"))
                x += half * self.among(0.9, 1.5)

    def hills(self, horizon: float, ink: Ink, tag: Tag, layers: int = 3) -> None:
        """Draw rolling ground from the horizon to the bottom, hazier far away."""
        for layer in range(layers):
            level = horizon + layer * (SIDE - horizon) * 0.24
            haze = 1.16 - 0.1 * layer
            label = tag._replace(object="hill") if layer == 0 and layers > 1 and tag.object == "grass" else tag
            self.canvas.fill(ridge(self.rng, level, 9 - 2 * layer, SIDE + 2), dim(ink, haze), label)

    def sea(self, horizon: float, bottom: float) -> None:
        """Draw water with light on its waves."""
        light = 0.55 if self.night else 1.0
        near, far = (dim(flat("blue", color), light) for color in self.choose(_WATERS))
        self.canvas.band(horizon, bottom, (far, near), Tag("sea", material="water"))
        for _ in range(26):
            y = self.among(horizon + 3, bottom - 2)
            reach = 3 + 11 * (y - horizon) / (bottom - horizon + 1)
            x = self.among(0, SIDE)
            crest = dim(flat("blue", (168, 212, 236)), light)
            self.canvas.fill(rectangle(x - reach, y, x + reach, y + 0.9), crest, Tag("sea", material="water"))


def _meadow(p: Painter) -> None:
    horizon = p.among(92, 124)
    p.sky(p.choose(("day", "clear", "dusk", "dawn")), horizon + 12)
    if p.chance(0.5):
        p.mountains(horizon + 6, ("blue", "purple", "grey"))
    p.flyers([thing for thing in ("balloon", "balloon", "bird") if p.chance(0.45)], horizon)
    p.hills(horizon, palette.mix(p.rng, ("green",)), Tag("grass", material="foliage"))
    p.scatter(("tree", "tree", "bush"), 3, (horizon + 14, horizon + 44), (34, 62))
    if p.chance(0.4):
        p.place("windmill", p.among(40, 184), horizon + 18, p.among(60, 80))
    if p.chance(0.5):
        p.place("fence", p.among(40, 184), p.among(164, 184), p.among(20, 28))
    p.scatter(("sheep", "sheep", "bush", "rock"), p.count(1, 3), (160, 196), (24, 38))
    p.scatter(("flower",), p.count(4, 9), (184, 220), (24, 44))


def _village(p: Painter) -> None:
    horizon = p.among(96, 120)
    p.sky(p.choose(("day", "clear", "dusk", "overcast", "night")), horizon + 12)
    p.flyers([thing for thing in ("balloon", "bird") if p.chance(0.35)], horizon)
    ground = dim(palette.mix(p.rng, ("green",)), 0.62 if p.night else 1.0)
    p.hills(horizon, ground, Tag("grass", material="foliage"))
    p.scatter(("tree", "pine", "tree"), 3, (horizon + 10, horizon + 26), (36, 54))
    p.scatter(("house",), p.count(2, 3), (150, 178), (50, 74))
    p.place(p.choose(("tree", "bush")), p.among(10, 214), 196, p.among(30, 60))
    if p.chance(0.5):
        p.place("fence", p.among(30, 194), p.among(204, 214), p.among(22, 30))
    p.scatter(("flower", "bush", "mushroom"), p.count(1, 4), (196, 220), (18, 30))


def _beach(p: Painter) -> None:
    horizon = p.among(76, 100)
    p.sky(p.choose(("clear", "day", "dusk")), horizon)
    p.flyers([thing for thing in ("bird", "balloon") if p.chance(0.4)], horizon)
    shore = horizon + p.among(28, 46)
    p.sea(horizon, shore + 10)
    p.scatter(("boat",), p.count(0, 2), (horizon + 6, shore - 6), (26, 40))
    sand = shade("yellow", (240, 212, 142), 1.04, 0.92)
    foam = flat("white", (250, 250, 246))
    edge = ridge(p.rng, shore, 4, SIDE + 2)
    p.canvas.fill(edge - [0, 3], foam, Tag("sea", material="water"))
    p.canvas.fill(edge, sand, Tag("sand", material="sand"))
    p.scatter(("palm",), p.count(0, 2), (shore + 14, shore + 30), (84, 112))
    p.scatter(("umbrella", "towel", "ball", "umbrella"), p.count(2, 4), (154, 196), (46, 66))
    p.scatter(("towel", "ball", "starfish", "rock", "starfish"), p.count(1, 3), (196, 216), (40, 56))


def _sea(p: Painter) -> None:
    horizon = p.among(96, 130)
    p.sky(p.choose(("day", "dusk", "clear", "overcast", "night")), horizon)
    if p.chance(0.3):
        p.mountains(horizon, ("blue", "purple", "green"))
    p.flyers(["bird"] if p.chance(0.6) else [], horizon)
    p.sea(horizon, SIDE)
    if p.chance(0.55):
        x, y = p.among(36, 188), horizon + p.among(8, 20)
        for offset in (-16, 14, 0):
            p.place("rock", x + offset, y + 4, p.among(18, 24))
        p.place("lighthouse", x, y - 4, p.among(74, 92))
    p.scatter(("boat",), p.count(1, 3), (horizon + 14, 200), (38, 84))


def _desert(p: Painter) -> None:
    horizon = p.among(100, 126)
    p.sky(p.choose(("clear", "dusk", "dawn", "night")), horizon + 12)
    if p.chance(0.6):
        p.mountains(horizon + 8, ("brown", "orange"), snow=False)
    dune = palette.mix(p.rng, ("yellow", "orange", "yellow"), 0.7)
    if p.night:
        dune = palette.mix(p.rng, ("brown",), 0.7)
    p.hills(horizon, dim(dune, 0.95), Tag("sand", material="sand"))
    p.scatter(("cactus", "cactus", "rock"), p.count(3, 5), (horizon + 24, 208), (30, 78))
    if p.chance(0.5):
        p.place("tent", p.among(50, 174), p.among(176, 200), p.among(44, 60))
    p.scatter(("rock",), 2, (190, 218), (28, 46))


def _snowfield(p: Painter) -> None:
    horizon = p.among(96, 120)
    p.snowy = True
    p.sky(p.choose(("day", "overcast", "dusk", "night")), horizon + 12)
    p.mountains(horizon + 8, ("blue", "grey", "purple"))
    white = Ink("white", (246, 249, 253), (222, 230, 242))
    p.hills(horizon, dim(white, 0.72) if p.night else white, Tag("snow", material="snow"))
    p.scatter(("pine",), p.count(4, 7), (horizon + 10, 178), (40, 82))
    if p.chance(0.45):
        p.place("house", p.among(50, 174), p.among(160, 172), p.among(48, 62))
    p.scatter(("snowman",), p.count(1, 2), (186, 210), (56, 78))


def _forest(p: Painter) -> None:
    p.sky(p.choose(("day", "overcast", "dawn")), 130)
    p.hills(104, shade("green", (84, 130, 84)), Tag("grass", material="foliage"), 2)
    p.scatter(("pine", "pine", "tree"), 11, (120, 142), (60, 88))
    p.canvas.fill(ridge(p.rng, 146, 5, SIDE + 2), shade("green", (92, 140, 78)), Tag("grass", material="foliage"))
    p.scatter(("pine", "tree"), 4, (156, 178), (92, 124))
    p.scatter(("mushroom", "mushroom", "bush", "rock", "flower"), p.count(4, 7), (186, 218), (20, 36))
    if p.chance(0.3):
        p.place("tent", p.among(50, 174), 196, p.among(40, 52))


def _underwater(p: Painter) -> None:
    light, deep = p.choose((((112, 196, 220), (24, 78, 140)), ((92, 176, 224), (30, 66, 142))))
    p.canvas.band(0, SIDE, (flat("blue", light), flat("blue", deep)), Tag("sea", material="water"))
    for _ in range(3):
        p.canvas.glow(p.among(0, SIDE), 0, p.among(14, 30), p.among(80, 170), (220, 248, 255), 0.35)
    sand = shade("yellow", (222, 204, 146), 1.04, 0.86)
    p.canvas.fill(ridge(p.rng, p.among(180, 194), 5, SIDE + 2), sand, Tag("sand", material="sand"))
    p.scatter(("seaweed", "coral", "rock", "seaweed"), p.count(3, 5), (192, 206), (40, 74))
    p.scatter(("jellyfish",), p.count(0, 2), (70, 130), (34, 56))
    p.scatter(("fish",), p.count(3, 6), (30, 176), (16, 36))
    p.scatter(("coral", "starfish", "rock", "seaweed"), p.count(2, 4), (204, 220), (20, 40))


def _city(p: Painter, mood: str) -> None:
    p.sky(mood, 160)
    p.flyers([thing for thing in ("balloon", "bird") if not p.night and p.chance(0.25)], 90)
    for left in range(-6, 240, 34):
        p.place("building", left + p.among(-8, 8), 160, p.among(84, 142))
    curb = dim(shade("grey", (196, 192, 188)), 0.5 if p.night else 1.0)
    p.canvas.fill(rectangle(0, 156, SIDE, 172), curb, Tag("road", "curb", None, "stone"))
    asphalt = dim(shade("grey", (112, 114, 122)), 0.62 if p.night else 1.0)
    if p.night:
        asphalt = asphalt._replace(name="black")
    p.canvas.fill(rectangle(0, 171, SIDE, SIDE), asphalt, Tag("road", material="stone"))
    first_dash = p.among(-20, 0)
    for offset in range(0, SIDE + 20, 34):
        dash = rectangle(first_dash + offset, 196, first_dash + offset + 18, 199)
        p.canvas.fill(dash, flat("white", (236, 234, 226)), Tag("road", material="stone"))
    for x in (p.among(20, 90), p.among(134, 204)):
        p.place(p.choose(("lamp", "lamp", "tree")), x, 168, p.among(62, 76))
    lanes = [(p.among(30, 90), 190.0), (p.among(130, 200), 190.0), (p.among(40, 180), 214.0)]
    for x, y in lanes[p.count(0, 1) :]:
        p.place("car", x, y, p.among(26, 32) if y < 200 else p.among(32, 38))


def _street(p: Painter) -> None:
    _city(p, p.choose(("day", "clear", "overcast", "dusk")))


def _night_street(p: Painter) -> None:
    _city(p, "night")


def _space(p: Painter) -> None:
    p.night = True
    deep, tint = p.choose((((16, 18, 40), (44, 34, 84)), ((14, 20, 36), (24, 52, 84))))
    p.canvas.band(0, SIDE, (flat("black", deep), flat("black", tint)), Tag("sky"))
    for _ in range(3):
        haze = p.choose(((150, 70, 160), (60, 110, 190), (190, 90, 130)))
        p.canvas.glow(p.among(0, SIDE), p.among(0, SIDE), p.among(50, 110), p.among(30, 80), haze, 0.35)
    p.scatter(("star",), 34, (4, 220), (4, 9))
    p.scatter(("planet",), p.count(2, 4), (40, 190), (28, 70))
    if p.chance(0.5):
        p.place("moon", p.among(24, 200), p.among(24, 190), p.among(18, 34))
    if p.chance(0.8):
        p.place("rocket", p.among(60, 164), p.among(130, 200), p.among(64, 96), p.among(-0.7, 0.7))


def _living_room(p: Painter) -> None:
    floor = p.among(150, 166)
    p.night = p.chance(0.35)
    paint, second = palette.pair(p.rng, ("white", "pink", "yellow", "green", "blue"), ("white", "yellow"))
    wall = Ink(paint.name, *(_pale(color) for color in (paint.top, paint.bottom)))
    paper = Pattern(p.choose(("striped", "dotted", "honeycombed", "grid")), p.among(13, 20)) if p.chance(0.4) else None
    tag = Tag("wall", None, None, "paper" if paper else None, paper.name if paper else None)
    over = Ink(second.name, *(_pale(color) for color in (second.top, second.bottom)))
    p.canvas.fill(rectangle(0, 0, SIDE, floor), wall, tag, paper, over)
    wood = palette.mix(p.rng, ("brown",), 0.6)
    p.canvas.fill(rectangle(0, floor, SIDE, SIDE), wood, Tag("floor", material="wood"))
    for row in range(1, 5):
        y = floor + (SIDE - floor) * row * row / 22
        p.canvas.fill(rectangle(0, y, SIDE, y + 0.9), dim(wood, 0.82), Tag("floor", material="wood"))
    p.canvas.fill(rectangle(0, floor - 5, SIDE, floor), flat("white", (246, 244, 238)), Tag("wall", material="wood"))
    left = p.chance(0.5)
    p.place("window", 58 if left else 166, 92, p.among(62, 74))
    p.place("picture", 166 if left else 58, 78, p.among(44, 60))
    p.place("rug", p.among(96, 128), 216, p.among(62, 80))
    p.place("sofa", 148 if left else 76, floor + 18, p.among(54, 64))
    if p.chance(0.6):
        p.place("floor lamp", 216 if left else 8, floor + 10, p.among(92, 108))
    if p.chance(0.75):
        x, height = (40.0 if left else 184.0), p.among(38, 44)
        p.place("table", x, floor + 30, height)
        p.place("vase", x, floor + 30 - height, p.among(36, 46))
    if p.chance(0.7):
        p.place("cat", p.among(60, 164), p.among(204, 216), p.among(38, 52))
    if p.chance(0.4):
        p.place("ball", p.among(30, 194), 216, p.among(14, 22))


SCENES: dict[str, Callable[[Painter], None]] = {
    "meadow": _meadow,
    "village": _village,
    "beach": _beach,
    "sea": _sea,
    "desert": _desert,
    "snowfield": _snowfield,
    "forest": _forest,
    "underwater": _underwater,
    "street": _street,
    "night_street": _night_street,
    "space": _space,
    "living_room": _living_room,
}
"""How to paint each scene."""


def close_up(p: Painter, texture: str) -> None:
    """Fill the picture with a texture, as if seen from near."""
    ground, second = palette.pair(p.rng, COLORS, ("white", "white", "yellow", "black", "grey", *COLORS))
    pattern = Pattern(texture, p.among(22, 46), p.among(0, np.pi), p.among(0, 0.25))
    p.canvas.fill(rectangle(-1, -1, SIDE + 1, SIDE + 1), ground, Tag(texture=texture), pattern, second)
    for _ in range(3):
        fold = p.choose(((255, 255, 255), (10, 12, 30)))
        p.canvas.glow(p.among(0, SIDE), p.among(0, SIDE), p.among(60, 140), p.among(60, 140), fold, 0.14)


def _triangle(x: float, top: float, half: float, bottom: float) -> Points:
    return polygon((x - half, bottom), (x, top), (x + half, bottom))


def _pale(color: RGB) -> RGB:
    red, green, blue = ((channel + 2 * 246) // 3 for channel in color)
    return red, green, blue
