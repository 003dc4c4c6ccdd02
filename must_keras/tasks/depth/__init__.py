"""Depth: meters, or relative inverse depth; `Depth`, at the end, lists its parts."""

import dataclasses
from typing import Any, ClassVar, Literal

import keras
import numpy as np
from keras import ops

from must_keras.ops import maps
from must_keras.ops.views import View, sample
from must_keras.tasks import base, pixel_maps
from must_keras.tasks.depth.metrics import Metrics
from must_keras.tasks.depth.mixtures import Mixtures
from must_keras.tasks.depth.visualization import Visualization
from must_keras.tasks.parts import Arrays, Size, Spec, Stored, Tensor, Tensors
from must_keras.tasks.summaries import Framing, LabelContent, Lost, Sketch
from must_keras.tasks.thresholds import Threshold
from must_keras.tasks.typed import DepthMap

# Fewer valid pixels than this do not determine a scale and a shift.
MIN_PIXELS = 16
MIN_DEVIATION = 1e-6
# Metric depth is e^value, between 1 mm and 1 km; labels beyond count as these.
NEAREST, FARTHEST = 1e-3, 1e3
# Weights of the absolute error and of the gradient term, and the latter's number of scales
# (Ranftl et al., 2020).
_ERROR_WEIGHT, _GRADIENT_WEIGHT, _SCALES = 0.5, 0.5, 4
# The logarithm that a fresh metric head predicts: about three meters.
_FIRST_LOG = 1.1


