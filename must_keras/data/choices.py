"""Values of a recipe that are chosen from the labels of a training set.

A recipe calls these functions, so that a run records plain numbers. A choice depends on the labels
and the size of the network alone, never on the machine. `fitted_detection` returns a whole task;
each of the functions `choose_...` returns one value, with a reason of one line.
"""

import dataclasses
import functools
import math
import sys
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from must_keras.data.augmentation import Augmentation
from must_keras.data.examples import LabeledExamples
from must_keras.data.label_checks import check_labels_head
from must_keras.data.sources import Source, original_size
from must_keras.data.sources.source import check_sources
from must_keras.errors import DataError, UserError, not_allowed, warn_once
from must_keras.log import LOG
from must_keras.tasks.base import Task
from must_keras.tasks.detection import Detection
from must_keras.tasks.detection.anchors import Anchors, best_ious, evenly, fit_anchors
from must_keras.tasks.summaries import Framing

# Images whose labels are read, evenly spread over a source.
MAX_IMAGES = 2000
# Room beyond the largest number of objects: images that were not read, and those of the pool.
_HEADROOM, _ROOM_STEP = 1.25, 8
_MIN_ROOM, _MAX_ROOM = 16, 512
_UNSCALED = (1.0, 1.0)

Value = TypeVar("Value")


class Chosen(NamedTuple, Generic[Value]):
    """A value that was chosen from data, with the reason.

    Attributes:
        value: for a field of a recipe.
        reason: one line for a log, or a comment beside the value.

    Example:
        Chosen(16, "the largest number of objects is 5").value  # 16
    """

    value: Value
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingBoxes:
    """The objects of a source's labels as a network receives them, without ignored ones.

    Attributes:
        boxes: [N, 4] (ymin, xmin, ymax, xmax) in pixels of the input that the whole image fits,
            objects of at least one pixel a side.
        counts: [I] number of objects of each labeled image that was read.
        num_with_mask: number of objects that have a mask.
        size: sides of the network's input in pixels.

    Example:
        found = read_boxes(source, Detection(name="fruit", classes=("apple", "pear")), size=128)
        choose_anchors(found).value.scales, choose_max_boxes(found).value
    """

    boxes: np.ndarray
    counts: np.ndarray
    num_with_mask: int
    size: int


def read_boxes(
    source: Source, task: Detection, *, size: int, max_images: int = MAX_IMAGES
) -> TrainingBoxes:
    """Read the objects of a source's labels, and of its images the sizes alone.

    Args:
        source: a training set. Images that are gone or unreadable are skipped.
        task: the head, of any values.
        size: sides of the network's input in pixels.
        max_images: of a larger source so many are read, evenly spread.

    Raises:
        UserError: the source has no such labels, or one cannot be read.
    """
    if size < 1:
        raise UserError.of(f"head {task.name!r}", "size", size, "expected at least 1 pixel")
    check_labels_head(f"head {task.name!r}", source, task)
    # The number of objects is to be found out: none is too many.
    task = dataclasses.replace(task, max_boxes=sys.maxsize)
    examples = LabeledExamples(source, [task])
    boxes, counts, num_with_mask = [np.zeros((0, 4))], [], 0
    number = min(len(source), max_images)
    for index in np.linspace(0, max(len(source) - 1, 0), number).round().astype(int):
        labels, origins = examples.labels_and_origins(int(index))
        if origins[task.name] == "missing":
            continue
        try:
            original = original_size(source, int(index))
        except (UserError, DataError):
            continue
        stored = labels[task.name]
        is_object = ~np.asarray(stored["ignore"], bool)
        boxes.append(task.labels.content(stored, Framing(original, size)).boxes)
        counts.append(int(is_object.sum()))
        num_with_mask += int((is_object & np.asarray(stored["has_mask"], bool)).sum())
    return TrainingBoxes(
        boxes=np.concatenate(boxes),
        counts=np.array(counts, int),
        num_with_mask=num_with_mask,
        size=size,
    )


def choose_anchors(found: TrainingBoxes, *, scale: float = 1.0) -> Chosen[Anchors | None]:
    """Return the anchors that overlap the boxes best (see `fit_anchors`); None without a box.

    Args:
        found: the training boxes.
        scale: typical side of a training image relative to the largest that fits the input, as
            `Augmentation.typical_scale`; boxes grow or shrink about their centers.
    """
    if not scale > 0.0:
        raise UserError.of("anchors", "scale", scale, "expected a positive number")
    if not len(found.boxes):
        return Chosen(None, "the default, for want of an object of at least one pixel")
    boxes = evenly(found.boxes)
    centers, halves = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    boxes = np.concatenate([centers - scale * halves, centers + scale * halves], axis=1)
    fitted = fit_anchors(boxes, size=found.size)
    mean = best_ious(boxes, fitted, size=found.size).mean()
    median = np.median(2 * scale * np.sqrt(halves.prod(axis=1)))
    return Chosen(
        fitted,
        f"the best anchor's IoU with a box is {mean:.2f} on average; {len(found.boxes):,} boxes, "
        f"median side {median:.3g} px at {found.size} px",
    )


