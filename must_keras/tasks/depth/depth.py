"""Depth: meters, or relative inverse depth, for every pixel."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import keras
import numpy as np
from keras import ops

from must_keras.errors import UserError
from must_keras.modeling.heads import PixelHead
from must_keras.ops import maps
from must_keras.ops.masked import masked_mean, masked_median, masked_sum, only_valid
from must_keras.ops.views import View, sample
from must_keras.tasks.base import Spec, Task, Tensor
from must_keras.tasks.depth.metrics import AlignedErrors, DepthErrors, MeanDepth
from must_keras.tasks.evaluation import Evaluator, TrivialBaseline
from must_keras.tasks.external import check_foreign_shape
from must_keras.tasks.label_content import Framing, LabelContent, Lost
from must_keras.tasks.sketch import Sketch
from must_keras.tasks.thresholds import Threshold

# Fewer valid pixels than this do not determine a scale and a shift.
_FEWEST = 16
_SMALLEST_DEVIATION = 1e-6
_UNKNOWN = Lost("unknown (0, negative or not finite)")
_NO_SCALE = Lost(
    f"without a relative depth: they are all as far as each other, or fewer than {_FEWEST} of an "
    "image at the network's size"
)
# Weights of the absolute error and of the gradient term, and the latter's number of scales
# (Ranftl et al., 2020).
_ERROR_WEIGHT, _GRADIENT_WEIGHT, _SCALES = 0.5, 0.5, 4
# Metric depth is e^value, between 1 mm and 1 km; labels beyond count as these.
_NEAREST, _FARTHEST = 1e-3, 1e3
# The logarithm that a fresh metric head says: about three meters.
_FIRST_LOG = 1.1


@keras.saving.register_keras_serializable(package="must_keras")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Depth(Task):
    """How far each pixel is.

    A label is {"depth": [H, W] float32}: meters for a metric head, relative inverse depth (larger
    is nearer) for a relative one; at most 0, or not finite, where nobody knows. Metric depth keeps
    its meters when the image is cropped or resized.

    Attributes:
        kind: "metric" or "relative_inverse".
        loss_stride: pixels between two that the loss sees; 4 is the head's own resolution.
        channels: of the head's hidden convolutions.
        num_convs: how many of them.
    """

    kind: Literal["metric", "relative_inverse"] = "metric"
    loss_stride: int = 4
    channels: int = 256
    num_convs: int = 3

    # 2: a relative head is invariant to a positive scale alone, in the loss and in the metrics.
    version: ClassVar[int] = 2

    def __post_init__(self) -> None:
        maps.check_stride(self.name, self.loss_stride)
        if self.kind not in ("metric", "relative_inverse"):
            raise UserError(
                f"{self.name}: kind must be 'metric' or 'relative_inverse', received {self.kind!r}"
            )

    def stored_spec(self) -> dict[str, Spec]:
        return {"depth": Spec((None, None), "float32")}

    def missing(self) -> dict[str, np.ndarray]:
        return {"depth": np.zeros((1, 1), np.float32)}

    def accepts(self, kind: str) -> bool:
        """Meters serve a relative head too, as 1 / meters; a relative label tells no meters."""
        return kind in ("metric", self.kind)

    def adapt(self, stored: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
        if kind == self.kind:
            return stored
        return {"depth": to_relative(np.asarray(stored["depth"]))}

    def label_spec(self, size: tuple[int, int]) -> dict[str, Spec]:
        return {"depth": Spec(tuple(size), "float32")}

    def warp(self, stored: Mapping[str, Tensor], view: View) -> dict[str, Tensor]:
        """Bilinear among valid pixels only: an invalid neighbor takes no part."""
        depth = stored["depth"][:, :, None]
        valid = _is_valid(depth)
        weight = ops.cast(valid, "float32")
        both = ops.concatenate([only_valid(depth, valid), weight], axis=-1)
        seen = sample(both, view, interpolation="bilinear", fill=0.0)
        share = seen[:, :, 1]
        # A pixel that is mostly unknown stays unknown.
        known = share > 0.5
        return {"depth": ops.where(known, seen[:, :, 0] / ops.where(known, share, 1.0), 0.0)}

    @property
    def features(self) -> tuple[str, ...]:
        return ("P2",)

    def build_head(self, size: tuple[int, int], norm: Mapping[str, Any]) -> keras.Layer:
        maps.check_stride(self.name, self.loss_stride, size)
        return PixelHead(
            1,
            channels=self.channels,
            num_convs=self.num_convs,
            norm=norm,
            bias=_FIRST_LOG if self.kind == "metric" else 0.0,
            name=self.name,
        )

    def content(self, stored: Mapping[str, Any], framing: Framing) -> LabelContent:
        """Count pixels; usable are as many as the loss reads of the whole image.

        A relative label teaches nothing where it determines no scale (see `label_weight`).
        """
        depth = np.asarray(stored["depth"])
        valid = np.isfinite(depth) & (depth > 0)
        known = found = int(np.count_nonzero(valid))
        usable = known * maps.loss_pixels(framing.visible, self.loss_stride) / max(depth.size, 1)
        lost = {_UNKNOWN: depth.size - known} if known < depth.size else {}
        if self.kind == "relative_inverse" and known:
            values = depth[valid].astype(np.float64)
            deviation = float(np.abs(values - np.median(values)).mean())
            found = known if deviation >= _SMALLEST_DEVIATION else 0
            if usable < _FEWEST or not found:
                lost, usable = lost | {_NO_SCALE: known}, 0.0
        return LabelContent(
            total=depth.size, found=np.array([found]), usable=np.array([usable]), lost=lost
        )

    def label_weight(self, label: Mapping[str, Tensor]) -> Tensor:
        """Valid pixels; for a relative head 0 where they determine no scale."""
        target, valid = self._target(label)
        count = ops.sum(ops.cast(valid, "float32"), axis=1)
        if self.kind == "metric":
            return count
        _, deviation = _median_and_deviation(target, valid)
        usable = (count >= _FEWEST) & (deviation >= _SMALLEST_DEVIATION)
        return ops.where(usable, count, 0.0)

    def _target(self, label: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """[B, N] depth where valid, 1 elsewhere, and [B, N] bool."""
        depth = maps.at_stride(label["depth"], self.loss_stride)
        depth = ops.reshape(depth, (-1, depth.shape[1] * depth.shape[2]))
        valid = _is_valid(depth)
        return only_valid(depth, valid, fill=1.0), valid

    def loss(
        self, label: Mapping[str, Tensor], prediction: Any, head: keras.Layer, keys: Tensor
    ) -> Tensor:
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

        A relative label without weight (see `label_weight`) and a prediction whose mean absolute
        deviation is below 1e-6 (it has no scale) give loss 0 and gradient 0.
        """
        height, width = (side // self.loss_stride for side in label["depth"].shape[1:3])
        target, valid = self._target(label)
        values = maps.resize_at_stride(
            prediction["values"], label["depth"].shape[1:3], self.loss_stride
        )
        values = ops.reshape(values, (-1, height * width))
        if self.kind == "metric":
            target = ops.log(ops.clip(target, _NEAREST, _FARTHEST))
            return masked_sum(ops.abs(values - target), valid)
        weight = self.label_weight(label)
        valid = valid & (weight > 0.0)[:, None]
        target, _ = _standardized(target, valid)
        values, deviation = _standardized(_inverse_depth(values), valid)
        residual = only_valid(values - target, valid)
        loss = _ERROR_WEIGHT * masked_mean(ops.abs(residual), valid)
        shape = (-1, height, width)
        loss += _GRADIENT_WEIGHT * _gradient_matching(
            ops.reshape(residual, shape), ops.reshape(valid, shape)
        )
        return ops.where(deviation >= _SMALLEST_DEVIATION, loss, ops.zeros_like(loss)) * weight

    is_regression: ClassVar[bool] = True

    def outputs(
        self, prediction: Any, head: keras.Layer, map_size: tuple[int, int]
    ) -> dict[str, Tensor]:
        values = maps.resize(prediction["values"], map_size)[..., 0]
        if self.kind == "metric":
            return {"depth": ops.clip(ops.exp(values), _NEAREST, _FARTHEST)}
        return {"depth": _inverse_depth(values)}

    @property
    def unit(self) -> str:
        return "m" if self.kind == "metric" else ""

    def record_spec(self) -> dict[str, Spec]:
        return {
            "depth": Spec((), "bytes"),
            "offset": Spec((), "float32"),
            "scale": Spec((), "float32"),
        }

    def encode(
        self, outputs: Mapping[str, np.ndarray], area: np.ndarray, size: tuple[int, int]
    ) -> dict[str, Any]:
        """16 bits: depth = offset + scale * value."""
        depth = maps.cut(np.asarray(outputs["depth"], np.float32), area, size)
        return _in_16_bits(depth, lowest=float(depth.min()))

    def record_of(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """To within half a step, 1/65535 of the range; where some pixels are unknown, the range
        begins at 0, which stands for them. A map above `maps.MAX_STORED_SIDE` becomes coarser.
        """
        depth = maps.shrink(np.asarray(stored["depth"], np.float32), maps.MAX_STORED_SIDE)
        known = np.isfinite(depth) & (depth > 0)
        if known.all():
            return _in_16_bits(depth, lowest=float(depth.min()))
        return _in_16_bits(np.where(known, depth, np.float32(0)), lowest=0.0, known=known)

    def decode(self, record: Mapping[str, Any], threshold: Threshold) -> dict[str, np.ndarray]:
        self.check_threshold(threshold)
        values = maps.decode_png(record["depth"]).astype(np.float32)
        return {"depth": np.float32(record["offset"]) + np.float32(record["scale"]) * values}

    def sketch(self, record: Mapping[str, Any]) -> Sketch:
        """Logarithms of meters: a tenth farther is 0.1 more. Relative: shares of the middle 96 %.

        A depth says nothing of how certain it is.
        """
        depth = self.decode(record, None)["depth"]
        valid = np.isfinite(depth) & (depth > 0)
        values = np.where(valid, depth, 1.0)
        if self.kind == "metric":
            values = np.log(values)
        elif valid.any():
            low, high = np.percentile(depth[valid], (2, 98))
            values = values / max(float(high - low), 1e-9)
        return Sketch(surface=np.where(valid, values, np.nan).astype(np.float32))

    legend: ClassVar[str] = "near is yellow, far is blue"

    foreign_forms: ClassVar[tuple[str, ...]] = ("meters", "relative_inverse")

    def check_external_form(self, form: str) -> None:
        super().check_external_form(form)
        if self.kind == "metric" and form != "meters":
            raise UserError(f"{self.name}: a metric head needs form='meters', received {form!r}")

    def external_outputs(
        self, values: Any, form: str, map_size: tuple[int, int], **of_detectors: Any
    ) -> dict[str, np.ndarray]:
        """[B, h, w] or [B, h, w, 1]; meters serve a relative head as 1 / meters."""
        values = np.asarray(values, np.float32)
        values = values[..., None] if values.ndim == 3 else values
        check_foreign_shape(self.name, values, (None, None, 1), form)
        if form == "meters" and self.kind == "relative_inverse":
            values = to_relative(values)
        return {"depth": ops.convert_to_numpy(maps.resize(values, map_size))[..., 0]}

    def evaluator(self) -> Evaluator:
        return AlignedErrors() if self.kind == "relative_inverse" else DepthErrors()

    def quality(self) -> Evaluator:
        if self.kind == "relative_inverse":
            return AlignedErrors(partly=True)
        return DepthErrors(partly=True)

    def prior(self) -> TrivialBaseline:
        return MeanDepth()

    kinds: ClassVar[tuple[str, ...]] = ("metric", "relative_inverse")

    @classmethod
    def of_labels(cls, name: str, kind: str, classes: tuple[str, ...]) -> Task:
        del classes
        return cls(name=name, kind=kind)

    def tell(self, outputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """{"nearest", "median", "farthest", "unit"}: the 2nd, 50th and 98th percentile."""
        depth = np.asarray(outputs["depth"])
        values = [float(f"{v:.4g}") for v in np.percentile(depth, (2, 50, 98))]
        if self.kind == "relative_inverse":
            values = values[::-1]
        return dict(zip(("nearest", "median", "farthest"), values, strict=True)) | {
            "unit": self.unit
        }

    def map_png(self, outputs: Mapping[str, np.ndarray]) -> bytes:
        """16 bits: millimeters, or a relative depth from 0 (its farthest) to 65535."""
        depth = np.asarray(outputs["depth"], np.float64)
        if self.kind == "metric":
            values = depth * 1000.0
        else:
            values = (depth - depth.min()) / max(float(np.ptp(depth)), 1e-12) * 65535.0
        return maps.encode_png(np.clip(np.round(values), 0, 65535).astype(np.uint16))

    def draw(self, image: np.ndarray, shown: Mapping[str, np.ndarray]) -> np.ndarray:
        """Near is yellow, far is blue; black where nobody knows."""
        from matplotlib import colormaps

        depth = np.asarray(shown["depth"], np.float64)
        valid = np.isfinite(depth) & (depth > 0)
        nearness = np.where(valid, depth, 1.0)
        nearness = 1.0 / nearness if self.kind == "metric" else nearness
        if valid.any():
            low, high = np.percentile(nearness[valid], (2, 98))
            nearness = np.clip((nearness - low) / max(high - low, 1e-9), 0, 1)
        colors = (255 * colormaps["cividis"](nearness)[..., :3]).astype(np.uint8)
        return np.where(valid[..., None], colors, 0).astype(np.uint8)


def to_relative(depth: np.ndarray) -> np.ndarray:
    """Meters as relative inverse depth, 1 / meters; 0 where they are not valid."""
    valid = np.isfinite(depth) & (depth > 0)
    return np.where(valid, 1.0 / np.where(valid, depth, 1.0), 0.0).astype(np.float32)


def _in_16_bits(
    depth: np.ndarray, *, lowest: float, known: np.ndarray | None = None
) -> dict[str, Any]:
    """The record of a depth [h, w] of at least `lowest`; what is known is never stored as 0."""
    offset = np.float32(lowest)
    scale = np.float32(max(float(depth.max() - offset) / 65535.0, 1e-12))
    values = np.clip(np.round((depth - offset) / scale), 0, 65535).astype(np.uint16)
    if known is not None:
        values = np.where(known, np.maximum(values, 1), 0).astype(np.uint16)
    return {"depth": maps.encode_png(values), "offset": offset, "scale": scale}


def _is_valid(depth: Tensor) -> Tensor:
    return ops.isfinite(depth) & (depth > 0)


def _inverse_depth(values: Tensor) -> Tensor:
    """Positive, so that it can be a label itself."""
    return ops.softplus(values) + 1e-6


def _median_and_deviation(target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    median = masked_median(target, valid)
    return median, masked_mean(ops.abs(target - median[:, None]), valid)


def _standardized(values: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Return values [B, N] minus their median, over their mean absolute deviation; and that, [B].

    Both are of the valid elements. A deviation below 1e-6 counts as 1e-6, so that the quotient
    and its gradient stay finite.
    """
    median, deviation = _median_and_deviation(values, valid)
    scale = ops.maximum(deviation, _SMALLEST_DEVIATION)
    return (values - median[:, None]) / scale[:, None], deviation


def _gradient_matching(residual: Tensor, valid: Tensor) -> Tensor:
    """[B]: sum over scales of mean |horizontal| + |vertical| difference of the residual.

    A difference counts where both its pixels are valid; scale k takes every 2^k-th pixel.
    """
    total = 0.0
    for scale in range(_SCALES):
        step = 2**scale
        r, v = residual[:, ::step, ::step], valid[:, ::step, ::step]
        across = only_valid(ops.abs(r[:, :, 1:] - r[:, :, :-1]), v[:, :, 1:] & v[:, :, :-1])
        down = only_valid(ops.abs(r[:, 1:] - r[:, :-1]), v[:, 1:] & v[:, :-1])
        count = ops.maximum(ops.sum(ops.cast(v, r.dtype), axis=(1, 2)), 1.0)
        total += (ops.sum(across, axis=(1, 2)) + ops.sum(down, axis=(1, 2))) / count
    return total
