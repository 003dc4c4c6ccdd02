"""Surface normals: a direction for every pixel."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from must_keras.modeling.heads import PixelHead
from must_keras.ops import maps
from must_keras.ops.views import View, is_mirrored, sample
from must_keras.tasks.base import Spec, Task, Tensor
from must_keras.tasks.evaluation import Evaluator, TrivialBaseline
from must_keras.tasks.external import check_foreign_shape
from must_keras.tasks.label_content import Framing, LabelContent, Lost
from must_keras.tasks.thresholds import Threshold

# Shorter vectors are no direction: (0, 0, 0) says that nobody knows.
_SHORTEST = 0.1
_UNKNOWN = Lost("unknown (no direction)")
# Of a level camera, the normals of floor, ceiling and walls beside it have no Z but rounding.
_MIN_FORWARD = 0.05
_DEGREES = (11.25, 22.5, 30.0)


@keras.saving.register_keras_serializable(package="must_keras")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Normals(Task):
    """Which way each visible surface faces, in the camera's axes (X right, Y down, Z forward).

    A label is {"normals": [H, W, 3] float32}, unit vectors, (0, 0, 0) where nobody knows.

    Attributes:
        loss_stride: pixels between two that the loss sees; 4 is the head's own resolution.
        channels: of the head's hidden convolutions.
        num_convs: how many of them.
    """

    loss_stride: int = 4
    channels: int = 256
    num_convs: int = 3

    def __post_init__(self) -> None:
        maps.check_stride(self.name, self.loss_stride)

    def stored_spec(self) -> dict[str, Spec]:
        return {"normals": Spec((None, None, 3), "float32")}

    def missing(self) -> dict[str, np.ndarray]:
        return {"normals": np.zeros((1, 1, 3), np.float32)}

    def label_spec(self, size: tuple[int, int]) -> dict[str, Spec]:
        return {"normals": Spec((*size, 3), "float32")}

    def warp(self, stored: Mapping[str, Tensor], view: View) -> dict[str, Tensor]:
        """Nearest; a mirror turns x round, a turned view turns x and y.

        Under a shear, which no camera makes, depth keeps its values: its slopes, and with them the
        normals, follow the pixels.
        """
        seen = sample(stored["normals"], view, interpolation="nearest", fill=0.0)
        if not view.axis_aligned:
            return {"normals": _unit(_turned(seen, view, ops.shape(stored["normals"])))[0]}
        x = ops.where(is_mirrored(view), -1.0, 1.0)
        turn = ops.cast(ops.stack([x, 1.0, 1.0]), seen.dtype)
        return {"normals": _unit(seen * turn)[0]}

    @property
    def features(self) -> tuple[str, ...]:
        return ("P2",)

    def build_head(self, size: tuple[int, int], norm: Mapping[str, Any]) -> keras.Layer:
        maps.check_stride(self.name, self.loss_stride, size)
        return PixelHead(
            3, channels=self.channels, num_convs=self.num_convs, norm=norm, name=self.name
        )

    def content(self, stored: Mapping[str, Any], framing: Framing) -> LabelContent:
        """Count pixels; usable are as many as the loss reads of the whole image."""
        valid = np.linalg.norm(np.asarray(stored["normals"]), axis=-1) > _SHORTEST
        known = np.array([np.count_nonzero(valid)])
        share = maps.loss_pixels(framing.visible, self.loss_stride) / max(valid.size, 1)
        lost = {_UNKNOWN: valid.size - int(known[0])} if not valid.all() else {}
        return LabelContent(total=valid.size, found=known, usable=known * share, lost=lost)

    def label_weight(self, label: Mapping[str, Tensor]) -> Tensor:
        _, valid = _unit(maps.at_stride(label["normals"], self.loss_stride))
        return ops.sum(ops.cast(valid, "float32"), axis=(1, 2))

    def loss(
        self, label: Mapping[str, Tensor], prediction: Any, head: keras.Layer, keys: Tensor
    ) -> Tensor:
        """1 - cosine of the angle, summed over the valid pixels."""
        target, valid = _unit(maps.at_stride(label["normals"], self.loss_stride))
        size = label["normals"].shape[1:3]
        values = maps.resize_at_stride(prediction["values"], size, self.loss_stride)
        cosine = ops.sum(_direction(values) * target, axis=-1)
        return ops.sum(ops.where(valid, 1.0 - cosine, ops.zeros_like(cosine)), axis=(1, 2))

    is_regression: ClassVar[bool] = True

    def outputs(
        self, prediction: Any, head: keras.Layer, map_size: tuple[int, int]
    ) -> dict[str, Tensor]:
        return {"normals": _direction(maps.resize(prediction["values"], map_size))}

    @property
    def kind(self) -> str:
        return "normals"

    @property
    def unit(self) -> str:
        return ""

    def record_spec(self) -> dict[str, Spec]:
        return {"normals": Spec((), "bytes")}

    def encode(
        self, outputs: Mapping[str, np.ndarray], area: np.ndarray, size: tuple[int, int]
    ) -> dict[str, Any]:
        normals = maps.cut(np.asarray(outputs["normals"]), area, size)
        return {"normals": maps.encode_png(as_colors(normals))}

    def record_of(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """To within half a degree; a map above `maps.MAX_STORED_SIDE` becomes coarser."""
        normals = maps.shrink(np.asarray(stored["normals"]), maps.MAX_STORED_SIDE)
        return {"normals": maps.encode_png(as_colors(normals))}

    def decode(self, record: Mapping[str, Any], threshold: Threshold) -> dict[str, np.ndarray]:
        self.check_threshold(threshold)
        return {"normals": from_colors(maps.decode_png(record["normals"]))}

    legend: ClassVar[str] = "red faces right, green faces down, little blue faces the camera"

    foreign_forms: ClassVar[tuple[str, ...]] = ("normals",)

    def external_outputs(
        self, values: Any, form: str, map_size: tuple[int, int], **of_detectors: Any
    ) -> dict[str, np.ndarray]:
        """[B, h, w, 3] of any length; X right, Y down, Z forward: n_z < 0 where we see it."""
        check_foreign_shape(self.name, values, (None, None, 3), form)
        outputs = self.outputs({"values": np.asarray(values, np.float32)}, None, map_size)
        return {key: ops.convert_to_numpy(value) for key, value in outputs.items()}

    def evaluator(self) -> Evaluator:
        return _Angles()

    def quality(self) -> Evaluator:
        return _Angles(partly=True)

    def prior(self) -> TrivialBaseline:
        return _MeanNormal()

    kinds: ClassVar[tuple[str, ...]] = ("normals",)

    def map_png(self, outputs: Mapping[str, np.ndarray]) -> bytes:
        """Colors: round((n + 1) / 2 * 255)."""
        return maps.encode_png(as_colors(np.asarray(outputs["normals"])))

    def draw(self, image: np.ndarray, shown: Mapping[str, np.ndarray]) -> np.ndarray:
        """The usual colors: each axis from -1 to 1 as red, green and blue."""
        return as_colors(np.asarray(shown["normals"]))


def points_away(normals: np.ndarray) -> bool:
    """Whether most of the [h, w, 3] normals in the camera's axes point away from the camera."""
    forward = normals[:, :, 2]
    away, towards = forward > _MIN_FORWARD, forward < -_MIN_FORWARD
    return bool(np.count_nonzero(away) > np.count_nonzero(towards))


