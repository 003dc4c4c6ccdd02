"""RandAugment: a few of fourteen changes, sampled for each image, all of one strength.

Geometric changes are one affine map, so that one view serves all labels; the others, Pillow's up to
rounding, are of the image alone. Ranges are AutoAugment's (arXiv 1805.09501, table 6), which a
magnitude of 10 reaches. Every change grows with the magnitude, to either side where it has two; in
the authors' own code a small one gives almost black, gray or inverted images.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import tensorflow as tf

from must_keras.errors import UserError
from must_keras.ops import sampling

Tensor = Any

# Purpose of the random numbers that belong to one key.
_CHANGES = 103
_MAX_MAGNITUDE = 10.0
# At full magnitude: a shear, a share of the side, degrees, a change of an enhancement's factor.
_SHEAR, _TRANSLATION, _DEGREES, _ENHANCEMENT = 0.3, 150 / 331, 30.0, 0.9
# Pillow's: ITU-R 601's share of each color in light, and the 3 x 3 filter SMOOTH.
_LUMA = np.array([0.299, 0.587, 0.114])
_ITSELF = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], np.float64)
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandAugment:
    """A number of random changes of one strength.

    Attributes:
        layers: changes of an image; one may be sampled twice, or change nothing.
        magnitude: strength of each, (0, 10].

    Reference: arXiv 1909.13719.

    Example:
        Augmentation(rand_augment=RandAugment(layers=2, magnitude=5.0))
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


def _about(center: Tensor, linear: Tensor, shift: Tensor) -> Tensor:
    """Return [3, 3] of p -> linear @ (p - center) + center + shift."""
    offset = center + shift - tf.linalg.matvec(linear, center)
    return tf.concat([tf.concat([linear, offset[:, None]], 1), [[0.0, 0.0, 1.0]]], 0)


def _rotation(level: Tensor) -> Tensor:
    angle = level * math.radians(_DEGREES)
    cosine, sine = tf.cos(angle), tf.sin(angle)
    return tf.stack([tf.stack([cosine, -sine]), tf.stack([sine, cosine])])


# A linear map [2, 2] and a shift [2], in pixels, of (y, x), at a level in [-1, 1] of an input of a
# size.
GEOMETRIC: dict[str, Callable[[Tensor, tuple[int, int]], tuple[Tensor, Tensor]]] = {
    "shear_x": lambda level, _: (
        tf.stack([[1.0, 0.0], tf.stack([level * _SHEAR, 1.0])]), tf.zeros(2)
    ),
    "shear_y": lambda level, _: (
        tf.stack([tf.stack([1.0, level * _SHEAR]), [0.0, 1.0]]), tf.zeros(2)
    ),
    "translate_x": lambda level, size: (
        tf.eye(2), tf.stack([0.0, level * _TRANSLATION * size[1]])
    ),
    "translate_y": lambda level, size: (
        tf.eye(2), tf.stack([level * _TRANSLATION * size[0], 0.0])
    ),
    "rotate": lambda level, _: (_rotation(level), tf.zeros(2)),
}  # fmt: skip


def _identity(image: np.ndarray, level: float) -> np.ndarray:
    del level
    return image


def _auto_contrast(image: np.ndarray, level: float) -> np.ndarray:
    """Stretch each color from its least and largest value to 0 and 255."""
    del level
    ends = np.array([cv2.minMaxLoc(color)[:2] for color in cv2.split(image)])
    lowest, span = ends[:, 0], ends[:, 1] - ends[:, 0]
    factors = np.where(span > 0, 255.0 / np.maximum(span, 1.0), 1.0)
    shifts = np.where(span > 0, -lowest * factors, 0.0)
    return cv2.transform(image, np.column_stack([np.diag(factors), shifts]))


def _equalize(image: np.ndarray, level: float) -> np.ndarray:
    """Change each color so that all its values are about equally frequent."""
    del level
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
    return _blended(image, level, gray=np.tile(_LUMA, (3, 1)))


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
