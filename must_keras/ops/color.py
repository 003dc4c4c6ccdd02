"""Changes of color and sharpness, with the definitions of torchvision and Pillow.

Images are [H, W, 3] float32, RGB in [0, 255]; so are results.
"""

from __future__ import annotations

from typing import Any

from keras import ops

Tensor = Any

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
