"""Buildings, vehicles and furniture: each draws itself about one unit high, standing at (0, 0)."""

from collections.abc import Callable

import numpy as np

from .palette import dim, flat, pair, shade
from .patterns import Pattern
from .pen import Pen, arc, bar, polygon, rectangle

_BRIGHT = ("red", "orange", "yellow", "pink", "purple", "blue", "green", "white")
_BLACK = shade("black", (46, 44, 54))
_WHITE = shade("white", (248, 247, 242), 1.0, 0.9)
_STEEL = shade("grey", (150, 156, 166))
_GLASS = shade("blue", (140, 192, 226))
_LIT = flat("yellow", (255, 220, 118))
_WOOD = shade("brown", (146, 100, 66))


def _house(pen: Pen) -> None:
    pen.shadow(0.75, 0.09)
    roof = pen.mix("red", "brown", "grey", "blue", "orange")
    pen.fill(rectangle(0.2, 0.7, 0.32, 1.02), shade("red", (180, 84, 70)), "chimney", "brick")
    facade = rectangle(-0.5, 0, 0.5, 0.58)
    kind = pen.count(0, 2)
    if kind == 0:
        pen.fill(facade, shade("red", (198, 108, 88)), "facade", "brick")
        for row in range(1, 8):
            course = bar((-0.5, row * 0.072), (0.5, row * 0.072), 0.014)
            pen.fill(course, shade("red", (166, 82, 68)), "facade", "brick")
    else:
        pen.fill(facade, pen.mix("white", "yellow", "pink", "blue"), "facade", "wood" if kind == 1 else "stone")
    slope = polygon((-0.6, 0.55), (0.6, 0.55), (0.36, 0.92), (-0.36, 0.92))
    tiles = Pattern("scaly", 0.14) if pen.chance(0.6) else None
    pen.fill(slope, roof, "roof", "tile", None, tiles, dim(roof, 0.8))
    side = pen.among(-0.3, 0.3)
    pen.fill(rectangle(side - 0.09, 0, side + 0.09, 0.34), pen.mix("brown", "green", "blue"), "door", "wood")
    pen.fill(arc(side + 0.05, 0.17, 0.024, 0.024), shade("yellow", (250, 204, 90)), "door", "metal", "knob")
    for x in (-0.32, 0.0, 0.32):
        if abs(x - side) > 0.2:
            pen.fill(rectangle(x - 0.1, 0.2, x + 0.1, 0.44), _WHITE, "window", "wood", "frame")
            pane = rectangle(x - 0.075, 0.225, x + 0.075, 0.415)
            pen.fill(pane, _LIT if pen.night else _GLASS, "window", "glass")
            pen.fill(bar((x, 0.2), (x, 0.44), 0.022), _WHITE, "window", "wood", "frame")


def _building(pen: Pen) -> None:
    width = pen.among(0.17, 0.26)
    facade = pen.mix("grey", "brown", "orange", "pink", "red")
    material = "brick" if facade.name in ("brown", "red") else "stone"
    if pen.night:
        facade = dim(pen.mix("black", "black", "purple"), 0.9)
    pen.fill(rectangle(-width, 0, width, 1), facade, "facade", material)
    pen.fill(rectangle(-width - 0.02, 0.98, width + 0.02, 1.02), dim(facade, 0.8), "roof", "stone")
    columns, rows = 4, 8
    for row in range(rows):
        for column in range(columns):
            x, y = width * (2 * (column + 0.5) / columns - 1), 0.2 + 0.76 * row / rows
            pane = rectangle(x - width * 0.15, y, x + width * 0.15, y + 0.055)
            dark = shade("black", (52, 54, 74)) if pen.night else _GLASS
            pen.fill(pane, _LIT if pen.night and pen.chance(0.55) else dark, "window", "glass")
    pen.fill(rectangle(-0.05, 0, 0.05, 0.11), dim(_WOOD, 0.8), "door", "wood")


