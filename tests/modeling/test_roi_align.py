import math

import numpy as np
import pytest
from keras import ops

from must_keras.modeling.detection_heads import region_levels, roi_align


def numpy_of(x):
    return np.asarray(ops.convert_to_numpy(x))


def bilinear(features, y, x):
    """At a point in cells whose centers are at 0.5, 1.5, ..."""
    h, w, _ = features.shape
    y, x = min(max(y - 0.5, 0), h - 1), min(max(x - 0.5, 0), w - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
    fy, fx = y - top, x - left
    return (
        features[top, left] * (1 - fy) * (1 - fx)
        + features[top, right] * (1 - fy) * fx
        + features[bottom, left] * fy * (1 - fx)
        + features[bottom, right] * fy * fx
    )


def slow(pyramid, image, box, size, unit):
    ymin, xmin, ymax, xmax = (float(v) for v in box)
    side = math.sqrt(max(ymax - ymin, 0) * max(xmax - xmin, 0))
    levels = [int(name[1:]) for name in pyramid]
    level = math.floor(math.log2(side / unit)) + 4 if side else min(levels)
    level = min(max(level, min(levels)), max(levels))
    features, stride = pyramid[f"P{level}"][image], 2**level
    out = np.zeros((size, size, features.shape[-1]))
    for i in range(size):
        for j in range(size):
            for a in (0.25, 0.75):
                for b in (0.25, 0.75):
                    y = ymin + (i + a) * (ymax - ymin) / size
                    x = xmin + (j + b) * (xmax - xmin) / size
                    out[i, j] += bilinear(features, y / stride, x / stride) / 4
    return out


def random_pyramid(rng, batch=2, size=64, channels=3):
    return {
        f"P{level}": rng.normal(
            size=(batch, math.ceil(size / 2**level), math.ceil(size / 2**level), channels)
        ).astype(np.float32)
        for level in range(3, 8)
    }


@pytest.mark.parametrize("size", [1, 5, 7])
def test_equals_a_slow_loop_on_every_level(size):
    rng = np.random.default_rng(size)
    pyramid = random_pyramid(rng)
    corner, side = rng.uniform(0, 30, (2, 9, 2)), 2.0 ** rng.uniform(0, 6, (2, 9, 2))
    boxes = np.concatenate([corner, corner + side], axis=-1).astype(np.float32)
    boxes[0, 0], boxes[1, 0] = (0, 0, 64, 64), (5, 5, 5, 5)
    order = rng.permutation(18)
    image, boxes_of = np.repeat(np.int32([0, 1]), 9)[order], boxes.reshape(-1, 4)[order]
    found = numpy_of(roi_align(pyramid, boxes_of, image, size=size, unit=16.0))
    assert found.shape == (18, size, size, 3)
    assert len(np.unique(numpy_of(region_levels(boxes, unit=16.0, lowest=3, highest=7)))) > 3
    for features, i, box in zip(found, image, boxes_of, strict=True):
        np.testing.assert_allclose(features, slow(pyramid, i, box, size, 16.0), atol=1e-4)


def test_a_linear_map_is_read_exactly_at_the_bins_centers():
    # Cell centers of stride 8 are at 4, 12, ... pixels: the map holds their coordinates.
    y, x = np.meshgrid(np.arange(8) * 8 + 4, np.arange(8) * 8 + 4, indexing="ij")
    pyramid = {"P3": np.stack([y, x], axis=-1)[None].astype(np.float32)}
    boxes = np.array([[10, 20, 30, 52]], np.float32)
    found = numpy_of(roi_align(pyramid, boxes, np.int32([0]), size=4, unit=1e6))[0]
    np.testing.assert_allclose(found[:, 0, 0], [12.5, 17.5, 22.5, 27.5], atol=1e-4)
    np.testing.assert_allclose(found[0, :, 1], [24, 32, 40, 48], atol=1e-4)


def test_levels_change_exactly_at_powers_of_two():
    sides = np.array([0.0, 1.0, 111.9, 112, 223.9, 224, 447.9, 448, 896, 5000])
    boxes = np.stack([sides * 0, sides * 0, sides, sides], axis=-1).astype(np.float32)
    found = numpy_of(region_levels(boxes, unit=224.0, lowest=3, highest=7))
    assert found.tolist() == [3, 3, 3, 3, 3, 4, 4, 5, 6, 7]
