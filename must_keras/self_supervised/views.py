"""Two random views of one image: the only supervision of contrastive methods.

Crop and resize, mirror, color jitter, gray, blur, in this order (Chen et al., "A Simple Framework
for Contrastive Learning of Visual Representations", arXiv 2002.05709, appendix A). Every sample is
a function of the example's key (ops/sampling.py).
"""

import dataclasses
import functools
from typing import Any

from keras import ops

from must_keras.data.augmentation import blur_sigma
from must_keras.data.pipeline import MakeViews, sample_image
from must_keras.ops import Tensor
from must_keras.ops.sampling import fold, uniform
from must_keras.ops.views import View

# Purposes of the random numbers of one key.
_CROP, _MIRROR, _JITTER, _ORDER, _CHANCES = 111, 112, 113, 114, 115
# Of a crop: width by height, and how many are sampled that may not fit.
_ASPECT, _TRIES = (3 / 4, 4 / 3), 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomViews:
    """Ranges and probabilities of views; defaults are SimCLR's (appendix A, strength 1).

    Attributes:
        least_area: smallest share of the image in a crop.
        brightness: largest relative change.
        contrast: largest relative change.
        saturation: largest relative change.
        hue: largest rotation, as a share of the color circle.
        jitter_share: share of the views whose colors are changed by these four, in random order.
        gray_share: share of the views that are gray.
        blur_share: share of the views that are blurred.

    Example:
        mk.SimCLR(training=training, views=mk.RandomViews(least_area=0.2, blur_share=0.0))

    """

    least_area: float = 0.08
    brightness: float = 0.8
    contrast: float = 0.8
    saturation: float = 0.8
    hue: float = 0.2
    jitter_share: float = 0.8
    gray_share: float = 0.2
    blur_share: float = 0.5


def two_views(views: RandomViews, *, size: int) -> MakeViews:
    """Return a function that makes two views of an image and no labels.

    Args:
        views: ranges and probabilities.
        size: pixels a side of {"image", "other"}, [size, size, 3] uint8.
    """

    def make(image: Tensor, stored: Any, key: Tensor) -> Any:
        keys = [fold(key[None], number)[0] for number in (1, 2)]
        first, second = (random_view(image, k, views, (size, size)) for k in keys)
        return {"image": first, "other": second}, {}

    return make


def random_view(image: Tensor, key: Tensor, views: RandomViews, size: tuple[int, int]) -> Tensor:
    """Return one view of an image, without padding: [H, W, 3] uint8.

    Args:
        image: [h, w, 3] uint8.
        key: int32 scalar.
        views: ranges and probabilities.
        size: (H, W) in pixels.
    """
    view = random_crop(ops.shape(image)[:2], size, key, least_area=views.least_area)
    changed = distorted(ops.cast(sample_image(image, view), "float32"), key, views)
    return ops.cast(ops.round(changed), "uint8")


def random_crop(
    original_size: Tensor, size: tuple[int, int], key: Tensor, *, least_area: float
) -> View:
    """Return the view of a random rectangle of the original, stretched to the whole input.

    Its area is uniform in [least_area, 1] of the original's, its aspect log-uniform in 3:4 to 4:3;
    the first of ten samples that fits is taken, else the largest central crop whose aspect is
    allowed. Half of the views are mirrored. Corners have fractions of a pixel.

    Args:
        original_size: [2], (height, width) in pixels.
        size: (H, W) of the input.
        key: int32 scalar.
        least_area: see RandomViews.
    """
    original = ops.cast(original_size, "float32")
    height, width = original[0], original[1]
    u = ops.reshape(uniform(key[None], 2 * _TRIES + 2, purpose=_CROP)[0], (-1, 2))
    area = (least_area + (1.0 - least_area) * u[:_TRIES, 0]) * height * width
    low, high = _ASPECT
    aspect = low * ops.power(high / low, u[:_TRIES, 1])
    whole = ops.clip(width / height, low, high)
    # (height, width) in pixels; the last one always fits.
    tall, wide = ops.sqrt(area / aspect), ops.sqrt(area * aspect)
    last = ops.stack([ops.minimum(height, width / whole), ops.minimum(width, height * whole)])
    sampled = ops.concatenate([ops.stack([tall, wide], axis=-1), last[None]])
    fits = ops.all(sampled <= original, axis=-1)
    fits = ops.concatenate([fits[:_TRIES], ops.ones((1,), "bool")])
    chosen = ops.argmax(ops.cast(fits, "int32"))
    share = sampled[chosen] / original
    is_last = chosen == _TRIES
    corner = ops.where(is_last, 0.5, u[_TRIES]) * (1.0 - share)
    zero = ops.zeros((), "float32")
    rows = ops.stack([share[0] / size[0], zero, corner[0]])
    mirrored = uniform(key[None], 1, purpose=_MIRROR)[0, 0] < 0.5
    slope = share[1] / size[1]
    plain = ops.stack([zero, slope, corner[1]])
    columns = ops.where(mirrored, ops.stack([zero, -slope, corner[1] + share[1]]), plain)
    return View(matrix=ops.stack([rows, columns]), size=size)


