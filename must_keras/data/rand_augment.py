"""RandAugment: a few of fourteen changes, drawn for each image, all of one strength.

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
from must_keras.ops import keyed_random

Tensor = Any

# Purposes of the draws that belong to one key.
_DRAWS = 103
_FULL = 10.0
# At full magnitude: a shear, a share of the side, degrees, a change of an enhancement's factor.
_SHEAR, _TRANSLATION, _DEGREES, _ENHANCEMENT = 0.3, 150 / 331, 30.0, 0.9
# Pillow's: ITU-R 601's share of each color in light, and the 3 x 3 filter SMOOTH.
_LUMA = np.array([0.299, 0.587, 0.114])
_ITSELF = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], np.float64)
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandAugment:
    """Values of one recipe.

    Attributes:
        layers: how many changes an image goes through; one may be drawn twice, or be none at all.
        magnitude: how strong each is, (0, 10].

    Reference: arXiv 1909.13719.
    """

    layers: int = 2
    magnitude: float = 5.0

    def __post_init__(self) -> None:
        if self.layers < 1:
            raise UserError(f"layers must be at least 1, received {self.layers}")
        if not 0.0 < self.magnitude <= _FULL:
            raise UserError(f"magnitude must be in (0, 10], received {self.magnitude}")

    @property
    def strength(self) -> float:
        """The magnitude as a share of the largest."""
        return self.magnitude / _FULL


def drawn(key: Tensor, values: RandAugment) -> tuple[Tensor, Tensor]:
    """What an image goes through: ([layers] int32 indices of changes, [layers] signs, 1 or -1).

    Args:
        key: int32 scalar.
        values: of the recipe.
    """
    u = keyed_random.uniform(key[None], 2 * values.layers, purpose=_DRAWS)[0]
    number = len(GEOMETRIC) + len(PHOTOMETRIC)
    which = tf.cast(u[: values.layers] * number, tf.int32)
    return which, tf.where(u[values.layers :] < 0.5, -1.0, 1.0)


def geometry(key: Tensor, size: tuple[int, int], values: RandAugment) -> Tensor:
    """[3, 3]: (y, x, 1) of a changed input to that of the unchanged one, in pixels.

    Args:
        key: int32 scalar.
        size: (H, W); the center stays where it is but for translations.
        values: of the recipe.
    """
    which, signs = drawn(key, values)
    center = tf.constant([size[0] / 2, size[1] / 2], tf.float32)
    matrix = tf.eye(3)
    for layer in range(values.layers):
        for index, change in enumerate(GEOMETRIC.values()):
            level = tf.where(which[layer] == index, signs[layer] * values.strength, 0.0)
            matrix = tf.matmul(_about(center, *change(level, size)), matrix)
    return matrix


def _about(center: Tensor, linear: Tensor, shift: Tensor) -> Tensor:
    """[3, 3] of p -> linear @ (p - center) + center + shift."""
    offset = center + shift - tf.linalg.matvec(linear, center)
    return tf.concat([tf.concat([linear, offset[:, None]], 1), [[0.0, 0.0, 1.0]]], 0)


def _shear_x(level: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    return tf.stack([[1.0, 0.0], tf.stack([level * _SHEAR, 1.0])]), tf.zeros(2)


def _shear_y(level: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    return tf.stack([tf.stack([1.0, level * _SHEAR]), [0.0, 1.0]]), tf.zeros(2)


def _translate_x(level: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    return tf.eye(2), tf.stack([0.0, level * _TRANSLATION * size[1]])


def _translate_y(level: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    return tf.eye(2), tf.stack([level * _TRANSLATION * size[0], 0.0])


def _rotate(level: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    angle = level * math.radians(_DEGREES)
    cosine, sine = tf.cos(angle), tf.sin(angle)
    return tf.stack([tf.stack([cosine, -sine]), tf.stack([sine, cosine])]), tf.zeros(2)


GEOMETRIC = {
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
    "rotate": _rotate,
}


def change_colors(image: Tensor, key: Tensor, values: RandAugment) -> Tensor:
    """The image, [H, W, 3] uint8, after those changes that move nothing.

    Args:
        image: the image.
        key: int32 scalar.
        values: of the recipe.
    """
    changes = list(PHOTOMETRIC.values())

    def run(image: np.ndarray, which: np.ndarray, signs: np.ndarray) -> np.ndarray:
        for index, sign in zip(which, signs, strict=True):
            if index >= len(GEOMETRIC):
                image = changes[index - len(GEOMETRIC)](image, float(sign) * values.strength)
        return image

    changed = tf.numpy_function(run, [image, *drawn(key, values)], tf.uint8, stateful=False)
    return tf.ensure_shape(changed, image.shape)


def _identity(image: np.ndarray, level: float) -> np.ndarray:
    del level
    return image


def _auto_contrast(image: np.ndarray, level: float) -> np.ndarray:
    """Each color from its least and largest value to 0 and 255."""
    del level
    ends = np.array([cv2.minMaxLoc(color)[:2] for color in cv2.split(image)])
    lowest, span = ends[:, 0], ends[:, 1] - ends[:, 0]
    factors = np.where(span > 0, 255.0 / np.maximum(span, 1.0), 1.0)
    shifts = np.where(span > 0, -lowest * factors, 0.0)
    return cv2.transform(image, np.column_stack([np.diag(factors), shifts]))


def _equalize(image: np.ndarray, level: float) -> np.ndarray:
    """Each color so that all its values are about equally frequent."""
    del level
    return cv2.merge([cv2.equalizeHist(color) for color in cv2.split(image)])


def _solarize(image: np.ndarray, level: float) -> np.ndarray:
    """What is as bright as a threshold, or brighter, is inverted."""
    byte = np.arange(256)
    inverted = byte >= round(256 * (1 - abs(level)))
    return cv2.LUT(image, np.where(inverted, 255 - byte, byte).astype(np.uint8))


def _posterize(image: np.ndarray, level: float) -> np.ndarray:
    """Eight bits a color down to four."""
    return image & np.uint8(0xFF << round(4 * abs(level)) & 0xFF)


def _color(image: np.ndarray, level: float) -> np.ndarray:
    return _blended(image, level, gray=np.tile(_LUMA, (3, 1)))


def _contrast(image: np.ndarray, level: float) -> np.ndarray:
    return _blended(image, level, mean=float(np.dot(_LUMA, cv2.mean(image)[:3])))


def _brightness(image: np.ndarray, level: float) -> np.ndarray:
    return _blended(image, level)


def _blended(image: np.ndarray, level: float, *, gray: Any = 0.0, mean: float = 0.0) -> np.ndarray:
    """From `gray` @ colors + `mean` at a factor of 0 to the image at 1, and beyond."""
    factor = 1.0 + level * _ENHANCEMENT
    colors = factor * np.eye(3) + (1.0 - factor) * gray
    return cv2.transform(image, np.column_stack([colors, np.full(3, (1.0 - factor) * mean)]))


def _sharpness(image: np.ndarray, level: float) -> np.ndarray:
    """From a smooth image at a factor of 0 to the image at 1, and beyond; not at the edge."""
    factor = 1.0 + level * _ENHANCEMENT
    changed = cv2.filter2D(image, -1, factor * _ITSELF + (1.0 - factor) * _SMOOTH)
    for edge in (np.s_[:1], np.s_[-1:], np.s_[:, :1], np.s_[:, -1:]):
        changed[edge] = image[edge]
    return changed


# Of an image, [H, W, 3] uint8, and a level in [-1, 1]: another such image.
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
