"""What a kind of labels means for a recipe: the task that learns it, with values from the data."""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from must_keras.data.choices import Chosen, choose_detection, choose_max_boxes, read_boxes
from must_keras.data.sources import LabelSpace, Source
from must_keras.errors import listed
from must_keras.inspection.contents import Contents
from must_keras.tasks import Classification, Depth, Detection, Normals, Segmentation, Tags
from must_keras.tasks.base import Task

_MAX_NAMES = 6
_MIN_PROPOSALS = 64
_PROPOSALS = "at least twice max_boxes: half of the regions may be near-duplicates of others"
_THRESHOLD = Chosen(0.5, "pseudo labels with a lower score are dropped")


class Kind(Protocol):
    """A kind of labels.

    Attributes:
        noun: for tables: "boxes".
        task: the class of the task that learns them.
        teacher: further arguments of its teacher, with reasons.
        widths: fields of the task for a CPU, as the recipe's network; the defaults are the paper's.

    Example:
        Boxes().fields(source, "fruit", 256)["max_boxes"].reason
    """

    noun: str
    task: type[Task]
    teacher: ClassVar[Mapping[str, Chosen[Any]]]
    widths: ClassVar[Mapping[str, int]]

    def fields(self, source: Source, head: str, size: int) -> dict[str, Chosen[Any]]:
        """Return fields of the task that are chosen, beside those that the labels give.

        Args:
            source: the training set.
            head: of its labels.
            size: sides of the network's input in pixels.
        """
        ...

    def summary(self, space: LabelSpace, contents: Contents) -> str:
        """Return what the labels are, for a person: "3 classes (elm, fir, oak)"."""
        ...


class Classes:
    """One class an image.

    Example:
        Classes().summary(LabelSpace("classes", ("elm", "oak")), contents)  # "2 classes (elm, oak)"
    """

    noun = "classes"
    task = Classification
    teacher: ClassVar[Mapping[str, Chosen[Any]]] = {}
    widths: ClassVar[Mapping[str, int]] = {}

    def fields(self, source: Source, head: str, size: int) -> dict[str, Chosen[Any]]:
        return {}

    def summary(self, space: LabelSpace, contents: Contents) -> str:
        return _classes(space)


class ImageTags:
    """Any number of tags an image.

    Example:
        ImageTags().summary(LabelSpace("tags", ("beach", "people")), contents)
    """

    noun = "tags"
    task = Tags
    teacher: ClassVar[Mapping[str, Chosen[Any]]] = {
        "threshold": Chosen(0.8, "a pseudo label's tag of a probability of 0.2 to 0.8 is unknown")
    }
    widths: ClassVar[Mapping[str, int]] = {}

    def fields(self, source: Source, head: str, size: int) -> dict[str, Chosen[Any]]:
        return {}

    def summary(self, space: LabelSpace, contents: Contents) -> str:
        return _named(space, "tag", "tags")


class Boxes:
    """Boxes, some of which may have masks.

    Example:
        Boxes().fields(source, "fruit", 256)["anchor_scales"].value
    """

    noun = "boxes"
    task = Detection
    teacher: ClassVar[Mapping[str, Chosen[Any]]] = {"threshold": _THRESHOLD}
    widths: ClassVar[Mapping[str, int]] = {
        "rpn_channels": 64, "num_candidates": 256, "num_regions": 32, "box_channels": 32,
        "box_units": 128, "mask_channels": 32,
    }  # fmt: skip

    def fields(self, source: Source, head: str, size: int) -> dict[str, Chosen[Any]]:
        found = read_boxes(source, Detection.of(source, name=head), size=size)
        proposals = max(_MIN_PROPOSALS, 2 * choose_max_boxes(found).value)
        num_classes = len(source.label_spaces[head].classes)
        chosen = choose_detection(found, num_classes, num_proposals=proposals)
        return chosen | {"num_proposals": Chosen(proposals, _PROPOSALS)}

    def summary(self, space: LabelSpace, contents: Contents) -> str:
        masks = "boxes and masks" if contents.has_masks else "boxes"
        return f"{masks} of {_classes(space)}, at most {contents.most_boxes} an image"


class _Maps:
    """A number or more for every pixel."""

    teacher: ClassVar[Mapping[str, Chosen[Any]]] = {}
    widths: ClassVar[Mapping[str, int]] = {"channels": 64, "num_convs": 2}

    def fields(self, source: Source, head: str, size: int) -> dict[str, Chosen[Any]]:
        return {}


class Maps(_Maps):
    """A class for every pixel.

    Example:
        Maps().teacher["threshold"].value  # 0.5
    """

    noun = "maps"
    task = Segmentation
    teacher: ClassVar[Mapping[str, Chosen[Any]]] = {"threshold": _THRESHOLD}

    def summary(self, space: LabelSpace, contents: Contents) -> str:
        return f"maps of {_classes(space)}"


class Depths(_Maps):
    """Meters for every pixel.

    Example:
        Depths().teacher["loss_weight"].value  # 1.0
    """

    noun = "depth"
    task = Depth
    teacher: ClassVar[Mapping[str, Chosen[Any]]] = {
        "loss_weight": Chosen(1.0, "the paper's rule has no weight for depth")
    }

    def summary(self, space: LabelSpace, contents: Contents) -> str:
        return "depth in meters"


class SurfaceNormals(_Maps):
    """The direction of the surface for every pixel.

    Example:
        SurfaceNormals().noun  # "normals"
    """

    noun = "normals"
    task = Normals

    def summary(self, space: LabelSpace, contents: Contents) -> str:
        return "surface normals"


def _classes(space: LabelSpace) -> str:
    return _named(space, "class", "classes")


def _named(space: LabelSpace, one: str, several: str) -> str:
    """Return a number of names, and the first of them."""
    count = len(space.classes)
    names = listed(space.classes, limit=_MAX_NAMES)
    return f"{count} {one if count == 1 else several} ({names})"