def distorted(image: Tensor, key: Tensor, views: RandomViews) -> Tensor:
    """Return an image with colors changed, made gray, blurred: each with its own probability.

    See `blur_sigma` for the blur's standard deviation; as published, the kernel is a tenth of the
    side.

    Args:
        image: [H, W, 3] float32, [0, 255].
        key: int32 scalar.
        views: ranges and probabilities.
    """
    u = uniform(key[None], 5, purpose=_JITTER)[0]
    chances = uniform(key[None], 3, purpose=_CHANCES)[0]
    image = ops.cond(
        chances[0] < views.jitter_share, lambda: _jitter(image, key, u, views), lambda: image
    )
    image = ops.cond(chances[1] < views.gray_share, lambda: gray(image), lambda: image)
    side = min(image.shape[:2])
    sigma = blur_sigma(u[4], side=side)
    radius = max(side // 20, 1)
    return ops.cond(
        chances[2] < views.blur_share, lambda: blur(image, sigma, radius=radius), lambda: image
    )


def _jitter(image: Tensor, key: Tensor, u: Tensor, views: RandomViews) -> Tensor:
    """Return the image with brightness, contrast, saturation and hue changed in random order."""
    changes = []
    largest = {brightness: views.brightness, contrast: views.contrast, saturation: views.saturation}
    for i, (change, most) in enumerate(largest.items()):
        low = max(1.0 - most, 0.0)
        changes.append(functools.partial(change, factor=low + (1.0 + most - low) * u[i]))
    changes.append(functools.partial(hue, turn=(2.0 * u[3] - 1.0) * views.hue))
    order = ops.argsort(uniform(key[None], len(changes), purpose=_ORDER)[0])
    for place in range(len(changes)):
        image = ops.switch(order[place], changes, image)
    return image


# ITU-R 601: share of each color in perceived light.
_LUMA = (0.299, 0.587, 0.114)


def brightness(image: Tensor, factor: Tensor) -> Tensor:
    """Change brightness: black at 0, the image itself at 1, lighter above."""
    return _blend(image, 0.0, factor)


def contrast(image: Tensor, factor: Tensor) -> Tensor:
    """Change contrast: one gray, the image's mean, at 0; the image itself at 1."""
    return _blend(image, ops.mean(_luma(image)), factor)


def saturation(image: Tensor, factor: Tensor) -> Tensor:
    """Change saturation: the gray image at 0, the image itself at 1, more colorful above."""
    return _blend(image, _luma(image), factor)


def hue(image: Tensor, turn: Tensor) -> Tensor:
    """Move every color along the color circle by `turn`, in [-1, 1]: a share of the circle."""
    hsv = ops.image.rgb_to_hsv(ops.clip(image / 255.0, 0.0, 1.0))
    moved = ops.stack([ops.mod(hsv[..., 0] + turn, 1.0), hsv[..., 1], hsv[..., 2]], axis=-1)
    return ops.clip(ops.image.hsv_to_rgb(moved) * 255.0, 0.0, 255.0)


def gray(image: Tensor) -> Tensor:
    """Return the image's light alone, three times."""
    return ops.repeat(_luma(image), 3, axis=-1)


def blur(image: Tensor, sigma: Tensor, *, radius: int) -> Tensor:
    """Convolve with a Gaussian; pixels beyond the edge mirror those within.

    Args:
        image: [H, W, 3].
        sigma: standard deviation in pixels, above 0.
        radius: taps on either side of the middle one; at most the smaller side of the image.
    """
    distance = ops.arange(-radius, radius + 1, dtype="float32")
    taps = ops.exp(-0.5 * ops.square(distance / sigma))
    taps = taps / ops.sum(taps)
    pad = [[radius, radius], [radius, radius], [0, 0]]
    rows = ops.transpose(ops.pad(image, pad, mode="symmetric"), (2, 0, 1))[..., None]
    rows = ops.conv(rows, taps[:, None, None, None], padding="valid")
    rows = ops.conv(rows, taps[None, :, None, None], padding="valid")
    return ops.transpose(rows[..., 0], (1, 2, 0))


def _luma(image: Tensor) -> Tensor:
    weights = ops.convert_to_tensor(_LUMA, dtype=image.dtype)
    return ops.sum(image * weights, axis=-1, keepdims=True)


def _blend(image: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return ops.clip(other + (image - other) * factor, 0.0, 255.0)
