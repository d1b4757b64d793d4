"""The vocabulary of the synthetic dataset: every label's number, name and categories."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


CATEGORIES = ("object", "part", "scene", "material", "texture", "color")

COLORS = ("black", "blue", "brown", "green", "grey", "orange", "pink", "purple", "red", "white", "yellow")

OBJECTS = _words("""
    sky cloud sun moon star planet rocket bird balloon mountain hill grass sea sand snow road wall floor
    house building lighthouse windmill tent fence lamp tree pine palm cactus bush flower mushroom rock
    car boat fish jellyfish seaweed coral starfish sheep cat snowman umbrella towel ball
    sofa table vase rug picture window
""")

PARTS = _words("""
    facade roof door window chimney knob tower lantern blade cap stem trunk crown fruit frond arm flower
    petal center leaf body wheel hub headlight hull sail mast pennant envelope basket nose fin flame ring
    tail eye bell tentacle wing head beak leg ear hat scarf canopy pole shade cushion armrest top frame
    peak post curtain curb button handle
""")

MATERIALS = _words("wood brick stone metal fabric glass rubber foliage sand snow water tile paper ceramic wool")

SCENES = _words("""
    meadow village beach sea desert snowfield forest underwater street night_street space living_room
""")

TEXTURES = _words("""
    striped dotted chequered zigzagged grid crosshatched scaly honeycombed wavy spiralled woven bubbly
""")

SYNONYMS = {
    "car": "auto;automobile;motorcar",
    "boat": "sailboat",
    "lamp": "streetlight;table lamp",
    "sofa": "couch;lounge",
    "rock": "boulder;stone",
    "balloon": "hot-air balloon",
    "dotted": "polka-dotted",
    "chequered": "checkered",
}

# Every category starts a new hundred: numbers have gaps and pass 255, as those of a real Broden do.
_NAMES = {
    "color": (1, tuple(f"{name}-c" for name in COLORS)),
    "object": (101, OBJECTS),
    "part": (201, PARTS),
    "material": (301, MATERIALS),
    "scene": (401, tuple(f"{name}-s" for name in SCENES)),
    "texture": (501, TEXTURES),
}


def _number() -> dict[str, int]:
    numbers: dict[str, int] = {}
    for first, names in _NAMES.values():
        for offset, name in enumerate(names):
            # A name of two categories (a window is an object, and a part of a house) is one label.
            numbers.setdefault(name, first + offset)
    return numbers


NUMBERS = _number()
"""Label number of every name; colors end in `-c` and scenes in `-s`, as in Broden."""
