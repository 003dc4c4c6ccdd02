"""What a label column keeps of a detector's outputs, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from must_keras.ops.masks import decode_rle, encode_rle
from must_keras.tasks.base import DROPPED, Spec
from must_keras.tasks.detection.labels import missing


def record_spec() -> dict[str, Spec]:
    """See Task.record_spec. Boxes are fractions of the picture, by descending score.

    "masks" are COCO's compressed run-length codes of [mask_size, mask_size] crops of the boxes,
    empty where there is no mask. "truncated": the detector may have had more to say.
    """
    return {
        "boxes": Spec((None, 4), "float32"),
        "scores": Spec((None,), "float32"),
        "classes": Spec((None,), "int32"),
        "masks": Spec((None,), "bytes"),
        "mask_size": Spec((), "int32"),
        "truncated": Spec((), "bool"),
    }


def encode(
    outputs: Mapping[str, np.ndarray], area: np.ndarray, *, floor: float, limit: int
) -> dict[str, Any]:
    """See Task.encode; at most ``limit`` boxes, of which a full list may lack objects."""
    scores = np.asarray(outputs["scores"], np.float32)
    classes = np.asarray(outputs["classes"], np.int32)
    order = ranked(outputs, floor=floor)
    # A full list of detections may have been cut as well.
    limit = min(limit, len(scores))
    truncated = len(order) >= limit
    order = order[:limit]
    area = np.asarray(area, np.float64)
    sides = np.maximum(area[2:] - area[:2], 1e-9)
    boxes = np.asarray(outputs["boxes"], np.float64)[order]
    boxes = (boxes - np.tile(area[:2], 2)) / np.tile(sides, 2)
    has_masks = "masks" in outputs
    masks = np.asarray(outputs["masks"])[order] >= 0.5 if has_masks else np.zeros((len(order), 1))
    return {
        "boxes": np.clip(boxes, 0.0, 1.0).astype(np.float32),
        "scores": scores[order],
        "classes": classes[order],
        "masks": [encode_rle(mask) if has_masks else b"" for mask in masks],
        "mask_size": np.int32(masks.shape[-1]),
        "truncated": np.bool_(truncated),
    }


def ranked(outputs: Mapping[str, np.ndarray], *, floor: float) -> np.ndarray:
    """Places of one image's detections by descending score, without those below the floor."""
    scores = np.asarray(outputs["scores"], np.float32)
    order = np.argsort(-scores, kind="stable")
    return order[
        (np.asarray(outputs["classes"])[order] >= 0) & (scores[order] >= np.float32(floor))
    ]


def decode(
    record: Mapping[str, Any],
    limits: np.ndarray,
) -> dict[str, np.ndarray]:
    """See Task.decode. Boxes below the threshold of their class are dropped: background.

    A truncated record whose lowest score is at least a threshold may lack objects: the whole
    picture is then ignored where no stored box claims it.

    Boxes of a class that is dropped are ignored, whatever their score, and not background: with a
    threshold most objects of a class are still positives, but of this class none would be, and
    the head would learn from every image of the pool that its objects are background.

    Args:
        record: what `encode` made.
        limits: [K], the threshold of each class; DROPPED for one that is dropped.
    """
    scores = np.asarray(record["scores"], np.float32)
    labels = np.asarray(record["classes"], np.int32)
    ignored = (limits == DROPPED)[labels]
    keep = np.flatnonzero(ignored | (scores >= np.float32(limits)[labels]))
    size = int(record["mask_size"])
    codes = [_bytes(record["masks"][i]) for i in keep]
    masks = [decode_rle(c, (size, size)) if c else np.zeros((size, size), np.uint8) for c in codes]
    label = {
        "boxes": np.asarray(record["boxes"], np.float32).reshape(-1, 4)[keep],
        "classes": labels[keep],
        "masks": np.stack(masks) if masks else np.zeros((0, size, size), np.uint8),
        "has_mask": np.asarray([bool(c) for c in codes], bool),
        "ignore": ignored[keep],
    }
    if bool(record["truncated"]) and (not len(scores) or scores.min() >= np.float32(limits.min())):
        everything = missing() | {
            "boxes": np.asarray([[0.0, 0.0, 1.0, 1.0]], np.float32),
            "classes": np.asarray([-1], np.int32),
            "masks": np.zeros((1, size, size), np.uint8),
            "has_mask": np.asarray([False]),
            "ignore": np.asarray([True]),
        }
        label = {key: np.concatenate([label[key], everything[key]]) for key in label}
    return label | {"labelled": np.asarray(1.0, np.float32)}


def _bytes(code: Any) -> bytes:
    return code.encode() if isinstance(code, str) else bytes(code)