class Head(pixel_maps.MapHead):
    """Convolutions on P2, with a loss in logarithms of meters or an affine-invariant one.

    Example:
        norm = {"momentum": 0.9, "epsilon": 1e-4, "synchronized": False}
        Depth(name="distance").head.build((64, 64), norm)
    """

    is_regression: ClassVar[bool] = True
    # The paper gives depth a number of its own, which is not known.
    has_rule_weight: ClassVar[bool] = False

    num_outputs = 1

    @property
    def bias(self) -> float:
        return _FIRST_LOG if self.task.kind == "metric" else 0.0

    def loss(self, label: Tensors, prediction: Any, layer: keras.Layer, keys: Tensor) -> Tensor:
        """Return each image's loss: [B] float32, a mean over valid pixels times their number.

        Metric: |difference of logarithms|.

        Relative: invariant to a positive scale and to a shift, of label and prediction. Both are
        shifted by their own median and divided by their own mean absolute deviation over the
        valid pixels (the "ssi" losses of MiDaS; Ranftl et al., 2020, arXiv 1907.01341). With the
        residual r, the difference of the two, the loss is 0.5 x mean |r| (the paper's "mae" form)
        + 0.5 x gradient matching of r at 4 scales. No scale is fitted: a fit may choose a negative
        one, and an inverted prediction would then have no loss. Nothing is trimmed: in an inverted
        prediction the pixels with the largest |r| are those whose gradient leads back, and
        trimming would remove them.

        A relative label without weight (see `Labels.weight`) and a prediction whose mean absolute
        deviation is below 1e-6 (it has no scale) give loss 0 and gradient 0.
        """
        stride = self.task.loss_stride
        height, width = (side // stride for side in label["depth"].shape[1:3])
        target, valid = flat_target(label, stride)
        values = maps.resize_at_stride(prediction["values"], label["depth"].shape[1:3], stride)
        values = ops.reshape(values, (-1, height * width))
        if self.task.kind == "metric":
            target = ops.log(ops.clip(target, NEAREST, FARTHEST))
            return maps.masked_sum(ops.abs(values - target), valid)
        weight = self.task.labels.weight(label)
        valid = valid & (weight > 0.0)[:, None]
        target, _ = _standardized(target, valid)
        values, deviation = _standardized(inverse_depth(values), valid)
        residual = maps.only_valid(values - target, valid)
        loss = _ERROR_WEIGHT * maps.masked_mean(ops.abs(residual), valid)
        shape = (-1, height, width)
        loss += _GRADIENT_WEIGHT * _gradient_matching(
            ops.reshape(residual, shape), ops.reshape(valid, shape)
        )
        return ops.where(deviation >= MIN_DEVIATION, loss, ops.zeros_like(loss)) * weight


def flat_target(label: Tensors, stride: int) -> tuple[Tensor, Tensor]:
    """Return depth at a stride, [B, N], 1 where it is not valid, and which is valid, [B, N]."""
    depth = maps.at_stride(label["depth"], stride)
    depth = ops.reshape(depth, (-1, depth.shape[1] * depth.shape[2]))
    valid = is_valid(depth)
    return maps.only_valid(depth, valid, fill=1.0), valid


def is_valid(depth: Tensor) -> Tensor:
    """Return which depths are known: finite and positive."""
    return ops.isfinite(depth) & (depth > 0)


def inverse_depth(values: Tensor) -> Tensor:
    """Return a relative head's values as positive ones, so that they can be labels themselves."""
    return ops.softplus(values) + 1e-6


def median_and_deviation(target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Return median and mean absolute deviation of the valid elements of [B, N], [B] each."""
    median = maps.masked_median(target, valid)
    return median, maps.masked_mean(ops.abs(target - median[:, None]), valid)


def _standardized(values: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Return values [B, N] minus their median, over their mean absolute deviation; and that, [B].

    Both are of the valid elements. A deviation below 1e-6 counts as 1e-6, so that the quotient
    and its gradient stay finite.
    """
    median, deviation = median_and_deviation(values, valid)
    scale = ops.maximum(deviation, MIN_DEVIATION)
    return (values - median[:, None]) / scale[:, None], deviation


def _gradient_matching(residual: Tensor, valid: Tensor) -> Tensor:
    """[B]: sum over scales of mean |horizontal| + |vertical| difference of the residual.

    A difference counts where both its pixels are valid; scale k takes every 2^k-th pixel.
    """
    total = 0.0
    for scale in range(_SCALES):
        step = 2**scale
        r, v = residual[:, ::step, ::step], valid[:, ::step, ::step]
        across = maps.only_valid(ops.abs(r[:, :, 1:] - r[:, :, :-1]), v[:, :, 1:] & v[:, :, :-1])
        down = maps.only_valid(ops.abs(r[:, 1:] - r[:, :-1]), v[:, 1:] & v[:, :-1])
        count = ops.maximum(ops.sum(ops.cast(v, r.dtype), axis=(1, 2)), 1.0)
        total += (ops.sum(across, axis=(1, 2)) + ops.sum(down, axis=(1, 2))) / count
    return total


_NO_SCALE = Lost(
    "without a relative depth: they are all as far as each other, or fewer than "
    f"{MIN_PIXELS} of an image at the network's size"
)


class Labels(pixel_maps.MapLabels):
    """{"depth": [H, W] float32}, at most 0, or not finite, where it is unknown.

    Meters for a metric head, relative inverse depth (larger is nearer) for a relative one. Metric
    depth keeps its meters when the image is cropped or resized.

    Example:
        Depth(name="distance").labels.missing()
    """

    key = "depth"
    pixel = Spec((), "float32")
    why_unknown = Lost("unknown (0, negative or not finite)")

    @property
    def has_length(self) -> bool:
        """Whether depth is in meters."""
        return self.task.kind == "metric"

    def accepts(self, kind: str) -> bool:
        """Return whether kinds match; meters serve a relative head too, as 1 / meters."""
        return kind in ("metric", self.task.kind)

    def adapt(self, stored: Stored, kind: str) -> Stored:
        if kind == self.task.kind:
            return stored
        return {"depth": to_relative(np.asarray(stored["depth"]))}

    def warp(self, stored: Tensors, view: View) -> dict[str, Tensor]:
        """Return depth interpolated bilinearly among valid pixels only."""
        depth = stored["depth"][:, :, None]
        valid = is_valid(depth)
        weight = ops.cast(valid, "float32")
        both = ops.concatenate([maps.only_valid(depth, valid), weight], axis=-1)
        seen = sample(both, view, interpolation="bilinear", fill=0.0)
        share = seen[:, :, 1]
        # A pixel that is mostly unknown stays unknown.
        known = share > 0.5
        return {"depth": ops.where(known, seen[:, :, 0] / ops.where(known, share, 1.0), 0.0)}

    def weight(self, label: Tensors) -> Tensor:
        """Return the number of valid pixels; for a relative head 0 where they have no scale."""
        target, valid = flat_target(label, self.task.loss_stride)
        count = ops.sum(ops.cast(valid, "float32"), axis=1)
        if self.task.kind == "metric":
            return count
        _, deviation = median_and_deviation(target, valid)
        usable = (count >= MIN_PIXELS) & (deviation >= MIN_DEVIATION)
        return ops.where(usable, count, 0.0)

    def content(self, stored: Stored, framing: Framing) -> LabelContent:
        """Count pixels; usable are as many as the loss reads of the whole image.

        A relative label teaches nothing where it determines no scale (see `weight`).
        """
        depth, stride = np.asarray(stored["depth"]), self.task.loss_stride
        valid = np.isfinite(depth) & (depth > 0)
        known = found = int(np.count_nonzero(valid))
        usable = known * maps.loss_pixels(framing.visible, stride) / max(depth.size, 1)
        lost = {self.why_unknown: depth.size - known} if known < depth.size else {}
        if self.task.kind == "relative_inverse" and known:
            values = depth[valid].astype(np.float64)
            deviation = float(np.abs(values - np.median(values)).mean())
            found = known if deviation >= MIN_DEVIATION else 0
            if usable < MIN_PIXELS or not found:
                lost, usable = lost | {_NO_SCALE: known}, 0.0
        return LabelContent(
            total=depth.size, found=np.array([found]), usable=np.array([usable]), lost=lost
        )


class Predictions(pixel_maps.MapPredictions):
    """{"depth": [B, H, W]}, always positive.

    Example:
        task = Depth(name="distance")
        task.predictions.to_json({"depth": np.ones((64, 64), np.float32)})
    """

    per_pixel: ClassVar = {"depth": "bilinear"}

    def of_values(self, values: Tensor) -> dict[str, Tensor]:
        if self.task.kind == "metric":
            return {"depth": ops.clip(ops.exp(values[..., 0]), NEAREST, FARTHEST)}
        return {"depth": inverse_depth(values[..., 0])}

    def typed(self, prediction: Arrays, size: Size) -> DepthMap:
        return DepthMap(**prediction, unit=self.task.unit)

    def to_json(self, prediction: Arrays) -> dict[str, Any]:
        """Return {"nearest", "median", "farthest", "unit"}: the 2nd, 50th and 98th percentile."""
        percentiles = np.percentile(np.asarray(prediction["depth"]), (2, 50, 98))
        values = [float(f"{v:.4g}") for v in percentiles]
        if self.task.kind == "relative_inverse":
            values = values[::-1]
        named = dict(zip(("nearest", "median", "farthest"), values, strict=True))
        return named | {"unit": self.task.unit}

    def map_png(self, prediction: Arrays) -> bytes:
        """Return 16 bits: millimeters, or relative depth from 0 (its farthest) to 65535."""
        depth = np.asarray(prediction["depth"], np.float64)
        if self.task.kind == "metric":
            values = depth * 1000.0
        else:
            values = (depth - depth.min()) / max(float(np.ptp(depth)), 1e-12) * 65535.0
        return maps.encode_png(np.clip(np.round(values), 0, 65535).astype(np.uint16))


class Records(pixel_maps.MapRecords):
    """The depth in 16 bits: depth = offset + scale * value.

    Example:
        Depth(name="distance").records.spec()
    """

    def spec(self) -> dict[str, Spec]:
        return {
            "depth": Spec((), "bytes"),
            "offset": Spec((), "float32"),
            "scale": Spec((), "float32"),
        }

    def from_label(self, stored: Stored) -> dict[str, Any]:
        # A label says that a pixel is unknown by a depth of 0; a prediction may be 0, or below.
        depth = np.asarray(stored["depth"], np.float32)
        return super().from_label({"depth": np.where(depth > 0, depth, np.nan)})

    def encode(self, found: Arrays) -> dict[str, Any]:
        """Return depth to within half a step, 1/65535 of the range.

        Where some pixels are unknown, not finite, the range begins at 0, which is stored for them
        alone.
        """
        depth = found["depth"].astype(np.float32)
        known = np.isfinite(depth)
        depth = np.where(known, depth, np.float32(0))
        offset = depth.min()
        scale = np.float32(max(float(depth.max() - offset) / 65535.0, 1e-12))
        values = np.clip(np.round((depth - offset) / scale), 0, 65535).astype(np.uint16)
        if not known.all():
            values = np.where(known, np.maximum(values, 1), 0).astype(np.uint16)
        return {"depth": maps.encode_png(values), "offset": offset, "scale": scale}

    def to_label(self, record: Stored, threshold: Threshold) -> dict[str, np.ndarray]:
        self.check_threshold(threshold)
        values = maps.decode_png(record["depth"]).astype(np.float32)
        return {"depth": np.float32(record["offset"]) + np.float32(record["scale"]) * values}

    def sketch(self, record: Stored) -> Sketch:
        """Return the surface: logarithms of meters, so that a tenth farther is 0.1 more.

        Of a relative depth, shares of the middle 96 %. A depth has no certainty.
        """
        depth = self.to_label(record, None)["depth"]
        valid = np.isfinite(depth) & (depth > 0)
        values = np.where(valid, depth, 1.0)
        if self.task.kind == "metric":
            values = np.log(values)
        elif valid.any():
            low, high = np.percentile(depth[valid], (2, 98))
            values = values / max(float(high - low), 1e-9)
        return Sketch(surface=np.where(valid, values, np.nan).astype(np.float32))


class External(base.External):
    """[B, h, w] or [B, h, w, 1]; meters serve a relative head as 1 / meters.

    Example:
        Depth(name="distance").external.forms
    """

    forms: ClassVar[tuple[str, ...]] = ("meters", "relative_inverse")

    def check_form(self, form: str) -> None:
        super().check_form(form)
        if self.task.kind == "metric" and form != "meters":
            raise self.task.error(f"a metric head needs form='meters', received {form!r}")

    def decode(self, values: Any, form: str, map_size: Size, **of_detectors: Any) -> Arrays:
        values = np.asarray(values, np.float32)
        values = values[..., None] if values.ndim == 3 else values
        self.check_shape(values, (None, None, 1), form)
        if form == "meters" and self.task.kind == "relative_inverse":
            values = to_relative(values)
        return {"depth": ops.convert_to_numpy(maps.resize(values, map_size))[..., 0]}


def to_relative(depth: np.ndarray) -> np.ndarray:
    """Return meters as relative inverse depth, 1 / meters; 0 where they are not valid."""
    valid = np.isfinite(depth) & (depth > 0)
    return np.where(valid, 1.0 / np.where(valid, depth, 1.0), 0.0).astype(np.float32)


@keras.saving.register_keras_serializable(package="must_keras")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Depth(pixel_maps.MapTask):
    """How far each pixel is.

    Attributes:
        kind: "metric" or "relative_inverse".
        loss_stride: pixels between two that the loss reads; 4 is the head's own resolution.
        channels: of the head's hidden convolutions.
        num_convs: how many of them.

    Example:
        mk.Depth(name="distance", kind="relative_inverse")
    """

    kind: Literal["metric", "relative_inverse"] = "metric"

    # 2: a relative head is invariant to a positive scale alone, in the loss and in the metrics.
    version: ClassVar[int] = 2
    kinds: ClassVar[tuple[str, ...]] = ("metric", "relative_inverse")
    hub_task: ClassVar[str] = "depth-estimation"
    parts = (Labels, Head, Predictions, Records, Metrics, Visualization, External, Mixtures)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in self.kinds:
            raise self.error(f"kind must be 'metric' or 'relative_inverse', received {self.kind!r}")

    @property
    def unit(self) -> str:
        """Meters, or "" for relative depth."""
        return "m" if self.kind == "metric" else ""
