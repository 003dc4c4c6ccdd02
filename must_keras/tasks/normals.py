"""Surface normals: a direction for every pixel; `Normals` lists the parts above it."""

import dataclasses
import math
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from must_keras.ops import maps
from must_keras.ops.views import View, is_mirrored, sample
from must_keras.tasks import base, pixel_maps
from must_keras.tasks.evaluation import Evaluator, TrivialBaseline, error, share
from must_keras.tasks.parts import Arrays, Size, Spec, Stored, Tensor, Tensors
from must_keras.tasks.summaries import Lost
from must_keras.tasks.thresholds import Threshold
from must_keras.tasks.typed import NormalMap
from must_keras.tasks.visualization import Swatch

# Shorter vectors are no direction: (0, 0, 0) stands for unknown.
_SHORTEST = 0.1
# Of a level camera, the normals of floor, ceiling and walls beside it have no Z but rounding.
_MIN_FORWARD = 0.05
# What a legend shows: X is right, Y down, Z forward.
_DIRECTIONS = {
    "faces the camera": (0, 0, -1),
    "right": (1, 0, 0),
    "left": (-1, 0, 0),
    "up": (0, -1, 0),
    "down": (0, 1, 0),
}
_DEGREES = (11.25, 22.5, 30.0)


class Labels(pixel_maps.MapLabels):
    """{"normals": [H, W, 3] float32}, unit vectors, (0, 0, 0) where the normal is unknown.

    Example:
        Normals(name="facing").labels.missing()
    """

    key = "normals"
    pixel = Spec((3,), "float32")
    why_unknown = Lost("unknown (no direction)")

    def warp(self, stored: Tensors, view: View) -> dict[str, Tensor]:
        """Return the nearest pixels; a mirror negates x, a rotated view rotates x and y.

        Under a shear, which no camera makes, depth keeps its values: its slopes, and with them the
        normals, follow the pixels.
        """
        seen = sample(stored["normals"], view, interpolation="nearest", fill=0.0)
        if not view.axis_aligned:
            return {"normals": _unit(_turned(seen, view, ops.shape(stored["normals"])))[0]}
        x = ops.where(is_mirrored(view), -1.0, 1.0)
        turn = ops.cast(ops.stack([x, 1.0, 1.0]), seen.dtype)
        return {"normals": _unit(seen * turn)[0]}

    def weight(self, label: Tensors) -> Tensor:
        _, valid = _unit(maps.at_stride(label["normals"], self.task.loss_stride))
        return ops.sum(ops.cast(valid, "float32"), axis=(1, 2))

    def known(self, values: np.ndarray) -> np.ndarray:
        return np.linalg.norm(values, axis=-1) > _SHORTEST


class Head(pixel_maps.MapHead):
    """Convolutions on P2, and 1 - cosine of the angle summed over the valid pixels.

    Example:
        norm = {"momentum": 0.9, "epsilon": 1e-4, "synchronized": False}
        Normals(name="facing").head.build((64, 64), norm)
    """

    is_regression: ClassVar[bool] = True

    num_outputs = 3

    def loss(self, label: Tensors, prediction: Any, layer: keras.Layer, keys: Tensor) -> Tensor:
        stride, size = self.task.loss_stride, label["normals"].shape[1:3]
        target, valid = _unit(maps.at_stride(label["normals"], stride))
        values = maps.resize_at_stride(prediction["values"], size, stride)
        cosine = ops.sum(_direction(values) * target, axis=-1)
        return ops.sum(ops.where(valid, 1.0 - cosine, ops.zeros_like(cosine)), axis=(1, 2))


class Predictions(pixel_maps.MapPredictions):
    """{"normals": [B, H, W, 3]}, unit vectors.

    Example:
        task = Normals(name="facing")
        task.predictions.to_json({"normals": np.zeros((64, 64, 3), np.float32)})
    """

    per_pixel: ClassVar = {"normals": "nearest"}

    def of_values(self, values: Tensor) -> dict[str, Tensor]:
        return {"normals": _direction(values)}

    def typed(self, prediction: Arrays, size: Size) -> NormalMap:
        return NormalMap(**prediction)

    def map_png(self, prediction: Arrays) -> bytes:
        """Return colors: round((n + 1) / 2 * 255)."""
        return maps.encode_png(as_colors(np.asarray(prediction["normals"])))


