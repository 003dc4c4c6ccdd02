"""One drawn example as TFDS stores it: pictures as PNG bytes, encoded here rather than in TFDS."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from must_keras.synthetic.config import SceneConfig
from must_keras.synthetic.drawing import draw, example_id


def encode_depth(depth: np.ndarray) -> np.ndarray:
    """Meters to uint16 millimeters; 0 stays 0 (invalid). At most 65.535 m."""
    return np.clip(np.rint(depth * 1000), 0, 65535).astype(np.uint16)


def encode_normals(normals: np.ndarray) -> np.ndarray:
    """Unit vectors [..., 3] to uint8 ``round(127.5 (n + 1))``; zeros (invalid) to (0, 0, 0)."""
    valid = np.any(normals != 0, axis=-1, keepdims=True)
    return np.where(valid, np.rint((normals + 1) * 127.5), 0).astype(np.uint8)


def decode_normals(stored: np.ndarray) -> np.ndarray:
    """The reverse: float32 unit vectors, zeros where invalid; within 0.4 degrees."""
    vectors = stored.astype(np.float32) / np.float32(127.5) - 1
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where(np.any(stored != 0, axis=-1, keepdims=True), vectors, np.float32(0))


def png(pixels: np.ndarray) -> bytes:
    """PNG of uint8 [H, W] or [H, W, 3], or uint16 [H, W]; lossless, compressed fast."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def encoded_example(config: SceneConfig, split: str, index: int) -> dict:
    """Draws one example and encodes it; plain Python and numpy values, ready to be pickled.

    The keys are the builder's features. Depth in uint16 millimeters, normals as in encode_normals.
    """
    example = draw(config, split, index)
    objects = example["objects"]
    return {
        "id": example_id(config, split, index),
        "image": png(example["image"]),
        "class": example["class"],
        "objects": objects,
        "semantic": png(example["semantic"]),
        "depth": png(encode_depth(example["depth"])),
        "normals": png(encode_normals(example["normals"])),
    }
