"""Depth: metres, or relative inverse depth, for every pixel."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import keras
import numpy as np
from keras import ops

from must_keras.errors import UserError
from must_keras.models.heads import PixelHead
from must_keras.ops import maps
from must_keras.ops.masked import (
    fit_scale_shift,
    masked_mean,
    masked_median,
    masked_sum,
    only_valid,
)
from must_keras.ops.views import View, sample
from must_keras.tasks.base import (
    Evaluator,
    Prior,
    Spec,
    Task,
    Tensor,
    Threshold,
    check_foreign_shape,
)

# Fewer valid pixels than this do not determine a scale and a shift.
_FEWEST = 16
_SMALLEST_DEVIATION = 1e-6
# Weight of the gradient term and number of scales (Ranftl et al., 2020).
_GRADIENT_WEIGHT, _SCALES = 0.5, 4
# Metric depth is e^value, between 1 mm and 1 km; labels beyond count as these.
_NEAREST, _FARTHEST = 1e-3, 1e3
# The logarithm that a fresh metric head says: about three metres.
_FIRST_LOG = 1.1


@keras.saving.register_keras_serializable(package="must_keras")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Depth(Task):
    """How far each pixel is.

    A label is {"depth": [H, W] float32}: metres for a metric head, relative inverse depth (larger
    is nearer) for a relative one; at most 0, or not finite, where nobody knows. Metric depth keeps
    its metres when the image is cropped or resized.

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
        """Metres serve a relative head too, as 1 / metres; a relative label tells no metres."""
        return kind in ("metric", self.kind)

    def adapt(self, stored: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
        if kind == self.kind:
            return stored
        return {"depth": to_relative(np.asarray(stored["depth"]))}

    def label_spec(self, size: tuple[int, int]) -> dict[str, Spec]:
        return {"depth": Spec(tuple(size), "float32")}

    def warp(self, stored: Mapping[str, Tensor], view: View) -> dict[str, Tensor]:
        """Bilinear among valid pixels only: an invalid neighbour takes no part."""
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
        """Metric: |difference of logarithms|. Relative: scale- and shift-invariant.

        The relative loss is that of MiDaS (Ranftl et al., 2020): half the mean squared error after
        least squares alignment, plus 0.5 x gradient matching at 4 scales. The label is shifted by
        its median and divided by its mean absolute deviation; the prediction is aligned to it.
        Both are means over the valid pixels, times their number.
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
        median, deviation = _median_and_deviation(target, valid)
        deviation = ops.maximum(deviation, _SMALLEST_DEVIATION)
        target = (target - median[:, None]) / deviation[:, None]
        values = _inverse_depth(values)
        scale, shift, solvable = fit_scale_shift(values, target, valid)
        residual = only_valid(scale[:, None] * values + shift[:, None] - target, valid)
        loss = 0.5 * masked_mean(ops.square(residual), valid)
        shape = (-1, height, width)
        loss += _GRADIENT_WEIGHT * _gradient_matching(
            ops.reshape(residual, shape), ops.reshape(valid, shape)
        )
        return ops.where(solvable, loss, ops.zeros_like(loss)) * weight

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
        offset = np.float32(depth.min())
        scale = np.float32(max(float(depth.max() - offset) / 65535.0, 1e-12))
        values = np.clip(np.round((depth - offset) / scale), 0, 65535).astype(np.uint16)
        return {"depth": maps.encode_png(values), "offset": offset, "scale": scale}

    def decode(self, record: Mapping[str, Any], threshold: Threshold) -> dict[str, np.ndarray]:
        self.check_threshold(threshold)
        values = maps.decode_png(record["depth"]).astype(np.float32)
        return {"depth": np.float32(record["offset"]) + np.float32(record["scale"]) * values}

    foreign_forms: ClassVar[tuple[str, ...]] = ("metres", "relative_inverse")

    def check_foreign_form(self, form: str) -> None:
        super().check_foreign_form(form)
        if self.kind == "metric" and form != "metres":
            raise UserError(f"{self.name}: a metric head needs form='metres', received {form!r}")

    def foreign_outputs(
        self, values: Any, form: str, map_size: tuple[int, int]
    ) -> dict[str, np.ndarray]:
        """[B, h, w] or [B, h, w, 1]; metres serve a relative head as 1 / metres."""
        values = np.asarray(values, np.float32)
        values = values[..., None] if values.ndim == 3 else values
        check_foreign_shape(self.name, values, (None, None, 1), form)
        if form == "metres" and self.kind == "relative_inverse":
            values = to_relative(values)
        return {"depth": ops.convert_to_numpy(maps.resize(values, map_size))[..., 0]}

    def evaluator(self) -> Evaluator:
        return _AlignedErrors() if self.kind == "relative_inverse" else _DepthErrors()

    def quality(self) -> Evaluator:
        if self.kind == "relative_inverse":
            return _AlignedErrors(partly=True)
        return _DepthErrors(partly=True)

    def prior(self) -> Prior:
        return _MeanDepth()

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
        colours = (255 * colormaps["cividis"](nearness)[..., :3]).astype(np.uint8)
        return np.where(valid[..., None], colours, 0).astype(np.uint8)


def to_relative(depth: np.ndarray) -> np.ndarray:
    """Metres as relative inverse depth, 1 / metres; 0 where they are not valid."""
    valid = np.isfinite(depth) & (depth > 0)
    return np.where(valid, 1.0 / np.where(valid, depth, 1.0), 0.0).astype(np.float32)


def _is_valid(depth: Tensor) -> Tensor:
    return ops.isfinite(depth) & (depth > 0)


def _inverse_depth(values: Tensor) -> Tensor:
    """Positive, so that it can be a label itself."""
    return ops.softplus(values) + 1e-6


def _median_and_deviation(target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    median = masked_median(target, valid)
    return median, masked_mean(ops.abs(target - median[:, None]), valid)


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


class _DepthErrors(Evaluator):
    """delta1 (share of pixels with max(p/t, t/p) < 1.25), abs_rel and rmse: means over images.

    Args:
        partly: whether pixels may be left out that a pseudo label says nothing of; otherwise what
            is no depth counts as 0: never within delta1, an error of all the true depth.
    """

    def __init__(self, *, partly: bool = False) -> None:
        self._partly = partly
        self._rows: list[tuple[float, float, float]] = []

    def update(self, label: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
        for true, said in _valid_pairs(label["depth"], outputs["depth"], self._partly):
            self.add(true, said)

    def add(self, true: np.ndarray, said: np.ndarray) -> None:
        """Takes the valid pixels of one image, [N] each, at least one, as depth (said: or 0)."""
        near, far = np.minimum(said, true), np.maximum(said, true)
        error = said - true
        self._rows.append(
            (
                float((far < 1.25 * near).mean()),
                float((np.abs(error) / true).mean()),
                float(np.sqrt((error**2).mean())),
            )
        )

    def result(self) -> dict[str, float]:
        means = np.mean(self._rows, axis=0) if self._rows else [math.nan] * 3
        return dict(zip(("delta1", "abs_rel", "rmse"), map(float, means), strict=True))


class _AlignedErrors(Evaluator):
    """The same of relative inverse depth, whose scale and shift nobody knows.

    Each prediction is first aligned to the label by least squares in inverse depth, over the valid
    pixels that it says something of, then clipped to [min, max] of the image's valid label, as
    MiDaS (Ranftl et al., 2020) caps depth: alignment may put a pixel beyond infinity, and one such
    pixel would outweigh all others. Then both are compared as depth, 1 / inverse depth.
    """

    def __init__(self, *, partly: bool = False) -> None:
        self._partly = partly
        self._errors = _DepthErrors()

    def update(self, label: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
        for true, said in _valid_pairs(label["depth"], outputs["depth"], self._partly):
            told = said > 0
            design = np.stack([said, np.ones_like(said)], axis=1)
            aligned = design @ np.linalg.lstsq(design[told], true[told], rcond=None)[0]
            depth = 1.0 / np.clip(aligned, true.min(), true.max())
            self._errors.add(1.0 / true, np.where(told, depth, 0.0))

    def result(self) -> dict[str, float]:
        return self._errors.result()


def _valid_pairs(
    label: np.ndarray, outputs: np.ndarray, partly: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(true, predicted), [N] float64, of the pixels that are known, for images that have any.

    Predicted is 0 where it is no depth; with `partly` such pixels are left out.
    """
    for true, said in zip(label, outputs, strict=True):
        true, said = np.asarray(true, np.float64), np.asarray(said, np.float64)
        valid, told = np.isfinite(true) & (true > 0), np.isfinite(said) & (said > 0)
        said = np.where(told, said, 0.0)
        if partly:
            valid &= told
        if valid.any():
            yield true[valid], said[valid]


class _MeanDepth(Prior):
    """Each pixel's mean over the training labels, in the head's own kind."""

    def __init__(self) -> None:
        self._sum: Any = 0.0
        self._count: Any = 0

    def update(self, label: Mapping[str, np.ndarray]) -> None:
        depth = np.asarray(label["depth"], np.float64)
        valid = np.isfinite(depth) & (depth > 0)
        self._sum = self._sum + np.where(valid, depth, 0.0).sum(0)
        self._count = self._count + valid.sum(0)

    def outputs(self, num_images: int) -> dict[str, np.ndarray]:
        overall = self._sum.sum() / max(self._count.sum(), 1)
        mean = np.where(self._count > 0, self._sum / np.maximum(self._count, 1), overall)
        return {"depth": np.broadcast_to(mean.astype(np.float32), (num_images, *mean.shape))}