class Records(pixel_maps.MapRecords):
    """The normals as the colors of a PNG, to within half a degree.

    Example:
        Normals(name="facing").records.spec()
    """

    def spec(self) -> dict[str, Spec]:
        return {"normals": Spec((), "bytes")}

    def encode(self, found: Arrays) -> dict[str, Any]:
        return {"normals": maps.encode_png(as_colors(found["normals"]))}

    def to_label(self, record: Stored, threshold: Threshold) -> dict[str, np.ndarray]:
        self.check_threshold(threshold)
        return {"normals": from_colors(maps.decode_png(record["normals"]))}


class Angles(Evaluator):
    """Shares of valid pixels within 11.25, 22.5 and 30 degrees, and the mean angle in degrees.

    Args:
        partly: whether pixels without a pseudo label are left out; otherwise a pixel without a
            direction is wrong by 180 degrees.

    Example:
        angles, facing = Angles(), np.float32([[[[0, 0, -1]]]])
        angles.update({"normals": facing}, {"normals": facing})
        angles.result()["mean_angle"]  # 0.0
    """

    metrics = (
        share("within_11"),
        share("within_22"),
        share("within_30"),
        error("mean_angle", highest=180.0),
    )

    def __init__(self, *, partly: bool = False) -> None:
        self._partly = partly
        self._within = np.zeros(len(_DEGREES), np.int64)
        self._sum = 0.0
        self._count = 0

    def update(self, label: Arrays, prediction: Arrays) -> None:
        true = np.asarray(label["normals"], np.float64)
        predicted = np.asarray(prediction["normals"], np.float64)
        valid = np.linalg.norm(true, axis=-1) > _SHORTEST
        length = np.linalg.norm(predicted, axis=-1)
        present = np.isfinite(length) & (length > 0)
        if self._partly:
            valid &= present
        true, predicted, present = true[valid], predicted[valid], present[valid]
        # Without a direction, the opposite one counts.
        predicted = np.where(present[:, None], predicted, -true)
        lengths = np.linalg.norm(true, axis=-1) * np.linalg.norm(predicted, axis=-1)
        cosine = (true * predicted).sum(-1) / lengths
        angle = np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
        self._within += [int((angle < limit).sum()) for limit in _DEGREES]
        self._sum += float(angle.sum())
        self._count += angle.size

    def values(self) -> list[float]:
        count = self._count or math.nan
        return [*(self._within / count), self._sum / count]


class MeanNormal(TrivialBaseline):
    """Each pixel's mean direction over the training labels.

    Example:
        baseline = MeanNormal()
        baseline.update({"normals": np.float32([[[[0, 0, -1]]]])})
        baseline.predict(1)["normals"]  # [[[[0, 0, -1]]]]
    """

    def __init__(self) -> None:
        self._sum: Any = 0.0

    def update(self, label: Arrays) -> None:
        self._sum = self._sum + np.asarray(label["normals"], np.float64).sum(0)

    def prediction(self) -> dict[str, np.ndarray]:
        towards_camera = np.array([0.0, 0.0, -1.0])
        length = np.linalg.norm(self._sum, axis=-1, keepdims=True)
        mean = np.where(length > 1e-6, self._sum / np.maximum(length, 1e-6), towards_camera)
        return {"normals": mean.astype(np.float32)}


class Metrics(base.Metrics):
    """Angles, compared with each pixel's mean direction.

    Example:
        Normals(name="facing").metrics.evaluator()
    """

    def evaluator(self) -> Evaluator:
        return Angles()

    def quality(self) -> Evaluator:
        return Angles(partly=True)

    def trivial_baseline(self) -> TrivialBaseline:
        return MeanNormal()


class Visualization(base.Visualization):
    """The usual colors of normals.

    Example:
        image = np.zeros((64, 64, 3), np.uint8)
        Normals(name="facing").visualization.visualize(
            image, {"normals": np.zeros((64, 64, 3), np.float32)}
        )
    """

    legend: ClassVar[str] = "red faces right, green faces down, little blue faces the camera"

    def visualize(self, image: np.ndarray, shown: Arrays) -> np.ndarray:
        """Return each axis from -1 to 1 as red, green and blue."""
        return as_colors(np.asarray(shown["normals"]))

    def swatches(self, *shown: Arrays) -> list[Swatch]:
        """Return the five directions that a visible surface can face, whatever is shown."""
        colors = as_colors(np.array([list(_DIRECTIONS.values())], np.float32))[0].tolist()
        return [Swatch(*one) for one in zip(_DIRECTIONS, map(tuple, colors), strict=True)]


