"""The families of synthetic scenes by name, and the config of a data set of one family.

A family has styles (shapes, colors, light, cameras) and the class lists of its labels. The five
training families share their class lists, so that the ground truth of a pool image has the classes
of every teacher. The six dev and the six final sets have other shapes, colors, textures, light and
cameras than the training families and than each other: values tuned on dev are new to final.
"""

import dataclasses
from collections.abc import Callable

from must_keras.errors import UserError
from must_keras.synthetic import textures

Range = tuple[float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Style:
    """The distribution of one kind of worlds. Ranges are (low, high), sampled uniformly.

    Attributes:
        shapes: of the objects; the first is sampled 1.7 times as often as the last.
        count: (min, max) objects; fewer where there is no room for more.
        span: radius of an object as a share of half the image's width.
        radius: of an object, meters.
        indoors: share of rooms; the rest stands on open ground under a sky.
        eye: height of the camera, meters.
        view: horizontal field of view, degrees.
        tilt: shift of the camera's pitch from that towards the objects, degrees.
        roll: of the camera, degrees.
        lying: share of objects on their side; tipped: share at any angle.
        saturation, value: of objects' colors (every hue, whatever the shape).
        patterns: of objects; the first is sampled half of the time.
        walls: (low, high) gray of walls, floors, ceilings and ground; tint: how colored they are.
        wall_patterns: of walls, floors and ground; contrast: of these patterns.
        patches: max number of flat panels and rugs each.
        ambient: share of light without direction.
        lamp: height of the light above the objects, meters.
        warmth: (low, high) color of the light, -1 blue to 1 yellow.
        weight: relative frequency in a family of several styles.

    Example:
        Style(shapes=("ball", "cone"), count=(1, 3), indoors=1.0)
    """

    shapes: tuple[str, ...]
    count: tuple[int, int] = (1, 4)
    span: Range = (0.3, 0.52)
    radius: Range = (0.3, 0.6)
    indoors: float = 0.75
    eye: Range = (0.7, 2.0)
    view: Range = (45, 65)
    tilt: Range = (-6, 6)
    roll: Range = (-3, 3)
    lying: float = 0.15
    tipped: float = 0.1
    saturation: Range = (0.55, 0.95)
    value: Range = (0.55, 1.0)
    patterns: tuple[Callable, ...] = (textures.plain, textures.stripes, textures.halves)
    walls: Range = (0.4, 0.85)
    tint: float = 0.05
    wall_patterns: tuple[Callable, ...] = (textures.mottle, textures.planks, textures.plain)
    contrast: Range = (0.03, 0.09)
    patches: int = 1
    ambient: Range = (0.35, 0.55)
    lamp: Range = (1.0, 3.0)
    warmth: Range = (-0.3, 0.5)
    weight: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """A mixture of styles, and the class lists of its labels; other names have no label.

    Attributes:
        styles: of the worlds.
        classes: of a one-object image, by index.
        categories: of boxes and instance masks, by index.
        stuff: of the semantic map, first; "floor", "wall", "ceiling", "ground" and "sky" are
            everywhere, "panel" (flat on a wall) and "rug" (flat on the floor or ground) count as
            their wall, floor or ground where they are not listed.
        things: shapes of the semantic map, after the stuff.

    Example:
        Family(styles=(Style(shapes=("ball", "cone")),), categories=("ball", "cone"))
    """

    styles: tuple[Style, ...]
    classes: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    stuff: tuple[str, ...] = ()
    things: tuple[str, ...] = ()


_SINGLE = ("ball", "cone", "block", "ring", "can", "gem", "pill", "pyramid")
_CROWD = ("block", "ball", "can", "cone", "bench", "ring", "dome")
_ROOMS = ("table", "block", "ball", "can", "dome", "cone")
_TRAINING = {
    "classes": _SINGLE,
    "categories": _CROWD,
    "stuff": ("floor", "wall", "ceiling", "ground", "sky"),
    "things": _ROOMS,
}

_STYLES = {
    "single": Style(
        shapes=_SINGLE, count=(1, 1), span=(0.48, 0.78), indoors=0.6, lying=0.2, tipped=0.15
    ),
    "crowd": Style(shapes=_CROWD),
    "rooms": Style(
        shapes=_ROOMS,
        count=(1, 5),
        indoors=0.8,
        eye=(0.9, 1.7),
        view=(55, 75),
        tilt=(-24, 2),
        patches=2,
    ),
    # One kind of camera at about one height, so that a single image determines meters.
    "depth": Style(
        shapes=_CROWD,
        span=(0.15, 0.5),
        radius=(0.35, 0.5),
        eye=(1.2, 1.6),
        view=(56, 64),
        tilt=(-20, 4),
        indoors=0.85,
    ),
}
_WEIGHTS_IN_POOL = {"single": 3, "crowd": 3, "rooms": 2, "depth": 2}

# Of the downstream sets: what dev and final have in common ...
_ROOM = {"indoors": 1.0, "tilt": (-22, 3)}
_DOWNSTREAM = {
    "class": {"count": (1, 1), "span": (0.45, 0.75), "lying": 0.2, "tipped": 0.15},
    "boxes": {},
    "map": _ROOM | {"count": (2, 4), "patches": 2},
    "map2": {"count": (2, 5), "indoors": 0.0, "patches": 2, "tilt": (-22, 0)},
    "depth": _ROOM | {"span": (0.15, 0.5), "patches": 2},
    "normals": _ROOM | {"span": (0.35, 0.6), "count": (1, 3), "tipped": 0.3},
}
_STUFF = {
    "class": ("floor", "wall", "ceiling", "ground", "sky"),
    "boxes": ("floor", "wall", "ceiling", "ground", "sky"),
    "map": ("floor", "wall", "ceiling", "panel"),
    "map2": ("ground", "sky", "rug"),
    "depth": ("floor", "wall", "ceiling"),
    "normals": ("floor", "wall", "ceiling"),
}
# ... and what differs: {field of the styles: (value of dev, value of final)}, and the shapes.
_LOOKS = {
    "saturation": ((0.3, 0.55), (0.7, 1.0)),
    "value": ((0.45, 1.0), (0.3, 0.8)),
    "patterns": (
        (textures.plain, textures.checks, textures.fade, textures.dots),
        (textures.marble, textures.plain, textures.rings, textures.speckle),
    ),
    "walls": ((0.55, 0.95), (0.3, 0.65)),
    "tint": (0.12, 0.09),
    "wall_patterns": ((textures.tiles, textures.mottle), (textures.bricks, textures.speckle)),
    "contrast": ((0.04, 0.1), (0.04, 0.1)),
    "ambient": ((0.25, 0.45), (0.4, 0.6)),
    "lamp": ((0.6, 2.0), (2.0, 4.0)),
    "warmth": ((0.2, 0.9), (-0.9, 0.0)),
    "view": ((35, 55), (60, 85)),
    "eye": ((1.2, 2.6), (0.4, 1.5)),
    "roll": ((-8, 8), (-5, 5)),
}
_SHAPES = {
    "dev_class": ("egg", "tent", "cup", "dumbbell", "plus", "tetra"),
    "dev_boxes": ("cup", "ramp", "bolt", "egg", "tee"),
    "dev_map": ("tent", "cup", "dumbbell", "ramp", "egg"),
    "dev_map2": ("bolt", "tetra", "egg", "plus", "tent"),
    "dev_depth": ("tee", "egg", "ramp", "cup", "tetra"),
    "dev_normals": ("egg", "tent", "bolt", "cup", "tetra"),
    "final_class": ("snowman", "nut", "house", "rocket", "spool", "arch"),
    "final_boxes": ("house", "mushroom", "nut", "lamp", "snowman"),
    "final_map": ("lamp", "stairs", "mushroom", "spool", "nut"),
    "final_map2": ("rocket", "arch", "snowman", "house", "spool"),
    "final_depth": ("arch", "nut", "stairs", "mushroom", "rocket"),
    "final_normals": ("house", "spool", "nut", "mushroom", "stairs"),
}


def _downstream(name: str, shapes: tuple[str, ...]) -> Family:
    """Return a downstream set: the look of its prefix, the scenes and labels of its task."""
    prefix, task = name.split("_")
    look = {field: final if prefix == "final" else dev for field, (dev, final) in _LOOKS.items()}
    style = Style(shapes=shapes, **_DOWNSTREAM[task], **look)
    classes = shapes if task == "class" else ()
    return Family(
        styles=(style,), classes=classes, categories=shapes, stuff=_STUFF[task], things=shapes
    )


_pool = (dataclasses.replace(_STYLES[k], weight=w) for k, w in _WEIGHTS_IN_POOL.items())
FAMILIES: dict[str, Family] = {
    **{name: Family(styles=(style,), **_TRAINING) for name, style in _STYLES.items()},
    "pool": Family(styles=tuple(_pool), **_TRAINING),
    **{name: _downstream(name, shapes) for name, shapes in _SHAPES.items()},
}
"""Every family. They stand for: single ImageNet, crowd Objects365, rooms COCO, depth and pool the
paper's depth set and unlabeled pool, dev and final the six downstream sets."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SceneConfig:
    """The values of one data set of synthetic scenes; a BuilderConfig to TFDS.

    Image i of a split depends on (family, data_seed, split, i) alone: another size shows the same
    worlds in other pixels, and a longer split begins with the shorter one's images.

    Attributes:
        family: a name in FAMILIES.
        size: height and width, pixels.
        data_seed: of the worlds.
        train, validation, test: number of images; a split of 0 is absent.
        first: the i of a split's first image: sets that continue each other share no image.

    Example:
        SceneConfig(family="single", size=64, train=2000).name  # "single-64px-seed0-2000-200-400"
    """

    family: str
    size: int = 64
    data_seed: int = 0
    train: int = 2000
    validation: int = 200
    test: int = 400
    first: int = 0

    def __post_init__(self):
        if self.family not in FAMILIES:
            raise UserError(f"family must be one of {sorted(FAMILIES)}, received {self.family!r}.")
        if self.size < 16:
            raise UserError(f"size must be at least 16 pixels, received {self.size}.")
        if min(self.data_seed, self.train, self.validation, self.test, self.first) < 0:
            raise UserError(f"data_seed and numbers of images must not be negative: {self}.")

    @property
    def name(self) -> str:
        """A name that is unique for these values; the folder of the prepared data set."""
        counts = f"{self.train}-{self.validation}-{self.test}"
        first = f"-from{self.first}" if self.first else ""
        return f"{self.family}-{self.size}px-seed{self.data_seed}-{counts}{first}"

    @property
    def splits(self) -> dict[str, int]:
        """{split: number of images} of the splits with any."""
        counts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {split: count for split, count in counts.items() if count}

    @property
    def definition(self) -> Family:
        """The styles and the class lists of the family."""
        return FAMILIES[self.family]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the one-object images' classes; empty for a set without them."""
        return self.definition.classes

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the boxes' labels."""
        return self.definition.categories

    @property
    def semantic_classes(self) -> tuple[str, ...]:
        """Names of the semantic map's values: the stuff, then the things."""
        return self.definition.stuff + self.definition.things

    # What else TFDS reads of a BuilderConfig; properties, so that rendering needs no TensorFlow.
    version = release_notes = None
    supported_versions = tags = ()

    @property
    def description(self) -> str:
        """One line for TFDS's metadata."""
        return f"Synthetic scenes, family {self.family}, {self.size} px, seed {self.data_seed}."