def as_colors(normals: np.ndarray) -> np.ndarray:
    """[H, W, 3] unit vectors as uint8 round((n + 1) / 2 * 255); invalid ones as (0, 0, 0)."""
    valid = np.linalg.norm(normals, axis=-1, keepdims=True) > _SHORTEST
    colors = np.clip(np.round((normals + 1.0) * 127.5), 0, 255)
    return np.where(valid, colors, 0).astype(np.uint8)


def from_colors(colors: np.ndarray) -> np.ndarray:
    """The unit vectors that `as_colors` stored, to within half a degree."""
    normals = colors.astype(np.float32) / 127.5 - 1.0
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-6)
    return np.where(colors.any(-1, keepdims=True), normals, 0.0).astype(np.float32)


def _unit(normals: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors (zero where there is none) and which are valid, [..., H, W]."""
    finite = ops.all(ops.isfinite(normals), axis=-1, keepdims=True)
    normals = ops.where(finite, normals, ops.zeros_like(normals))
    square = ops.sum(ops.square(normals), axis=-1, keepdims=True)
    valid = square > _SHORTEST**2
    length = ops.sqrt(ops.where(valid, square, ops.ones_like(square)))
    return ops.where(valid, normals / length, ops.zeros_like(normals)), valid[..., 0]


def _direction(values: Tensor) -> Tensor:
    """Predicted vectors as unit vectors, with a finite gradient at zero."""
    return values * ops.rsqrt(ops.sum(ops.square(values), axis=-1, keepdims=True) + 1e-8)


def _turned(normals: Tensor, view: View, shape: tuple[Any, ...]) -> Tensor:
    """Normals, [H, W, 3], in the axes of a view of a map of a shape, [h, w, 3]; of any length.

    With q = B p from the view's pixels to the map's, a depth z(q) has the slopes B^T dz/dq. The
    size of B is left out: a larger picture of a thing does not change its normals.
    """
    sides = ops.cast(ops.stack([shape[0], shape[1]]), view.matrix.dtype)
    b = view.matrix[:, :2] * sides[:, None]
    b = b / ops.sqrt(ops.abs(b[0, 0] * b[1, 1] - b[0, 1] * b[1, 0]))
    x, y, z = (normals[..., i] for i in range(3))
    return ops.stack([b[0, 1] * y + b[1, 1] * x, b[0, 0] * y + b[1, 0] * x, z], axis=-1)


class _Angles(Evaluator):
    """Shares of valid pixels within 11.25, 22.5 and 30 degrees, and the mean angle in degrees.

    Args:
        partly: whether pixels may be left out that a pseudo label says nothing of; otherwise what
            is no direction is wrong by 180 degrees.
    """

    def __init__(self, *, partly: bool = False) -> None:
        self._partly = partly
        self._within = np.zeros(len(_DEGREES), np.int64)
        self._sum = 0.0
        self._count = 0

    def update(self, label: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
        true = np.asarray(label["normals"], np.float64)
        said = np.asarray(outputs["normals"], np.float64)
        valid = np.linalg.norm(true, axis=-1) > _SHORTEST
        length = np.linalg.norm(said, axis=-1)
        told = np.isfinite(length) & (length > 0)
        if self._partly:
            valid &= told
        true, said, told = true[valid], said[valid], told[valid]
        # What is no direction points away from the truth.
        said = np.where(told[:, None], said, -true)
        lengths = np.linalg.norm(true, axis=-1) * np.linalg.norm(said, axis=-1)
        cosine = (true * said).sum(-1) / lengths
        angle = np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
        self._within += [int((angle < limit).sum()) for limit in _DEGREES]
        self._sum += float(angle.sum())
        self._count += angle.size

    def result(self) -> dict[str, float]:
        count = self._count or math.nan
        shares = dict(zip(("within_11", "within_22", "within_30"), self._within, strict=True))
        return {k: float(v / count) for k, v in shares.items()} | {"mean_angle": self._sum / count}


class _MeanNormal(TrivialBaseline):
    """Each pixel's mean direction over the training labels."""

    def __init__(self) -> None:
        self._sum: Any = 0.0

    def update(self, label: Mapping[str, np.ndarray]) -> None:
        self._sum = self._sum + np.asarray(label["normals"], np.float64).sum(0)

    def outputs(self, num_images: int) -> dict[str, np.ndarray]:
        towards_camera = np.array([0.0, 0.0, -1.0])
        length = np.linalg.norm(self._sum, axis=-1, keepdims=True)
        mean = np.where(length > 1e-6, self._sum / np.maximum(length, 1e-6), towards_camera)
        return {"normals": np.broadcast_to(mean.astype(np.float32), (num_images, *mean.shape))}
