"""The letterbox: the whole of an image in a network's input, beside padding, and its inverse.

Training, scoring, labeling and the exported model share this definition. The pixels are sampled by
OpenCV (`resampling`), and in an exported model by the same arithmetic in a TensorFlow graph
(`graph_resampling`).
"""

import numpy as np
from keras import ops

from must_keras.ops import Tensor
from must_keras.ops.views import View

# RGB of padding: the mean of ImageNet's training images (modeling.backbone), rounded.
# Another color changes results: raise VERSION of all stages that train or predict.
PADDING_COLOR = (124, 116, 104)


def letterbox(original_size: Tensor, size: tuple[int, int]) -> View:
    """Return the view of the whole original, as large as it fits, at the top left.

    The visible part has whole pixels a side (at least one), so that padding can be cut off exactly.

    Args:
        original_size: [2], (height, width) of the original in pixels.
        size: (H, W) of the input.

    Example:
        visible_area(letterbox((240, 320), (64, 64)))  # [0, 0, 48, 64]
    """
    original = ops.cast(original_size, "float32")
    limit = ops.convert_to_tensor(size, dtype="float32")
    scale = ops.min(limit / original)
    visible = ops.clip(ops.round(original * scale), 1.0, limit)
    unit = ops.convert_to_tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype="float32")
    return View(matrix=unit / visible[:, None], size=size)


def cut(values: np.ndarray, area: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the part of a map, [h, w, ...], that shows the image: the map without padding.

    Args:
        values: a map of the whole input at any resolution.
        area: [4], the image (ymin, xmin, ymax, xmax) in pixels of the input (`visible_area`).
        size: (H, W) of the input.
    """
    scale = np.tile(np.asarray(values.shape[:2]) / np.asarray(size), 2)
    top, left, bottom, right = np.round(np.asarray(area) * scale).astype(int)
    return values[top : max(bottom, top + 1), left : max(right, left + 1)]
