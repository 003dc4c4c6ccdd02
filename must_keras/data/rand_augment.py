"""RandAugment: a few of fourteen changes, drawn for each image, all of one strength.

Geometric changes are one affine map, so that one view serves all labels; the others are of the
image alone. Ranges are AutoAugment's (arXiv 1805.09501, table 6), which a magnitude of 10 reaches.
Every change grows with the magnitude, to either side where it has two; in the authors' own code a
small one gives almost black, grey or inverted images.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import tensorflow as tf

from must_keras.errors import UserError
from must_keras.ops import draws

Tensor = Any

# Purposes of the draws that belong to one key.
_DRAWS = 103
_FULL = 10.0
# At full magnitude: a shear, a share of the side, degrees, a change of an enhancement's factor.
_SHEAR, _TRANSLATION, _DEGREES, _ENHANCEMENT = 0.3, 150 / 331, 30.0, 0.9
# Luma of ITU-R 601-2, as in Pillow.
_LUMA = (0.299, 0.587, 0.114)


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

    Args:
        image: the image.
        key: int32 scalar.
        values: of the recipe.
    """
    which, signs = drawn(key, values)
    for layer in range(values.layers):
        level = signs[layer] * values.strength
        changes = [lambda x=image: x] * len(GEOMETRIC)
        changes += [lambda f=f, x=image, v=level: f(x, v) for f in PHOTOMETRIC.values()]
        image = tf.ensure_shape(tf.switch_case(which[layer], changes), image.shape)
    return image


def _blend(other: Tensor, image: Tensor, level: Tensor) -> Tensor:
    """`other` at a factor of 0, the image at 1, beyond it above: Pillow's enhancements."""
    factor = 1.0 + level * _ENHANCEMENT
    return tf.clip_by_value(other + (image - other) * factor, 0.0, 255.0)


def _grey(image: Tensor) -> Tensor:
    return tf.reduce_sum(image * _LUMA, axis=-1, keepdims=True)


def _identity(image: Tensor, level: Tensor) -> Tensor:
    return image


def _auto_contrast(image: Tensor, level: Tensor) -> Tensor:
    """Each colour stretched to 0 to 255."""
    low, high = tf.reduce_min(image, (0, 1)), tf.reduce_max(image, (0, 1))
    length = high - low
    stretched = (image - low) * 255.0 / tf.where(length > 0.0, length, 1.0)
    return tf.where(length > 0.0, stretched, image)


def _equalize(image: Tensor, level: Tensor) -> Tensor:
    """Each colour's values made about equally frequent, as Pillow does it."""
    values = tf.cast(tf.round(image), tf.int32)
    channels = []
    for channel in range(3):
        one = values[:, :, channel]
        counts = tf.math.bincount(tf.reshape(one, [-1]), minlength=256, maxlength=256)
        last = tf.reduce_max(one)
        step = (tf.size(one) - counts[last]) // 255
        below = tf.cumsum(counts, exclusive=True)
        table = tf.minimum((below + step // 2) // tf.maximum(step, 1), 255)
        channels.append(tf.where(step > 0, tf.gather(table, one), one))
    return tf.cast(tf.stack(channels, axis=-1), image.dtype)


def _solarize(image: Tensor, level: Tensor) -> Tensor:
    """What is brighter than a threshold inverted."""
    return tf.where(image >= 256.0 * (1.0 - tf.abs(level)), 255.0 - image, image)


def _posterize(image: Tensor, level: Tensor) -> Tensor:
    """Eight bits a colour down to four."""
    cell = 2.0 ** tf.round(4.0 * tf.abs(level))
    return tf.floor(tf.floor(image) / cell) * cell


def _colour(image: Tensor, level: Tensor) -> Tensor:
    return _blend(_grey(image), image, level)


def _contrast(image: Tensor, level: Tensor) -> Tensor:
    return _blend(tf.reduce_mean(_grey(image)), image, level)


def _brightness(image: Tensor, level: Tensor) -> Tensor:
    return _blend(tf.zeros_like(image), image, level)


def _sharpness(image: Tensor, level: Tensor) -> Tensor:
    """Less of a smoothed image, or more of it; the outermost pixels stay."""
    kernel = tf.constant([[1.0, 1.0, 1.0], [1.0, 5.0, 1.0], [1.0, 1.0, 1.0]]) / 13.0
    kernel = tf.tile(kernel[:, :, None, None], (1, 1, 3, 1))
    inner = tf.nn.depthwise_conv2d(image[None], kernel, (1, 1, 1, 1), "VALID")[0]
    edge = tf.pad(tf.zeros_like(inner), ((1, 1), (1, 1), (0, 0)), constant_values=1.0)
    smooth = tf.where(edge > 0.0, image, tf.pad(inner, ((1, 1), (1, 1), (0, 0))))
    return _blend(smooth, image, level)


PHOTOMETRIC = {
    "identity": _identity,
    "auto_contrast": _auto_contrast,
    "equalize": _equalize,
    "solarize": _solarize,
    "posterize": _posterize,
    "colour": _colour,
    "contrast": _contrast,
    "brightness": _brightness,
    "sharpness": _sharpness,
}
