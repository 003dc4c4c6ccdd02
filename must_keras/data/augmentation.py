"""Augmentation of a training image: one geometric view for all labels, and photometric changes.

Every random number is a function of the example's key (ops/sampling.py).
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import cv2
import numpy as np
import tensorflow as tf
from keras import ops

from must_keras.data.rand_augment import RandAugment
from must_keras.ops import sampling
from must_keras.ops.views import View, letterbox, mirrored

Tensor = Any

# Purposes of the random numbers that belong to one key.
_VIEW, _COLOR = 101, 102


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random scale, place and mirror image, and random colors.

    Attributes:
        scale: (low, high) size of the image relative to the largest that fits; above 1 it is
            cropped, below 1 padded.
        mirror: whether half of the images are mirrored left to right.
        brightness: largest relative change of brightness, contrast and saturation each; 0 for none.
        rand_augment: more changes, geometric ones among them, or None.

    Example:
        TrainingConfig(..., augmentation=Augmentation(scale=(0.5, 2.0), brightness=0.2))
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
        """Return the fields; without RandAugment, which came later, where it is not used."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        if self.rand_augment is None:
            del fields["rand_augment"]
        return {"type": "Augmentation"} | fields

    def view(self, original_size: Tensor, size: tuple[int, int], key: Tensor) -> View:
        """Sample a scale, place and mirror image of the original; rotated by RandAugment alone.

        A crop begins at the edge of a pixel of the original, an image beside padding at that of a
        pixel of the input: such views take a fifth of the time (see ops/resampling.py).

        Args:
            original_size: [2], (height, width) in pixels.
            size: (H, W) of the network's input.
            key: int32 scalar.
        """
        u = sampling.uniform(key[None], 4, purpose=_VIEW)[0]
        low, high = self.scale
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
        is_mirrored = ops.logical_and(self.mirror, u[3] < 0.5)
        # f becomes 1 - f.
        slope = ops.where(is_mirrored, -slope, slope)
        shift = ops.where(is_mirrored, 1.0 - shift, shift)
        matrix = ops.stack([rows, ops.stack([zero, slope, shift])])
        if self.rand_augment is None:
            return View(matrix=matrix, size=size)
        moved = ops.matmul(matrix, self.rand_augment.geometry(key, size))
        return View(matrix=moved, size=size, axis_aligned=False)

    def colors(self, image: Tensor, key: Tensor) -> Tensor:
        """Change brightness, contrast and saturation at random, then colors as RandAugment does.

        Args:
            image: [H, W, 3] uint8.
            key: int32 scalar.

        Returns:
            [H, W, 3] uint8, rounded once by each of the two.
        """
        if self.brightness:
            image = _jittered(image, key, self.brightness)
        if self.rand_augment is not None:
            image = self.rand_augment.colors(image, key)
        return image


@dataclasses.dataclass(frozen=True, kw_only=True)
class WholeImages:
    """Every image letterboxed as in evaluation, so that it has one view, or two.

    Attributes:
        mirror: whether half of the images are mirrored left to right.

    Example:
        TrainingConfig(..., augmentation=WholeImages(mirror=False))
    """

    mirror: bool = True
    largest_scale: ClassVar[float] = 1.0

    def is_mirrored(self, key: Tensor) -> Tensor:
        """Return whether the image with this key, an int32 scalar, is mirrored: bool."""
        return ops.logical_and(
            self.mirror, sampling.uniform(key[None], 1, purpose=_VIEW)[0, 0] < 0.5
        )

    def view(self, original_size: Tensor, size: tuple[int, int], key: Tensor) -> View:
        """Return the letterboxed original or its mirror image; see Augmentation.view."""
        whole = letterbox(original_size, size)
        matrix = ops.where(self.is_mirrored(key), mirrored(whole).matrix, whole.matrix)
        return View(matrix=matrix, size=size)

    def colors(self, image: Tensor, key: Tensor) -> Tensor:
        """Return the image as it is."""
        del key
        return image


def _jittered(image: Tensor, key: Tensor, largest: float) -> Tensor:
    """Change saturation, contrast, then brightness: one matrix and one shift for all pixels."""
    change = sampling.uniform(key[None], 3, purpose=_COLOR)[0] * 2.0 - 1.0

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