def choose_max_boxes(found: TrainingBoxes) -> Chosen[int]:
    """Return the room for an image's objects in a batch.

    The largest number of objects in an image and a quarter more, rounded up to a multiple of 8;
    between 16, for images of a pool with more objects, and 512, for the memory of their masks. More
    objects are ignored, with a warning.
    """
    most = int(found.counts.max(initial=0))
    room = math.ceil(_HEADROOM * most / _ROOM_STEP) * _ROOM_STEP
    room = min(max(room, _MIN_ROOM), _MAX_ROOM)
    images = len(found.counts)
    objects = "object is" if most == 1 else "objects are"
    return Chosen(
        room, f"at most {most} {objects} in one of {images:,} images; the rest is headroom"
    )


def choose_with_masks(found: TrainingBoxes) -> Chosen[bool]:
    """Return whether an object has a mask: without any, a mask head would not be taught."""
    number = f"{found.num_with_mask:,} of {int(found.counts.sum()):,} objects have a mask"
    return Chosen(found.num_with_mask > 0, number)


def choose_scale(
    task: Task, scale: tuple[float, float] = Augmentation.scale
) -> Chosen[tuple[float, float]]:
    """Return the scale of an augmentation: no change for labels with the unit of a length.

    A view changes no meters (see `Depth`). An enlarged object looks nearer than its label: such
    examples contradict others, which blurs metric depth.

    Args:
        task: that is trained.
        scale: of other tasks.

    Example:
        >>> from must_keras.tasks import Depth
        >>> choose_scale(Depth(name="far")).value, choose_scale(Depth(name="far"), (0.5, 2.0)).value
        ((1.0, 1.0), (1.0, 1.0))
        >>> choose_scale(Depth(name="far", kind="relative_inverse"), (0.5, 2.0)).value
        (0.5, 2.0)
    """
    if task.labels.has_length:
        return Chosen(
            _UNSCALED, f"labels in {task.unit} are wrong for an enlarged or reduced image"
        )
    return Chosen(scale, "labels change with the image, or not at all")


def choose_detection(
    found: TrainingBoxes, num_classes: int, *, scale: float = 1.0, **fields: Any
) -> dict[str, Chosen]:
    """Return the fields of a detection task that follow from the training boxes, with reasons.

    Args:
        found: the training boxes.
        num_classes: number of the task's classes.
        scale: see `choose_anchors`.
        fields: those that are given; they are left out.

    Example:
        choose_detection(found, 1)["max_boxes"].value  # 16
    """
    room = choose_max_boxes(found)
    chosen: dict[str, Chosen] = {"max_boxes": room, "with_masks": choose_with_masks(found)}
    if not {"anchor_scales", "anchor_ratios"} & fields.keys():
        chosen |= _anchor_fields(choose_anchors(found, scale=scale))
    # All of an image's objects can be stored and detected.
    stored = max(Detection.max_stored, fields.get("max_boxes", room.value))
    regions = fields.get("num_proposals", Detection.num_proposals) * num_classes
    for field, value in {"max_stored": stored, "max_detections": min(stored, regions)}.items():
        if value != getattr(Detection, field):
            chosen[field] = Chosen(value, f"with room for max_boxes={room.value} objects")
    return {field: choice for field, choice in chosen.items() if field not in fields}


def fitted_detection(
    source: Source, *, name: str, size: int, scale: float = 1.0, **fields: Any
) -> Detection:
    """Return a detection task with values that are chosen from the labels of a training set.

    Chosen are, where `fields` does not name them: the classes of the source, anchor_scales and
    anchor_ratios (`choose_anchors`), max_boxes (`choose_max_boxes`), with_masks
    (`choose_with_masks`), and max_stored and max_detections: at least their defaults, and
    max_boxes. What was chosen is logged, each with its reason.

    Args:
        source: the training set; at most 2,000 of its labels are read, evenly spread.
        name: of the head.
        size: sides of the network's input in pixels.
        scale: see `choose_anchors`.
        fields: further fields of `Detection`; they are taken as they are.

    Raises:
        UserError: the source has no labels for such a head, or a field is not one of Detection's.

    Example:
        mk.fitted_detection(sets.train, name="fruit", size=128, rpn_channels=64)
    """
    check_sources(f"head {name!r}", [source])
    known = [field.name for field in dataclasses.fields(Detection)]
    for field in fields:
        if field not in known:
            what = f"head {name!r}: Detection has no field {field!r}"
            raise not_allowed(what, field, known, key=field)
    classes = fields.get("classes", source.label_spaces[name].classes)
    found = read_boxes(source, Detection(name=name, classes=classes), size=size)
    proposals = fields.get("num_proposals", Detection.num_proposals)
    most = int(found.counts.max(initial=0))
    if most > proposals:
        room = choose_max_boxes(found).value
        warn_once(
            f"head {name!r}: num_proposals={proposals} regions of an image cannot be those of "
            f"{most} objects; num_proposals={room} can"
        )
    chosen = choose_detection(found, len(classes), scale=scale, **fields)
    for field, choice in chosen.items():
        _report(f"head {name!r}: {field}={choice.value!r}: {choice.reason}")
    values = {field: choice.value for field, choice in chosen.items()}
    return Detection(**{"name": name, "classes": classes} | values | fields)


def _anchor_fields(choice: Chosen[Anchors | None]) -> dict[str, Chosen]:
    if choice.value is None:
        return {}
    scales, ratios = choice.value
    fields = {"anchor_scales": Chosen(scales, choice.reason)}
    if ratios != Detection.anchor_ratios:
        fields["anchor_ratios"] = Chosen(ratios, "the usual ones fit the boxes less")
    return fields


@functools.lru_cache(maxsize=1024)
def _report(message: str) -> None:
    """Log what was chosen, once in a process; on stderr, beside the output of any command."""
    LOG.warning(message)
