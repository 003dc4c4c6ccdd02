"""Predictions of one head for one image, as users get them: a small class for each form.

N objects, K classes, H W pixels of the image. Boxes are (ymin, xmin, ymax, xmax), half-open, in
pixels of the image.
"""

import dataclasses
import functools
from typing import NamedTuple

import numpy as np

from must_keras.ops.masks import paste
from must_keras.tasks.parts import Size


class RankedClass(NamedTuple):
    """A class with its probability.

    Example:
        >>> RankedClass("bee", 0.8).class_name
        'bee'
    """

    class_name: str
    probability: float


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ClassProbabilities:
    """How likely an image shows each class.

    Attributes:
        probabilities: [K] float32, they add up to 1.
        class_names: the name of each of the K classes.

    Example:
        >>> found = ClassProbabilities(
        ...     probabilities=np.float32([0.25, 0.75]), class_names=("ant", "bee")
        ... )
        >>> found.top(1)
        [RankedClass(class_name='bee', probability=0.75)]
    """

    probabilities: np.ndarray
    class_names: tuple[str, ...]

    def top(self, k: int = 5) -> list[RankedClass]:
        """Return the k most likely classes, the most likely one first; all where there are fewer.

        Example:
            result["kind"].top(1)[0].class_name  # "bee"
        """
        order = np.argsort(-self.probabilities, kind="stable")[: max(k, 0)]
        return [RankedClass(self.class_names[i], float(self.probabilities[i])) for i in order]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TagProbabilities:
    """How likely an image has each tag.

    Attributes:
        tags: [K] float32, the probability of each tag, in [0, 1].
        class_names: the name of each of the K tags.

    Example:
        >>> found = TagProbabilities(
        ...     tags=np.float32([0.25, 0.75]), class_names=("beach", "people")
        ... )
        >>> found.above(0.5)
        [RankedClass(class_name='people', probability=0.75)]
    """

    tags: np.ndarray
    class_names: tuple[str, ...]

    def above(self, threshold: float = 0.5) -> list[RankedClass]:
        """Return the tags with at least this probability, the most likely first."""
        order = np.argsort(-self.tags, kind="stable")
        found = [RankedClass(self.class_names[i], float(self.tags[i])) for i in order]
        return [one for one in found if one.probability >= threshold]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Objects:
    """The objects of an image, by descending score.

    Attributes:
        boxes: [N, 4] float32 (ymin, xmin, ymax, xmax) in pixels of the image.
        scores: [N] float32 in [0, 1].
        classes: [N] int32, each object's index in the head's list of classes.
        class_names: the name of each object's class, N of them.
        mask_crops: [N, h, w] float32, the probability in each cell of an object's own box; None
            of a head without masks.
        image_size: (height, width) of the image.

    Example:
        >>> found = Objects(
        ...     boxes=np.float32([[0, 1, 2, 3]]), scores=np.float32([0.9]), classes=np.int32([1]),
        ...     class_names=("dog",), mask_crops=np.ones((1, 7, 7), np.float32), image_size=(4, 4),
        ... )
        >>> len(found), found.class_names, found.masks.shape
        (1, ('dog',), (1, 4, 4))
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    class_names: tuple[str, ...]
    mask_crops: np.ndarray | None
    image_size: Size

    def __len__(self) -> int:
        return len(self.boxes)

    @functools.cached_property
    def masks(self) -> np.ndarray | None:
        """[N, H, W] bool: the pixels of each object; None of a head without masks.

        They are pasted into the image when they are first read, and take N * H * W bytes.
        """
        if self.mask_crops is None:
            return None
        masks = np.zeros((len(self), *self.image_size), bool)
        for i, (crop, box) in enumerate(zip(self.mask_crops, self.boxes, strict=True)):
            masks[i] = paste(crop, box, self.image_size) > 0
        return masks


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ClassMap:
    """The class of every pixel.

    Attributes:
        map: [H, W] uint8, each pixel's index in `class_names`.
        confidence: [H, W] float32, the probability of that class.
        class_names: the name of each of the K classes.

    Example:
        >>> found = ClassMap(
        ...     map=np.uint8([[0, 1]]), confidence=np.float32([[0.5, 1]]),
        ...     class_names=("wall", "floor"),
        ... )
        >>> found.class_names[found.map[0, 1]]
        'floor'
    """

    map: np.ndarray
    confidence: np.ndarray
    class_names: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DepthMap:
    """How far every pixel is.

    Attributes:
        depth: [H, W] float32, positive: meters, or relative inverse depth (larger is nearer).
        unit: "m", or "" of a relative depth.

    Example:
        >>> DepthMap(depth=np.float32([[2.5]]), unit="m").depth.shape
        (1, 1)
    """

    depth: np.ndarray
    unit: str


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class NormalMap:
    """Which way every visible surface faces.

    Attributes:
        normals: [H, W, 3] float32 unit vectors in the camera's axes (X right, Y down, Z forward).

    Example:
        >>> NormalMap(normals=np.float32([[[0, 0, -1]]])).normals.shape
        (1, 1, 3)
    """

    normals: np.ndarray
