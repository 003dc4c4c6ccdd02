"""Augmentation of a training image: one geometric view for all labels, and photometric changes.

Every random number is a function of the example's key (ops/sampling.py).
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar

import cv2
import numpy as np
import tensorflow as tf
from keras import ops

from must_keras.errors import UserError
from must_keras.ops import Tensor, sampling
from must_keras.ops.letterboxing import letterbox
from must_keras.ops.views import View, mirrored

# Purposes of the random numbers that belong to one key.
_VIEW, _COLOR, _CHANGES = 101, 102, 103

_MAX_MAGNITUDE = 10.0
# At full magnitude: a shear, a share of the side, degrees, a change of an enhancement's factor.
_SHEAR, _TRANSLATION, _DEGREES, _ENHANCEMENT = 0.3, 150 / 331, 30.0, 0.9
# Pillow's: ITU-R 601's share of each color in light, and the 3 x 3 filter SMOOTH.
_LUMA = np.array([0.299, 0.587, 0.114])
# Of (red, green, blue): all three become light.
GRAY = np.tile(_LUMA, (3, 1))
_ITSELF = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], np.float64)
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
_SAME_HUE = np.eye(3)
# SimCLR's standard deviations of a blur, in pixels of an input of so many a side.
_SIGMA, _OF_SIDE = (0.1, 2.0), 224


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandAugment:
    """A number of random changes of one strength.

    Of fourteen changes a few are sampled for each image. Geometric ones are one affine map, so that
    one view serves all labels; the others, Pillow's up to rounding, are of the image alone. Ranges
    are AutoAugment's (arXiv 1805.09501, table 6), which a magnitude of 10 reaches. Every change
    grows with the magnitude, to either side where it has two; in the authors' own code a small one
    gives almost black, gray or inverted images.

    Attributes:
        layers: changes of an image; one may be sampled twice, or change nothing.
        magnitude: strength of each, (0, 10].

    Reference: arXiv 1909.13719.

    Example:
        mk.Augmentation(rand_augment=mk.RandAugment(layers=2, magnitude=5.0))
    """

    layers: int = 2
    magnitude: float = 5.0

    def __post_init__(self) -> None:
        if self.layers < 1:
            raise UserError(f"layers must be at least 1, received {self.layers}")
        if not 0.0 < self.magnitude <= _MAX_MAGNITUDE:
            raise UserError(f"magnitude must be in (0, 10], received {self.magnitude}")

    @property
    def strength(self) -> float:
        """The magnitude as a share of the largest."""
        return self.magnitude / _MAX_MAGNITUDE

    def sampled(self, key: Tensor) -> tuple[Tensor, Tensor]:
        """Sample the changes of an image: [layers] int32 indices and [layers] signs, 1 or -1.

        Args:
            key: int32 scalar.
        """
        u = sampling.uniform(key[None], 2 * self.layers, purpose=_CHANGES)[0]
        number = len(GEOMETRIC) + len(PHOTOMETRIC)
        which = tf.cast(u[: self.layers] * number, tf.int32)
        return which, tf.where(u[self.layers :] < 0.5, -1.0, 1.0)

    def geometry(self, key: Tensor, size: tuple[int, int]) -> Tensor:
        """Return [3, 3]: (y, x, 1) of a changed input to that of the unchanged one, in pixels.

        Args:
            key: int32 scalar.
            size: (H, W); the center keeps its place except for translations.
        """
        which, signs = self.sampled(key)
        center = tf.constant([size[0] / 2, size[1] / 2], tf.float32)
        matrix = tf.eye(3)
        for layer in range(self.layers):
            for index, change in enumerate(GEOMETRIC.values()):
                level = tf.where(which[layer] == index, signs[layer] * self.strength, 0.0)
                matrix = tf.matmul(_about(center, *change(level, size)), matrix)
        return matrix

    def colors(self, image: Tensor, key: Tensor) -> Tensor:
        """Return an image, [H, W, 3] uint8, after the changes that are not geometric.

        Args:
            image: the image.
            key: int32 scalar.
        """
        changes = list(PHOTOMETRIC.values())

        def run(image: np.ndarray, which: np.ndarray, signs: np.ndarray) -> np.ndarray:
            for index, sign in zip(which, signs, strict=True):
                if index >= len(GEOMETRIC):
                    image = changes[index - len(GEOMETRIC)](image, float(sign) * self.strength)
            return image

        changed = tf.numpy_function(run, [image, *self.sampled(key)], tf.uint8, stateful=False)
        return tf.ensure_shape(changed, image.shape)


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
        mk.TrainingConfig(..., augmentation=mk.Augmentation(scale=(0.5, 2.0), brightness=0.2))
    """

    scale: tuple[float, float] = (0.8, 1.25)
    mirror: bool = True
    brightness: float = 0.2
    rand_augment: RandAugment | None = None

    @property
    def largest_scale(self) -> float:
        """Largest side of an image relative to the largest one that fits the input."""
        return max(self.scale)

    @property
    def typical_scale(self) -> float:
        """Median side of an image relative to the largest one that fits the input."""
        return math.sqrt(self.scale[0] * self.scale[1])

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
        mk.TrainingConfig(..., augmentation=mk.WholeImages(mirror=False))
    """

    mirror: bool = True
    largest_scale: ClassVar[float] = 1.0
    typical_scale: ClassVar[float] = 1.0

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
        return image


def _jittered(image: Tensor, key: Tensor, largest: float) -> Tensor:
    """Change saturation, contrast, then brightness: one matrix and one shift for all pixels."""
    change = sampling.uniform(key[None], 3, purpose=_COLOR)[0] * 2.0 - 1.0

    def run(image: np.ndarray, change: np.ndarray) -> np.ndarray:
        factors = 1.0 + largest * change.astype(np.float64)
        return cv2.transform(image, jitter_matrix(image, *factors))

    changed = tf.numpy_function(run, [image, change], tf.uint8, stateful=False)
    return tf.ensure_shape(changed, image.shape)


def jitter_matrix(
    image: np.ndarray,
    saturation: float,
    contrast: float,
    brightness: float,
    *,
    hue: np.ndarray = _SAME_HUE,
) -> np.ndarray:
    """Return [3, 4], one affine map of the colors, (red, green, blue, 1), for four changes.

    Args:
        image: [H, W, 3] uint8; contrast is about its mean.
        saturation: factor, 0 and up; 1 changes nothing.
        contrast: the same.
        brightness: the same.
        hue: [3, 3], see `hue_rotation`.
    """
    # Towards each pixel's gray; the image's mean does not move.
    colors = saturation * hue + (1.0 - saturation) / 3.0
    middle = np.full((3, 1), np.mean(cv2.mean(image)[:3]))
    return brightness * np.hstack([contrast * colors, (1.0 - contrast) * middle])


def hue_rotation(turn: float) -> np.ndarray:
    """Return [3, 3], the rotation of colors about the axis of grays by `turn` of a circle.

    A third of a circle makes green of red; the mean of the three colors stays.
    """
    angle = 2.0 * math.pi * turn
    across = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3.0)
    return math.cos(angle) * np.eye(3) + (1.0 - math.cos(angle)) / 3.0 + math.sin(angle) * across


def blur_sigma(u: Any, *, side: int) -> Any:
    """Return the standard deviation of a random blur in pixels, at a number in [0, 1).

    It is 0.1 to 2.0 as published for 224 pixels a side (SimCLR, arXiv 2002.05709), and proportional
    to the side, so that small images keep as many details.
    """
    return (_SIGMA[0] + (_SIGMA[1] - _SIGMA[0]) * u) * side / _OF_SIDE


# ---- RandAugment's changes -----------------------------------------------------------------------


def _about(center: Tensor, linear: Tensor, shift: Tensor) -> Tensor:
    """Return [3, 3] of p -> linear @ (p - center) + center + shift."""
    offset = center + shift - tf.linalg.matvec(linear, center)
    return tf.concat([tf.concat([linear, offset[:, None]], 1), [[0.0, 0.0, 1.0]]], 0)


def _rotation(level: Tensor) -> Tensor:
    angle = level * math.radians(_DEGREES)
    cosine, sine = tf.cos(angle), tf.sin(angle)
    return tf.stack([[cosine, -sine], [sine, cosine]])


# A linear map [2, 2] and a shift [2], in pixels, of (y, x), at a level in [-1, 1] of an input of a
# size.
GEOMETRIC: dict[str, Callable[[Tensor, tuple[int, int]], tuple[Tensor, Tensor]]] = {
    "shear_x": lambda level, _: (tf.stack([[1.0, 0.0], [level * _SHEAR, 1.0]]), tf.zeros(2)),
    "shear_y": lambda level, _: (tf.stack([[1.0, level * _SHEAR], [0.0, 1.0]]), tf.zeros(2)),
    "translate_x": lambda level, size: (tf.eye(2), tf.stack([0.0, level * _TRANSLATION * size[1]])),
    "translate_y": lambda level, size: (tf.eye(2), tf.stack([level * _TRANSLATION * size[0], 0.0])),
    "rotate": lambda level, _: (_rotation(level), tf.zeros(2)),
}


def _identity(image: np.ndarray, level: float) -> np.ndarray:
    return image


def _auto_contrast(image: np.ndarray, level: float) -> np.ndarray:
    """Stretch each color from its least and largest value to 0 and 255."""
    ends = np.array([cv2.minMaxLoc(color)[:2] for color in cv2.split(image)])
    lowest, span = ends[:, 0], ends[:, 1] - ends[:, 0]
    factors = np.where(span > 0, 255.0 / np.maximum(span, 1.0), 1.0)
    shifts = np.where(span > 0, -lowest * factors, 0.0)
    return cv2.transform(image, np.column_stack([np.diag(factors), shifts]))


def _equalize(image: np.ndarray, level: float) -> np.ndarray:
    """Change each color so that all its values are about equally frequent."""
    return cv2.merge([cv2.equalizeHist(color) for color in cv2.split(image)])


def _solarize(image: np.ndarray, level: float) -> np.ndarray:
    """Invert values that are as bright as a threshold, or brighter."""
    byte = np.arange(256)
    inverted = byte >= round(256 * (1 - abs(level)))
    return cv2.LUT(image, np.where(inverted, 255 - byte, byte).astype(np.uint8))


def _posterize(image: np.ndarray, level: float) -> np.ndarray:
    """Reduce eight bits a color down to four."""
    return image & np.uint8(0xFF << round(4 * abs(level)) & 0xFF)


def _color(image: np.ndarray, level: float) -> np.ndarray:
    return _blended(image, level, gray=GRAY)


def _contrast(image: np.ndarray, level: float) -> np.ndarray:
    return _blended(image, level, mean=float(np.dot(_LUMA, cv2.mean(image)[:3])))


def _brightness(image: np.ndarray, level: float) -> np.ndarray:
    return _blended(image, level)


def _blended(image: np.ndarray, level: float, *, gray: Any = 0.0, mean: float = 0.0) -> np.ndarray:
    """Blend from `gray` @ colors + `mean` at a factor of 0 to the image at 1, and beyond."""
    factor = 1.0 + level * _ENHANCEMENT
    colors = factor * np.eye(3) + (1.0 - factor) * gray
    return cv2.transform(image, np.column_stack([colors, np.full(3, (1.0 - factor) * mean)]))


def _sharpness(image: np.ndarray, level: float) -> np.ndarray:
    """Blend from a smooth image at a factor of 0 to the image at 1, and beyond; not at the edge."""
    factor = 1.0 + level * _ENHANCEMENT
    changed = cv2.filter2D(image, -1, factor * _ITSELF + (1.0 - factor) * _SMOOTH)
    for edge in (np.s_[:1], np.s_[-1:], np.s_[:, :1], np.s_[:, -1:]):
        changed[edge] = image[edge]
    return changed


# Changes of an image, [H, W, 3] uint8, at a level in [-1, 1].
PHOTOMETRIC: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "identity": _identity,
    "auto_contrast": _auto_contrast,
    "equalize": _equalize,
    "solarize": _solarize,
    "posterize": _posterize,
    "color": _color,
    "contrast": _contrast,
    "brightness": _brightness,
    "sharpness": _sharpness,
}