class External(pixel_maps.MapExternal):
    """[B, h, w, 3] of any length; X right, Y down, Z forward: n_z < 0 where it is visible.

    Example:
        Normals(name="facing").external.forms
    """

    forms: ClassVar[tuple[str, ...]] = ("normals",)

    def decode(self, values: Any, form: str, map_size: Size, **of_detectors: Any) -> Arrays:
        self.check_shape(values, (None, None, 3), form)
        return self.of_values(np.asarray(values, np.float32), map_size)


@keras.saving.register_keras_serializable(package="must_keras")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Normals(pixel_maps.MapTask):
    """Which way each visible surface faces, in the camera's axes (X right, Y down, Z forward).

    Attributes:
        loss_stride: pixels between two that the loss reads; 4 is the head's own resolution.
        channels: of the head's hidden convolutions.
        num_convs: how many of them.

    Example:
        mk.Normals(name="surfaces", loss_stride=8)
    """

    kind: ClassVar[str] = "normals"
    parts = (
        Labels,
        Head,
        Predictions,
        Records,
        Metrics,
        Visualization,
        External,
        pixel_maps.MapMixtures,
    )


def points_away(normals: np.ndarray) -> bool:
    """Return whether most of the normals, [h, w, 3], point away from the camera."""
    forward = normals[:, :, 2]
    away, towards = forward > _MIN_FORWARD, forward < -_MIN_FORWARD
    return bool(np.count_nonzero(away) > np.count_nonzero(towards))


def as_colors(normals: np.ndarray) -> np.ndarray:
    """Return unit vectors [H, W, 3] as uint8 round((n + 1) / 2 * 255); invalid ones as 0."""
    valid = np.linalg.norm(normals, axis=-1, keepdims=True) > _SHORTEST
    colors = np.clip(np.round((normals + 1.0) * 127.5), 0, 255)
    return np.where(valid, colors, 0).astype(np.uint8)


def from_colors(colors: np.ndarray) -> np.ndarray:
    """Return the unit vectors of `as_colors`, to within half a degree."""
    normals = colors.astype(np.float32) / 127.5 - 1.0
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-6)
    return np.where(colors.any(-1, keepdims=True), normals, 0.0).astype(np.float32)


def _unit(normals: Tensor) -> tuple[Tensor, Tensor]:
    """Return unit vectors, zero where invalid, and which are valid, [..., H, W]."""
    finite = ops.all(ops.isfinite(normals), axis=-1, keepdims=True)
    normals = ops.where(finite, normals, ops.zeros_like(normals))
    square = ops.sum(ops.square(normals), axis=-1, keepdims=True)
    valid = square > _SHORTEST**2
    length = ops.sqrt(ops.where(valid, square, ops.ones_like(square)))
    return ops.where(valid, normals / length, ops.zeros_like(normals)), valid[..., 0]


def _direction(values: Tensor) -> Tensor:
    """Return predicted vectors as unit vectors, with a finite gradient at zero."""
    return values * ops.rsqrt(ops.sum(ops.square(values), axis=-1, keepdims=True) + 1e-8)


def _turned(normals: Tensor, view: View, shape: tuple[Any, ...]) -> Tensor:
    """Return normals [H, W, 3] of any length in the axes of a view of a map of a shape [h, w, 3].

    With q = B p from the view's pixels to the map's, a depth z(q) has the slopes B^T dz/dq. The
    size of B is left out: a larger picture of a thing does not change its normals.
    """
    sides = ops.cast(ops.stack([shape[0], shape[1]]), view.matrix.dtype)
    b = view.matrix[:, :2] * sides[:, None]
    b = b / ops.sqrt(ops.abs(b[0, 0] * b[1, 1] - b[0, 1] * b[1, 0]))
    x, y, z = (normals[..., i] for i in range(3))
    return ops.stack([b[0, 1] * y + b[1, 1] * x, b[0, 0] * y + b[1, 0] * x, z], axis=-1)