def _lighthouse(pen: Pen) -> None:
    pen.shadow(0.25, 0.04)
    tower = polygon((-0.14, 0), (0.14, 0), (0.09, 0.74), (-0.09, 0.74))
    pen.fill(
        tower,
        _WHITE,
        "tower",
        "stone",
        None,
        Pattern("striped", 0.28, np.pi / 2),
        pen.mix("red", "red", "blue"),
    )
    pen.fill(rectangle(-0.13, 0.73, 0.13, 0.76), _BLACK, "tower", "metal")
    if pen.night:
        at = pen.frame
        pen.canvas.glow(at.x, at.y - at.size * 0.81, at.size * 0.5, at.size * 0.3, (255, 236, 160), 0.8)
    pen.fill(rectangle(-0.075, 0.76, 0.075, 0.87), _LIT, "lantern", "glass")
    pen.fill(polygon((-0.11, 0.86), (0.11, 0.86), (0, 1)), pen.mix("red"), "roof", "metal")
    pen.fill(rectangle(-0.045, 0, 0.045, 0.12), _WOOD, "door", "wood")


def _windmill(pen: Pen) -> None:
    pen.shadow(0.3, 0.05)
    pen.fill(polygon((-0.17, 0), (0.17, 0), (0.1, 0.6), (-0.1, 0.6)), pen.mix("white", "brown"), "tower", "stone")
    pen.fill(arc(0, 0.6, 0.13, 0.13, 0, 180, 18), pen.mix("red", "brown", "blue"), "roof", "tile")
    pen.fill(rectangle(-0.045, 0, 0.045, 0.13), _WOOD, "door", "wood")
    turn = pen.among(0, np.pi / 2)
    for quarter in range(4):
        along = np.array([np.cos(turn + quarter * np.pi / 2), np.sin(turn + quarter * np.pi / 2)])
        across = np.array([-along[1], along[0]])
        hub = np.array([0.0, 0.62])
        corners = [hub + along * 0.08, hub + along * 0.42, hub + along * 0.42 + across * 0.1]
        sail = np.array([*corners, hub + along * 0.1 + across * 0.1])
        pen.fill(sail, _WHITE, "blade", "fabric")
        pen.fill(bar((0, 0.62), tuple(hub + along * 0.44), 0.024), _WOOD, "blade", "wood")
    pen.fill(arc(0, 0.62, 0.035, 0.035), _BLACK, "hub", "metal")


def _tent(pen: Pen) -> None:
    pen.shadow(0.8, 0.12)
    canvas, second = pair(pen.rng, _BRIGHT, ("white", "yellow", "blue", "red"))
    stripes = Pattern("striped", 0.3) if pen.chance(0.6) else None
    pen.fill(polygon((-0.75, 0), (0.75, 0), (0, 0.86)), canvas, "canopy", "fabric", None, stripes, second)
    pen.fill(polygon((-0.24, 0), (0.24, 0), (0, 0.56)), _BLACK, "door", "fabric")
    pen.fill(polygon((-0.24, 0), (-0.12, 0), (0, 0.56)), dim(canvas, 0.82), "door", "fabric")
    pen.fill(bar((0, 0.84), (0, 1.06), 0.03), _WOOD, "pole", "wood")
    pen.fill(polygon((0, 1.06), (0, 0.92), (0.24, 0.99)), pen.mix("red", "yellow", "blue"), "pennant", "fabric")


def _fence(pen: Pen) -> None:
    wood = pen.mix("brown", "white")
    for y in (0.34, 0.68):
        pen.fill(bar((-1.7, y), (1.7, y), 0.11), dim(wood, 0.92), None, "wood")
    for x in np.linspace(-1.6, 1.6, 9):
        post = polygon((x - 0.07, 0), (x + 0.07, 0), (x + 0.07, 0.88), (x, 1.0), (x - 0.07, 0.88))
        pen.fill(post, wood, "post", "wood")


