"""RandAugment: a few of fourteen changes, drawn for each image, all of one strength.

Geometric changes are one affine map, so that one view serves all labels; the others, Pillow's, are
of the image alone. Ranges are AutoAugment's (arXiv 1805.09501, table 6), which a magnitude of 10
reaches. Every change grows with the magnitude, to either side where it has two; in the authors' own
code a small one gives almost black, grey or inverted images.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from must_keras.errors import UserError
from must_keras.ops import draws

Tensor = Any

# Purposes of the draws that belong to one key.
_DRAWS = 103
_FULL = 10.0
# At full magnitude: a shear, a share of the side, degrees, a change of an enhancement's factor.
_SHEAR, _TRANSLATION, _DEGREES, _ENHANCEMENT = 0.3, 150 / 331, 30.0, 0.9


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
    u = draws.uniform(key[None], 2 * values.layers, purpose=_DRAWS)[0]
    number = len(GEOMETRIC) + len(PHOTOMETRIC)
    which = tf.cast(u[: values.layers] * number, tf.int32)
    return which, tf.where(u[values.layers :] < 0.5, -1.0, 1.0)


def geometry(key: Tensor, size: tuple[int, int], values: RandAugment) -> Tensor:
    """[3, 3]: (y, x, 1) of a changed input to that of the unchanged one, in pixels.

    Args:
        key: int32 scalar.
        size: (H, W); the centre stays where it is but for translations.
        values: of the recipe.
    """
    which, signs = drawn(key, values)
    centre = tf.constant([size[0] / 2, size[1] / 2], tf.float32)
    matrix = tf.eye(3)
    for layer in range(values.layers):
        for index, change in enumerate(GEOMETRIC.values()):
            level = tf.where(which[layer] == index, signs[layer] * values.strength, 0.0)
            matrix = tf.matmul(_about(centre, *change(level, size)), matrix)
    return matrix


def _about(centre: Tensor, linear: Tensor, shift: Tensor) -> Tensor:
    """[3, 3] of p -> linear @ (p - centre) + centre + shift."""
    offset = centre + shift - tf.linalg.matvec(linear, centre)
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


def change_colours(image: Tensor, key: Tensor, values: RandAugment) -> Tensor:
    """The image, [H, W, 3] float32 in [0, 255], after those changes that move nothing.

    Where there is one, colours are whole numbers afterwards.

    Args:
        image: the image.
        key: int32 scalar.
        values: of the recipe.
    """
    changes = list(PHOTOMETRIC.values())

    def run(image: np.ndarray, which: np.ndarray, signs: np.ndarray) -> np.ndarray:
        drawn_ones = [
            (changes[index - len(GEOMETRIC)], float(sign) * values.strength)
            for index, sign in zip(which, signs, strict=True)
            if index >= len(GEOMETRIC)
        ]
        if not drawn_ones:
            return image
        picture = Image.fromarray(np.rint(image).astype(np.uint8))
        for change, level in drawn_ones:
            picture = change(picture, level)
        return np.asarray(picture, np.float32)

    changed = tf.numpy_function(run, [image, *drawn(key, values)], tf.float32, stateful=False)
    return tf.ensure_shape(changed, image.shape)


def _enhanced(kind: Callable[[Image.Image], Any]) -> Callable[[Image.Image, float], Image.Image]:
    """One of Pillow's enhancements: the image at a factor of 1, less of it below, more above."""
    return lambda image, level: kind(image).enhance(1.0 + level * _ENHANCEMENT)


# Of a picture and a level in [-1, 1].
PHOTOMETRIC: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "identity": lambda image, level: image,
    "auto_contrast": lambda image, level: ImageOps.autocontrast(image),
    "equalize": lambda image, level: ImageOps.equalize(image),
    # What is brighter than a threshold is inverted.
    "solarize": lambda image, level: ImageOps.solarize(image, round(256 * (1 - abs(level)))),
    # Eight bits a colour down to four.
    "posterize": lambda image, level: ImageOps.posterize(image, 8 - round(4 * abs(level))),
    "colour": _enhanced(ImageEnhance.Color),
    "contrast": _enhanced(ImageEnhance.Contrast),
    "brightness": _enhanced(ImageEnhance.Brightness),
    "sharpness": _enhanced(ImageEnhance.Sharpness),
}
