"""Strong views: colors changed, blurred and partly hidden, of images that teachers alone labeled.

A teacher labels the clean image; the student must give the same labels of a changed one. Every
random number is a function of the example's key (ops/sampling.py).
"""

import dataclasses
import math
from collections.abc import Callable
from numbers import Real

import cv2
import numpy as np
import tensorflow as tf

from must_keras.data import augmentation
from must_keras.errors import UserError, expect
from must_keras.ops import Tensor, sampling
from must_keras.ops.letterboxing import PADDING_COLOR

# Purpose of the random numbers that belong to one key: of colors, and of each rectangle.
_STRONG, _OF_COLORS, _OF_CUTOUT = 104, 8, 5
# Largest ratio of a rectangle's sides.
_ASPECT = 3.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class StrongViews:
    """Ranges and probabilities of strong changes of pixels, after the ordinary augmentation.

    One affine map jitters the colors and makes them gray, rounded once. Blur comes next, then
    rectangles in the color of padding (cutout). Nothing is clipped in between, so the order of
    brightness, contrast, saturation and hue has no effect. Hue is a rotation about the axis of
    grays, in RGB, which keeps the mean of the three colors. Saturation and contrast are those of
    Augmentation.

    Cutout hides pixels alone, and labels stay: the teacher saw what is hidden, and the student must
    infer it from its surroundings. Ignoring the hidden part would remove just this signal. A small
    object may be hidden whole; `cutouts=0` paints no rectangle.

    The default colors and blur are those of UniMatch's authors' code (arXiv 2208.09910), which
    Depth Anything follows; the rectangles are like those of Unbiased Teacher (arXiv 2102.09480).

    Attributes:
        brightness: largest relative change.
        contrast: largest relative change.
        saturation: largest relative change.
        hue: largest rotation, as a share of the color circle, [0, 0.5].
        jitter_share: share of the images whose colors are changed by these four.
        gray_share: share of the images that are gray.
        blur_share: share of the images that are blurred; see `augmentation.blur_sigma`.
        cutouts: number of rectangles that an image may have.
        cutout_share: probability of each of them.
        cutout_area: (smallest, largest) share of the input in a rectangle, before it is clipped to
            the input; sides are at most 3 to 1.

    Raises:
        UserError: a value is of another type or range.

    Reference: Depth Anything (arXiv 2401.10891) has CutMix in place of cutout (arXiv 1708.04552).
    "Knowledge distillation: A good teacher is patient and consistent" (arXiv 2106.05237) shows
    teacher and student the same view instead; here labels are made once, of whole images.

    Example:
        mk.Student(training=training, strong_views=mk.StrongViews(gray_share=0.0, cutouts=1))

    """

    brightness: float = 0.5
    contrast: float = 0.5
    saturation: float = 0.5
    hue: float = 0.25
    jitter_share: float = 0.8
    gray_share: float = 0.2
    blur_share: float = 0.5
    cutouts: int = 3
    cutout_share: float = 0.5
    cutout_area: tuple[float, float] = (0.02, 0.2)

    def __post_init__(self) -> None:
        where = "strong views"
        shares = ("jitter_share", "gray_share", "blur_share", "cutout_share")
        limits = dict.fromkeys(("brightness", "contrast", "saturation"), math.inf)
        limits |= {"hue": 0.5} | dict.fromkeys(shares, 1.0)
        expect(where, self, **dict.fromkeys(limits, Real), cutouts=int, cutout_area=tuple | list)
        for name, most in limits.items():
            if not 0.0 <= getattr(self, name) <= most:
                allowed = "at least 0" if most == math.inf else f"a number in [0, {most:g}]"
                raise UserError.of(where, name, getattr(self, name), f"expected {allowed}")
        if self.cutouts < 0:
            raise UserError.of(where, "cutouts", self.cutouts, "expected at least 0")
        area = self.cutout_area
        if len(area) != 2 or not 0.0 < area[0] <= area[1] <= 1.0:
            problem = "expected (smallest, largest) share of the input, in (0, 1]"
            raise UserError.of(where, "cutout_area", area, problem)

    def colors(self, image: Tensor, key: Tensor) -> Tensor:
        """Return a changed image, [H, W, 3] uint8.

        Args:
            image: [H, W, 3] uint8.
            key: int32 scalar.
        """
        count = _OF_COLORS + _OF_CUTOUT * self.cutouts
        u = sampling.uniform(key[None], count, purpose=_STRONG)[0]
        changed = tf.numpy_function(self.changed, [image, u], tf.uint8, stateful=False)
        return tf.ensure_shape(changed, image.shape)

    def unless(self, is_exempt: np.ndarray) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """Return `colors` of (image, index of its example, key) that changes only some examples.

        Args:
            is_exempt: [N] bool, whether each example stays as it is.

        Raises:
            UserError: all of them do.
        """
        if np.all(is_exempt):
            problem = "every image of the student has ground truth, and stays as it is; remove them"
            raise UserError(f"the student: strong_views: {problem}", key="strong_views", value=self)
        with tf.device("CPU"):
            exempt = tf.constant(is_exempt)

        def colors(image: Tensor, index: Tensor, key: Tensor) -> Tensor:
            return tf.cond(exempt[index], lambda: image, lambda: self.colors(image, key))

        return colors

    def changed(self, image: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Return a changed image.

        Args:
            image: [H, W, 3] uint8; it stays as it is.
            u: [8 + 5 cutouts] numbers in [0, 1).
        """
        u = u.astype(np.float64)
        jitters, is_gray, blurs = u[5:8] < (self.jitter_share, self.gray_share, self.blur_share)
        matrix = self._jitter(image, u[:4]) if jitters else np.eye(3, 4)
        if is_gray:
            matrix = augmentation.GRAY @ matrix
        if jitters or is_gray:
            image = cv2.transform(image, matrix)
        if blurs:
            sigma = augmentation.blur_sigma(u[4], side=min(image.shape[:2]))
            image = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
        hidden = [r for r in u[_OF_COLORS:].reshape(-1, _OF_CUTOUT) if r[0] < self.cutout_share]
        if hidden:
            image = image.copy()
        for rectangle in hidden:
            image[self._place(image.shape[:2], rectangle[1:])] = PADDING_COLOR
        return image

    def _jitter(self, image: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Return [3, 4], the affine map of the colors at four numbers in [0, 1)."""
        most = np.array([self.saturation, self.contrast, self.brightness])
        low = np.maximum(1.0 - most, 0.0)
        factors = low + (1.0 + most - low) * u[:3]
        turn = augmentation.hue_rotation((2.0 * u[3] - 1.0) * self.hue)
        return augmentation.jitter_matrix(image, *factors, hue=turn)

    def _place(self, size: tuple[int, int], u: np.ndarray) -> tuple[slice, slice]:
        """Return a rectangle's rows and columns in whole pixels, inside an input of a size."""
        low, high = self.cutout_area
        area, aspect = low + (high - low) * u[0], _ASPECT ** (2.0 * u[1] - 1.0)
        slices = []
        for side, share, start in zip(size, (area * aspect, area / aspect), u[2:], strict=True):
            length = min(max(round(side * math.sqrt(share)), 1), side)
            first = int(start * (side - length + 1))
            slices.append(slice(first, first + length))
        return slices[0], slices[1]
