"""The layer and the losses of depth."""

from __future__ import annotations

from typing import Any, ClassVar

import keras
from keras import ops

from must_keras.ops import maps
from must_keras.ops.masked import masked_mean, masked_median, masked_sum, only_valid
from must_keras.tasks.parts import Tensor, Tensors
from must_keras.tasks.pixel_maps import MapHead

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


class Head(MapHead):
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
            return masked_sum(ops.abs(values - target), valid)
        weight = self.task.labels.weight(label)
        valid = valid & (weight > 0.0)[:, None]
        target, _ = _standardized(target, valid)
        values, deviation = _standardized(inverse_depth(values), valid)
        residual = only_valid(values - target, valid)
        loss = _ERROR_WEIGHT * masked_mean(ops.abs(residual), valid)
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
    return only_valid(depth, valid, fill=1.0), valid


def is_valid(depth: Tensor) -> Tensor:
    """Return which depths are known: finite and positive."""
    return ops.isfinite(depth) & (depth > 0)


def inverse_depth(values: Tensor) -> Tensor:
    """Return a relative head's values as positive ones, so that they can be labels themselves."""
    return ops.softplus(values) + 1e-6


def median_and_deviation(target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Return median and mean absolute deviation of the valid elements of [B, N], [B] each."""
    median = masked_median(target, valid)
    return median, masked_mean(ops.abs(target - median[:, None]), valid)


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
        across = only_valid(ops.abs(r[:, :, 1:] - r[:, :, :-1]), v[:, :, 1:] & v[:, :, :-1])
        down = only_valid(ops.abs(r[:, 1:] - r[:, :-1]), v[:, 1:] & v[:, :-1])
        count = ops.maximum(ops.sum(ops.cast(v, r.dtype), axis=(1, 2)), 1.0)
        total += (ops.sum(across, axis=(1, 2)) + ops.sum(down, axis=(1, 2))) / count
    return total