def _lamp(pen: Pen) -> None:
    pen.shadow(0.12, 0.03)
    pen.fill(bar((0, 0), (0, 0.88), 0.04, 0.7), _BLACK, "pole", "metal")
    pen.fill(polygon((-0.06, 0), (0.06, 0), (0.03, 0.1), (-0.03, 0.1)), _BLACK, "pole", "metal")
    if pen.night:
        at = pen.frame
        pen.canvas.glow(at.x, at.y - at.size * 0.92, at.size * 0.42, at.size * 0.42, (255, 226, 150), 0.85)
    glass = polygon((-0.05, 0.85), (0.05, 0.85), (0.085, 0.97), (-0.085, 0.97))
    pen.fill(glass, _LIT if pen.night else _WHITE, "lantern", "glass")
    pen.fill(polygon((-0.1, 0.97), (0.1, 0.97), (0, 1.03)), _BLACK, "roof", "metal")


def _floor_lamp(pen: Pen) -> None:
    pen.shadow(0.2, 0.03)
    pen.fill(bar((0, 0), (0, 0.8), 0.03), _WOOD, "pole", "wood")
    pen.fill(arc(0, 0.01, 0.13, 0.03), dim(_WOOD, 0.8), "pole", "wood")
    at = pen.frame
    pen.canvas.glow(at.x, at.y - at.size * 0.86, at.size * 0.55, at.size * 0.5, (255, 232, 170), 0.6)
    cloth = polygon((-0.2, 0.72), (0.2, 0.72), (0.12, 1.0), (-0.12, 1.0))
    pen.fill(cloth, pen.mix("yellow", "orange", "red", "white"), "shade", "fabric")


def _car(pen: Pen) -> None:
    pen.shadow(1.15, 0.16)
    paint = pen.mix("red", "blue", "yellow", "green", "white", "orange", "purple", "grey")
    cabin = polygon((-0.62, 0.52), (-0.4, 0.95), (0.28, 0.95), (0.6, 0.52))
    pen.fill(cabin, paint, "roof", "metal")
    for pane in (
        polygon((-0.5, 0.54), (-0.34, 0.87), (-0.08, 0.87), (-0.08, 0.54)),
        polygon((0, 0.54), (0, 0.87), (0.23, 0.87), (0.46, 0.54)),
    ):
        pen.fill(pane, _GLASS, "window", "glass")
    lower = polygon((-0.98, 0.2), (-1, 0.5), (-0.6, 0.57), (0.62, 0.57), (0.98, 0.46), (1, 0.2))
    pen.fill(lower, paint, "body", "metal")
    pen.fill(arc(0.93, 0.4, 0.06, 0.07), _LIT, "headlight", "glass")
    pen.fill(bar((-0.12, 0.46), (0.0, 0.46), 0.035), dim(paint, 0.6), "body", "metal", "handle")
    for x in (-0.56, 0.56):
        pen.fill(arc(x, 0.18, 0.22, 0.22), _BLACK, "wheel", "rubber")
        pen.fill(arc(x, 0.18, 0.11, 0.11), _STEEL, "wheel", "metal", "hub")


def _boat(pen: Pen) -> None:
    pen.fill(bar((0, 0.1), (0, 1), 0.03), _WOOD, "mast", "wood")
    cloth, second = pair(pen.rng, ("white", "red", "orange", "yellow", "pink"), ("red", "blue", "white", "orange"))
    stripes = Pattern("striped", 0.2, np.pi / 2) if pen.chance(0.5) else None
    pen.fill(polygon((0.04, 0.26), (0.5, 0.26), (0.04, 0.94)), cloth, "sail", "fabric", None, stripes, second)
    pen.fill(polygon((-0.04, 0.26), (-0.38, 0.26), (-0.04, 0.8)), dim(cloth, 0.95), "sail", "fabric")
    pen.fill(polygon((0, 1.0), (0, 0.92), (-0.16, 0.96)), pen.mix("red", "yellow", "blue"), "pennant", "fabric")
    hull = polygon((-0.55, 0.2), (0.62, 0.2), (0.42, -0.02), (-0.42, -0.02))
    pen.fill(hull, pen.mix("brown", "red", "blue", "white", "green"), "hull", "wood")
    pen.fill(bar((-0.55, 0.19), (0.62, 0.19), 0.035), dim(_WOOD, 0.8), "hull", "wood")


