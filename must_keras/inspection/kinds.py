"""What a kind of labels means for a recipe: the task that learns it, with values from the data."""

from typing import Any, ClassVar, Protocol

from must_keras.data.sources import LabelSpace
from must_keras.errors import listed
from must_keras.inspection import choices
from must_keras.inspection.code import Call, Text
from must_keras.inspection.contents import Contents
from must_keras.tasks import Classification, Depth, Detection, Normals, Segmentation

# Pixels that count towards a loss are every fourth one: a CPU's share of the paper's head.
_MAPS = {"loss_stride": 4, "channels": 64, "num_convs": 2}
_MAX_NAMES = 6


class Kind(Protocol):
    """A kind of labels.

    Attributes:
        noun: for tables: "boxes".
        teacher: further arguments of its teacher.
        keeps_scale: whether an enlarged image would contradict its labels.

    Example:
        Classes().task("species", Text("species.train..."), contents, 128)
    """

    noun: str
    teacher: ClassVar[dict[str, Any]]
    keeps_scale: bool

    def task(self, name: str, classes: Text, contents: Contents, size: int) -> Call:
        """Return the call that makes the task.

        Args:
            name: of the head.
            classes: names of its classes, as a recipe writes them.
            contents: of its training set.
            size: sides of the network's input in pixels.
        """
        ...

    def summary(self, space: LabelSpace, contents: Contents) -> str:
        """Return what the labels are, for a person: "3 classes (elm, fir, oak)"."""
        ...

    def reasons(self, contents: Contents, size: int) -> str:
        """Return why the task has the values that it has, a comment; "" where it has none."""
        ...


class Classes:
    """One class an image.

    Example:
        Classes().summary(LabelSpace("classes", ("elm", "oak")), contents)  # "2 classes (elm, oak)"
    """

    noun = "classes"
    teacher: ClassVar[dict[str, Any]] = {}
    keeps_scale = False

    def task(self, name: str, classes: Text, contents: Contents, size: int) -> Call:
        return Call(Classification, {"name": name, "classes": classes})

    def summary(self, space: LabelSpace, contents: Contents) -> str:
        return _classes(space)

    def reasons(self, contents: Contents, size: int) -> str:
        return ""


class Boxes:
    """Boxes, some of which may have masks.

    Example:
        Boxes().task("fruit", classes, contents, 256)
    """

    noun = "boxes"
    teacher: ClassVar[dict[str, Any]] = {"threshold": 0.5}
    keeps_scale = False

    def task(self, name: str, classes: Text, contents: Contents, size: int) -> Call:
        room = choices.room_for_boxes(contents.most_boxes)
        scales = choices.anchor_scales_for(contents.boxes_at(size), size)
        masks = {} if contents.has_masks else {"with_masks": False}
        values = {
            "anchor_scales": scales, "max_boxes": room, "max_stored": room, "max_detections": room,
            "num_proposals": max(64, 2 * room),
        }  # fmt: skip
        narrow = Text("CPU_DETECTOR", choices.CPU_DETECTOR)
        return Call(Detection, {"name": name, "classes": classes} | values | masks | {"**": narrow})

    def summary(self, space: LabelSpace, contents: Contents) -> str:
        masks = "boxes and masks" if contents.has_masks else "boxes"
        return f"{masks} of {_classes(space)}, at most {contents.most_boxes} an image"

    def reasons(self, contents: Contents, size: int) -> str:
        boxes = contents.boxes_at(size)
        if not len(boxes):
            return ""
        low, high = choices.range_of_sides(boxes)
        masks = "" if contents.has_masks else "; no box has a mask"
        return (
            f"At {size} px most boxes have sides of {low:.0f} to {high:.0f} px; an image has at "
            f"most {contents.most_boxes}{masks}."
        )


class _Maps:
    """A number or more for every pixel."""

    teacher: ClassVar[dict[str, Any]] = {}
    keeps_scale = False

    def reasons(self, contents: Contents, size: int) -> str:
        return ""


class Maps(_Maps):
    """A class for every pixel.

    Example:
        Maps().task("street", classes, contents, 256)
    """

    noun = "maps"
    teacher: ClassVar[dict[str, Any]] = {"threshold": 0.5}

    def task(self, name: str, classes: Text, contents: Contents, size: int) -> Call:
        return Call(Segmentation, {"name": name, "classes": classes, **_MAPS})

    def summary(self, space: LabelSpace, contents: Contents) -> str:
        return f"maps of {_classes(space)}"


class Depths(_Maps):
    """Meters for every pixel.

    Example:
        Depths().teacher  # {"loss_weight": 1.0}
    """

    noun = "depth"
    # The paper's rule has no weight for depth.
    teacher: ClassVar[dict[str, Any]] = {"loss_weight": 1.0}
    keeps_scale = True

    def task(self, name: str, classes: Text, contents: Contents, size: int) -> Call:
        return Call(Depth, {"name": name, **_MAPS})

    def summary(self, space: LabelSpace, contents: Contents) -> str:
        return "depth in meters"


class SurfaceNormals(_Maps):
    """The direction of the surface for every pixel.

    Example:
        SurfaceNormals().noun  # "normals"
    """

    noun = "normals"

    def task(self, name: str, classes: Text, contents: Contents, size: int) -> Call:
        return Call(Normals, {"name": name, **_MAPS})

    def summary(self, space: LabelSpace, contents: Contents) -> str:
        return "surface normals"


def _classes(space: LabelSpace) -> str:
    count = len(space.classes)
    names = listed(space.classes, limit=_MAX_NAMES)
    return f"{count} class{'' if count == 1 else 'es'} ({names})"
