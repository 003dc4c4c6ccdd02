"""What a training image goes through: one geometric view for all labels, and photometric changes.

Every draw is a function of the example's key (ops/draws.py).
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import cv2
import numpy as np
import tensorflow as tf
from keras import ops

from must_keras.data.rand_augment import RandAugment, change_colors, geometry
from must_keras.ops import keyed_random
from must_keras.ops.views import View, letterbox, mirrored

Tensor = Any

# Purposes of the draws that belong to one key.
_VIEW, _COLOR = 101, 102


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Values of one recipe.

    Attributes:
        scale: (low, high) size of the picture relative to the largest that fits; above 1 it is
            cropped, below 1 padded.
        mirror: whether half of the pictures are mirrored left to right.
        brightness: largest relative change of brightness, contrast and saturation each; 0: none.
        rand_augment: more changes, geometric ones among them; None: none.
    """

    scale: tuple[float, float] = (0.8, 1.25)
    mirror: bool = True
    brightness: float = 0.2
    rand_augment: RandAugment | None = None

    @property
    def largest_scale(self) -> float:
        """Largest side of an image relative to the largest one that fits the input."""
        return max(self.scale)

    def describe(self) -> dict[str, Any]:
        """The fields; without RandAugment, which came later, where it is not used."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        if self.rand_augment is None:
            del fields["rand_augment"]
        return {"type": "Augmentation"} | fields

    def view(self, original_size: Tensor, size: tuple[int, int], key: Tensor) -> View:
        """See `random_view`."""
        return random_view(original_size, size, key, self)

    def colors(self, image: Tensor, key: Tensor) -> Tensor:
        """See `photometric`."""
        return photometric(image, key, self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WholeImages:
    """Every image as evaluation sees it, so that an image has one view, or two.

    Attributes:
        mirror: whether half of the pictures are mirrored left to right.
    """

    mirror: bool = True
    largest_scale: ClassVar[float] = 1.0

    def is_mirrored(self, key: Tensor) -> Tensor:
        """Bool, whether the picture with this key, an int32 scalar, is mirrored."""
        return ops.logical_and(
            self.mirror, keyed_random.uniform(key[None], 1, purpose=_VIEW)[0, 0] < 0.5
        )

    def view(self, original_size: Tensor, size: tuple[int, int], key: Tensor) -> View:
        """The letterboxed original or its mirror image; arguments as of `random_view`."""
        whole = letterbox(original_size, size)
        matrix = ops.where(self.is_mirrored(key), mirrored(whole).matrix, whole.matrix)
        return View(matrix=matrix, size=size)

    def colors(self, image: Tensor, key: Tensor) -> Tensor:
        """The image as it is."""
        del key
        return image


def random_view(
    original_size: Tensor, size: tuple[int, int], key: Tensor, augmentation: Augmentation
) -> View:
    """A random scale, place and mirror image of the original; turned and sheared if asked for.

    A crop begins at the edge of a pixel of the original, a picture beside padding at that of a
    pixel of the input: such views take a fifth of the time (see ops/resampling.py).

    Args:
        original_size: [2], (height, width) in pixels.
        size: (H, W) of the network's input.
        key: int32 scalar.
        augmentation: the ranges.
    """
    u = keyed_random.uniform(key[None], 4, purpose=_VIEW)[0]
    low, high = augmentation.scale
    original = ops.cast(original_size, "float32")
    limit = ops.convert_to_tensor(size, dtype="float32")
    # Uniform in the logarithm: halving is as likely as doubling.
    jitter = low * ops.power(high / low, u[0])
    visible = ops.maximum(original * ops.min(limit / original) * jitter, 1.0)
    spare = limit - visible
    before = ops.floor(u[1:3] * ops.maximum(spare, 0.0)) / visible
    beyond = ops.floor(u[1:3] * ops.maximum(-spare, 0.0) * original / visible) / original
    zero = ops.zeros((), "float32")
    start = beyond - before
    rows = ops.stack([1.0 / visible[0], zero, start[0]])
    slope, shift = 1.0 / visible[1], start[1]
    mirrored = ops.logical_and(augmentation.mirror, u[3] < 0.5)
    # f becomes 1 - f.
    slope = ops.where(mirrored, -slope, slope)
    shift = ops.where(mirrored, 1.0 - shift, shift)
    columns = ops.stack([zero, slope, shift])
    view = View(matrix=ops.stack([rows, columns]), size=size)
    if augmentation.rand_augment is None:
        return view
    moved = geometry(key, size, augmentation.rand_augment)
    return View(matrix=ops.matmul(view.matrix, moved), size=size, axis_aligned=False)


def photometric(image: Tensor, key: Tensor, augmentation: Augmentation) -> Tensor:
    """Brightness, contrast and saturation changed at random, then what RandAugment does.

    Args:
        image: [H, W, 3] uint8.
        key: int32 scalar.
        augmentation: `brightness` is the largest relative change of each.

    Returns:
        [H, W, 3] uint8; each of the two rounds once.
    """
    if augmentation.brightness:
        image = _jittered(image, key, augmentation.brightness)
    if augmentation.rand_augment is not None:
        image = change_colors(image, key, augmentation.rand_augment)
    return image


def _jittered(image: Tensor, key: Tensor, largest: float) -> Tensor:
    """Saturation, then contrast, then brightness: one matrix and one shift for all pixels."""
    change = keyed_random.uniform(key[None], 3, purpose=_COLOR)[0] * 2.0 - 1.0

    def run(image: np.ndarray, change: np.ndarray) -> np.ndarray:
        saturation, contrast, brightness = 1.0 + largest * change.astype(np.float64)
        # Towards each pixel's gray; the image's mean does not move.
        colors = saturation * np.eye(3) + (1.0 - saturation) / 3.0
        middle = np.full((3, 1), np.mean(cv2.mean(image)[:3]))
        return cv2.transform(
            image, brightness * np.hstack([contrast * colors, (1.0 - contrast) * middle])
        )

    changed = tf.numpy_function(run, [image, change], tf.uint8, stateful=False)
    return tf.ensure_shape(changed, image.shape)