def _balloon(pen: Pen) -> None:
    cloth, second = pair(pen.rng, _BRIGHT, _BRIGHT)
    choice = pen.choose(("striped", "zigzagged", "chequered", "dotted", "grid"))
    period = {"striped": 0.2, "zigzagged": 0.24, "chequered": 0.26, "dotted": 0.2, "grid": 0.2}[choice]
    for x in (-0.07, 0.07):
        pen.fill(bar((x, 0.14), (x * 2.2, 0.36), 0.014), _WOOD, None)
    at = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    envelope = np.stack([0.36 * np.cos(at) * (1 + 0.22 * np.sin(at)) / 1.06, 0.64 + 0.38 * np.sin(at)], axis=1)
    pen.fill(envelope, cloth, "envelope", "fabric", None, Pattern(choice, period), second)
    pen.fill(polygon((-0.09, 0.0), (0.09, 0.0), (0.11, 0.15), (-0.11, 0.15)), _WOOD, "basket", "wood")
    pen.fill(rectangle(-0.12, 0.13, 0.12, 0.16), dim(_WOOD, 0.75), "basket", "wood")


def _rocket(pen: Pen) -> None:
    paint, accent = pair(pen.rng, ("white", "grey", "yellow"), ("red", "blue", "orange"))
    for width, color in ((0.12, shade("orange", (244, 140, 50))), (0.06, shade("yellow", (252, 214, 96)))):
        pen.fill(polygon((-width, 0.22), (width, 0.22), (0, 0.22 - width * 2)), color, "flame")
    for side in (-1, 1):
        pen.fill(polygon((side * 0.13, 0.46), (side * 0.28, 0.16), (side * 0.13, 0.24)), accent, "fin", "metal")
    pen.fill(rectangle(-0.15, 0.2, 0.15, 0.7), paint, "body", "metal")
    nose = np.concatenate([polygon((-0.15, 0.7)), polygon((0.15, 0.7), (0.1, 0.86), (0, 1), (-0.1, 0.86))])
    pen.fill(nose, accent, "nose", "metal")
    pen.fill(arc(0, 0.55, 0.085, 0.085), dim(accent, 0.8), "window", "metal", "frame")
    pen.fill(arc(0, 0.55, 0.06, 0.06), _GLASS, "window", "glass")


def _snowman(pen: Pen) -> None:
    pen.shadow(0.42, 0.07)
    snow = shade("white", (250, 251, 253), 1.0, 0.87)
    for side in (-1, 1):
        pen.fill(bar((side * 0.2, 0.5), (side * 0.44, 0.64), 0.03), _WOOD, "arm", "wood")
    pen.fill(arc(0, 0.2, 0.28, 0.24), snow, "body", "snow")
    pen.fill(arc(0, 0.49, 0.21, 0.18), snow, "body", "snow")
    for y in (0.45, 0.54):
        pen.fill(arc(0, y, 0.022, 0.022), _BLACK, "body", None, "button")
    pen.fill(arc(0, 0.74, 0.155, 0.145), snow, "head", "snow")
    for x in (-0.055, 0.055):
        pen.fill(arc(x, 0.77, 0.02, 0.02), _BLACK, "head", None, "eye")
    pen.fill(polygon((0, 0.75), (0, 0.71), (0.16, 0.72)), shade("orange", (240, 136, 50)), "head", None, "nose")
    scarf, second = pair(pen.rng, ("red", "green", "blue", "purple"), ("white", "yellow"))
    stripes = Pattern("striped", 0.12)
    pen.fill(rectangle(-0.16, 0.58, 0.16, 0.65), scarf, "scarf", "wool", None, stripes, second)
    tip = Pattern("striped", 0.12, np.pi / 2)
    pen.fill(rectangle(0.07, 0.42, 0.16, 0.62), scarf, "scarf", "wool", None, tip, second)
    hat = pen.mix("black", "red", "brown")
    pen.fill(rectangle(-0.19, 0.84, 0.19, 0.88), hat, "hat", "fabric")
    pen.fill(rectangle(-0.12, 0.87, 0.12, 1.04), hat, "hat", "fabric")


