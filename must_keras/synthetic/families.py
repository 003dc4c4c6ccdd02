"""The data sets by name: what each draws, how it looks, and the class lists it is labeled in.

The five training families share one vocabulary, so that a pool picture's truth is told in the
words of every teacher. The six dev and the six final sets have other shapes, colors, textures,
light and cameras than the training families and than each other: nothing that is tuned on dev was
seen in final.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from must_keras.synthetic import textures

Range = tuple[float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Class lists; what is not listed has no label of that kind.

    Attributes:
        classes: of a one-object picture, by index.
        categories: of boxes and instance masks, by index.
        stuff: of the semantic map, first; "floor", "wall", "ceiling", "ground" and "sky" are drawn
            everywhere, "panel" (flat on a wall) and "rug" (flat on the floor or ground) count as
            their wall, floor or ground where they are not listed.
        things: shapes of the semantic map, after the stuff.

    """

    classes: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    stuff: tuple[str, ...] = ()
    things: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Look:
    """How a kind of picture looks. Ranges are (low, high), drawn uniformly.

    Attributes:
        shapes: what is drawn; the first is drawn 1.7 times as often as the last.
        count: (fewest, most) objects; less where there is no room for more.
        span: radius of an object as a share of half the picture's width.
        radius: of an object, meters.
        indoors: share of rooms; the rest stands on open ground under a sky.
        eye: height of the camera, meters.
        view: horizontal field of view, degrees.
        tilt: shift of the camera's pitch from looking straight at the objects, degrees.
        roll: of the camera, degrees.
        lying: share of objects on their side; tipped: share at any angle.
        saturation, value: of objects' colors (every hue, whatever the shape).
        patterns: of objects; the first is drawn half of the time.
        walls: (low, high) gray of walls, floors, ceilings and ground; tint: how colored they are.
        wall_patterns: of walls, floors and ground; contrast: of these patterns.
        patches: most flat panels and rugs each.
        ambient: share of light without direction.
        lamp: height of the light above the objects, meters.
        warmth: (low, high) color of the light, -1 blue to 1 yellow.
        weight: how often the look is drawn in a family of several looks.

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
    """A data set: a mixture of looks, labeled in one vocabulary."""

    looks: tuple[Look, ...]
    vocabulary: Vocabulary


_SINGLE = ("ball", "cone", "block", "ring", "can", "gem", "pill", "pyramid")
_CROWD = ("block", "ball", "can", "cone", "bench", "ring", "dome")
_ROOMS = ("table", "block", "ball", "can", "dome", "cone")
_TRAINING = Vocabulary(
    classes=_SINGLE,
    categories=_CROWD,
    stuff=("floor", "wall", "ceiling", "ground", "sky"),
    things=_ROOMS,
)

_single = Look(shapes=_SINGLE, count=(1, 1), span=(0.48, 0.78), indoors=0.6, lying=0.2, tipped=0.15)
_crowd = Look(shapes=_CROWD)
_rooms = Look(
    shapes=_ROOMS,
    count=(1, 5),
    indoors=0.8,
    eye=(0.9, 1.7),
    view=(55, 75),
    tilt=(-24, 2),
    patches=2,
)
# One kind of camera at about one height, so that a single picture can tell meters.
_depth = Look(
    shapes=_CROWD,
    count=(1, 4),
    span=(0.15, 0.5),
    radius=(0.35, 0.5),
    eye=(1.2, 1.6),
    view=(56, 64),
    tilt=(-20, 4),
    indoors=0.85,
)


def _several(weight: float, look: Look) -> Look:
    return dataclasses.replace(look, weight=weight)


_dev = {
    "saturation": (0.3, 0.55),
    "value": (0.45, 1.0),
    "patterns": (textures.plain, textures.checks, textures.fade, textures.dots),
    "walls": (0.55, 0.95),
    "tint": 0.12,
    "wall_patterns": (textures.tiles, textures.mottle),
    "contrast": (0.04, 0.1),
    "ambient": (0.25, 0.45),
    "lamp": (0.6, 2.0),
    "warmth": (0.2, 0.9),
    "view": (35, 55),
    "eye": (1.2, 2.6),
    "roll": (-8, 8),
}
_final = {
    "saturation": (0.7, 1.0),
    "value": (0.3, 0.8),
    "patterns": (textures.marble, textures.plain, textures.rings, textures.speckle),
    "walls": (0.3, 0.65),
    "tint": 0.09,
    "wall_patterns": (textures.bricks, textures.speckle),
    "contrast": (0.04, 0.1),
    "ambient": (0.4, 0.6),
    "lamp": (2.0, 4.0),
    "warmth": (-0.9, 0.0),
    "view": (60, 85),
    "eye": (0.4, 1.5),
    "roll": (-5, 5),
}


def _downstream(prefix: str, style: dict, shapes: dict[str, tuple[str, ...]]) -> dict[str, Family]:
    """Six families in one style: class, boxes, map, map2, depth, normals."""
    room = {"indoors": 1.0, "tilt": (-22, 3), **style}
    looks = {
        "class": Look(
            shapes=shapes["class"], count=(1, 1), span=(0.45, 0.75), lying=0.2, tipped=0.15, **style
        ),
        "boxes": Look(shapes=shapes["boxes"], **style),
        "map": Look(shapes=shapes["map"], count=(2, 4), patches=2, **room),
        "map2": Look(
            shapes=shapes["map2"], count=(2, 5), indoors=0.0, patches=2, tilt=(-22, 0), **style
        ),
        "depth": Look(shapes=shapes["depth"], span=(0.15, 0.5), patches=2, **room),
        "normals": Look(
            shapes=shapes["normals"], span=(0.35, 0.6), count=(1, 3), tipped=0.3, **room
        ),
    }
    stuff = {
        "map": ("floor", "wall", "ceiling", "panel"),
        "map2": ("ground", "sky", "rug"),
    }
    indoor_stuff = ("floor", "wall", "ceiling")
    families = {}
    for task, look in looks.items():
        families[f"{prefix}_{task}"] = Family(
            looks=(look,),
            vocabulary=Vocabulary(
                classes=look.shapes if task == "class" else (),
                categories=look.shapes,
                stuff=stuff.get(
                    task, (*indoor_stuff, *(() if look.indoors == 1 else ("ground", "sky")))
                ),
                things=look.shapes,
            ),
        )
    return families


FAMILIES: dict[str, Family] = {
    "single": Family(looks=(_single,), vocabulary=_TRAINING),
    "crowd": Family(looks=(_crowd,), vocabulary=_TRAINING),
    "rooms": Family(looks=(_rooms,), vocabulary=_TRAINING),
    "depth": Family(looks=(_depth,), vocabulary=_TRAINING),
    "pool": Family(
        looks=(_several(3, _single), _several(3, _crowd), _several(2, _rooms), _several(2, _depth)),
        vocabulary=_TRAINING,
    ),
    **_downstream(
        "dev",
        _dev,
        {
            "class": ("egg", "tent", "cup", "dumbbell", "plus", "tetra"),
            "boxes": ("cup", "ramp", "bolt", "egg", "tee"),
            "map": ("tent", "cup", "dumbbell", "ramp", "egg"),
            "map2": ("bolt", "tetra", "egg", "plus", "tent"),
            "depth": ("tee", "egg", "ramp", "cup", "tetra"),
            "normals": ("egg", "tent", "bolt", "cup", "tetra"),
        },
    ),
    **_downstream(
        "final",
        _final,
        {
            "class": ("snowman", "nut", "house", "rocket", "spool", "arch"),
            "boxes": ("house", "mushroom", "nut", "lamp", "snowman"),
            "map": ("lamp", "stairs", "mushroom", "spool", "nut"),
            "map2": ("rocket", "arch", "snowman", "house", "spool"),
            "depth": ("arch", "nut", "stairs", "mushroom", "rocket"),
            "normals": ("house", "spool", "nut", "mushroom", "stairs"),
        },
    ),
}
"""Every family; the names play: single ImageNet, crowd Objects365, rooms COCO, depth and pool the
paper's depth set and unlabeled pool, dev and final the six downstream sets."""