def _umbrella(pen: Pen) -> None:
    pen.shadow(0.5, 0.08, 0.2)
    pen.fill(bar((0, 0), (0, 0.95), 0.035), _WHITE, "pole", "metal")
    cloth, second = pair(pen.rng, _BRIGHT, ("white", "yellow", "red"))
    at = np.linspace(-1, 1, 33)
    rim = np.stack([-at * 0.56, 0.62 + 0.03 * np.abs(np.sin(at * 2 * np.pi))], axis=1)
    canopy = np.concatenate([arc(0, 0.62, 0.56, 0.4, 0, 180, 33), rim[::-1]])
    pen.fill(canopy, cloth, "canopy", "fabric", None, Pattern("striped", 0.28), second)


def _towel(pen: Pen) -> None:
    cloth, second = pair(pen.rng, _BRIGHT, ("white", "yellow", "blue", "red"))
    choice = pen.choose(("striped", "chequered", "zigzagged", "dotted", "grid"))
    sheet = polygon((-0.8, 0), (0.55, 0), (0.85, 0.5), (-0.5, 0.5))
    pen.fill(sheet, cloth, None, "fabric", None, Pattern(choice, 0.24), second)


def _ball(pen: Pen) -> None:
    pen.shadow(0.6, 0.16)
    skin, second = pair(pen.rng, ("red", "blue", "yellow", "green"), ("white", "yellow"))
    spots = Pattern("dotted", 0.5) if pen.chance(0.5) else Pattern("striped", 0.42, 0.5)
    pen.fill(arc(0, 0.5, 0.5, 0.5), skin, None, "rubber", None, spots, second)


def _sofa(pen: Pen) -> None:
    pen.shadow(1.15, 0.14)
    cloth, second = pair(pen.rng, ("red", "blue", "green", "purple", "orange", "grey", "pink"), _BRIGHT)
    for x in (-0.85, 0.85):
        pen.fill(bar((x, 0), (x, 0.16), 0.08), _WOOD, "leg", "wood")
    pen.fill(rectangle(-0.9, 0.4, 0.9, 0.98), cloth, "body", "fabric")
    pen.fill(rectangle(-0.9, 0.12, 0.9, 0.46), dim(cloth, 0.92), "body", "fabric")
    for side in (-1, 1):
        rest = np.concatenate(
            [
                polygon((side * 0.92 - 0.13, 0.12), (side * 0.92 + 0.13, 0.12)),
                arc(side * 0.92, 0.6, 0.13, 0.1, 0, 180, 14),
            ]
        )
        pen.fill(rest, dim(cloth, 1.05), "armrest", "fabric")
    choice = pen.choose(("striped", "dotted", "zigzagged", "chequered"))
    for x in (-0.5, 0.5):
        pillow = polygon((x - 0.22, 0.46), (x + 0.22, 0.46), (x + 0.18, 0.86), (x - 0.18, 0.86))
        pen.fill(pillow, second, "cushion", "fabric", None, Pattern(choice, 0.2), dim(cloth, 1.1))


def _table(pen: Pen) -> None:
    pen.shadow(0.8, 0.12)
    wood = pen.mix("brown")
    for x in (-0.62, 0.62):
        pen.fill(bar((x, 0), (x * 0.94, 0.9), 0.09, 1.2), dim(wood, 0.85), "leg", "wood")
    pen.fill(rectangle(-0.78, 0.88, 0.78, 1.0), wood, "top", "wood")


def _vase(pen: Pen) -> None:
    for x in (-0.16, 0.0, 0.16):
        pen.fill(bar((x * 0.5, 0.5), (x * 1.9, 0.92), 0.035), shade("green", (86, 146, 78)), "stem", "foliage")
    petal = pen.mix("red", "pink", "yellow", "purple", "orange")
    for x in (-0.3, 0.0, 0.3):
        for angle in range(0, 360, 72):
            at = (x + 0.11 * np.cos(np.radians(angle)), 0.94 + 0.11 * np.sin(np.radians(angle)))
            pen.fill(arc(*at, 0.085, 0.085, points=14), petal, "flower", None, "petal")
        pen.fill(arc(x, 0.94, 0.07, 0.07, points=14), shade("yellow", (250, 206, 80)), "flower", None, "center")
    body = np.concatenate([polygon((-0.1, 0), (0.1, 0)), arc(0, 0.28, 0.22, 0.26, -50, 50, 12), polygon((0.09, 0.58))])
    outline = np.concatenate([body, body[::-1] * [-1, 1]])
    glaze, second = pair(pen.rng, ("blue", "white", "green", "orange"), ("white", "blue", "yellow"))
    choice = pen.choose(("striped", "dotted", "zigzagged"))
    pen.fill(outline, glaze, "body", "ceramic", None, Pattern(choice, 0.16, np.pi / 2), second)


def _rug(pen: Pen) -> None:
    wool, second = pair(pen.rng, _BRIGHT, ("white", "yellow", "blue", "red", "orange"))
    choice = ("zigzagged", "chequered", "honeycombed", "wavy", "woven", "crosshatched")[int(pen.rng.integers(6))]
    sheet = polygon((-1.15, 0), (1.15, 0), (0.9, 0.5), (-0.9, 0.5))
    pen.fill(sheet, wool, None, "wool", None, Pattern(choice, 0.3), second)


def _picture(pen: Pen) -> None:
    pen.fill(rectangle(-0.42, 0, 0.42, 0.66), _WOOD, "frame", "wood")
    pen.fill(rectangle(-0.36, 0.06, 0.36, 0.6), pen.mix("blue", "pink", "yellow", "orange"), None, "paper")
    pen.fill(arc(0.16, 0.44, 0.08, 0.08), pen.mix("white", "yellow", "red"), None, "paper")
    hill = polygon((-0.36, 0.06), (0.36, 0.06), (0.36, 0.22), (0.1, 0.32), (-0.14, 0.18), (-0.36, 0.26))
    pen.fill(hill, pen.mix("green", "purple", "blue"), None, "paper")


def _window(pen: Pen) -> None:
    pen.fill(rectangle(-0.42, 0, 0.42, 1), _WHITE, "frame", "wood")
    for x in (-0.2, 0.2):
        for y in (0.06, 0.53):
            pane = rectangle(x - 0.17, y, x + 0.17, y + 0.41)
            pen.fill(pane, shade("black", (44, 46, 74)) if pen.night else _GLASS, None, "glass")
    cloth = pen.mix("red", "green", "orange", "purple", "pink")
    for side in (-1, 1):
        drape = polygon((side * 0.56, 1.06), (side * 0.22, 1.06), (side * 0.4, 0.5), (side * 0.44, -0.06))
        pen.fill(np.concatenate([drape, polygon((side * 0.6, -0.06))]), cloth, "curtain", "fabric")


MADE: dict[str, Callable[[Pen], None]] = {
    "house": _house,
    "building": _building,
    "lighthouse": _lighthouse,
    "windmill": _windmill,
    "tent": _tent,
    "fence": _fence,
    "lamp": _lamp,
    "floor lamp": _floor_lamp,
    "car": _car,
    "boat": _boat,
    "balloon": _balloon,
    "rocket": _rocket,
    "snowman": _snowman,
    "umbrella": _umbrella,
    "towel": _towel,
    "ball": _ball,
    "sofa": _sofa,
    "table": _table,
    "vase": _vase,
    "rug": _rug,
    "picture": _picture,
    "window": _window,
}
"""How to draw each of them."""
