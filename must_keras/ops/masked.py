"""Sums, means and fits over the valid elements of a tensor; safe where none is valid.

Invalid elements are replaced before anything is computed from them: a later multiplication by zero
would leave inf * 0 in the gradients.
"""

from __future__ import annotations

from typing import Any

from keras import ops

Tensor = Any


def only_valid(values: Tensor, valid: Tensor, fill: float = 0.0) -> Tensor:
    """Return the values where `valid` (bool, the same shape), `fill` elsewhere."""
    return ops.where(valid, values, ops.cast(fill, values.dtype))


def masked_sum(values: Tensor, valid: Tensor) -> Tensor:
    """Return the sum over the valid elements of each row, [B], of values and bool [B, N]."""
    return ops.sum(only_valid(values, valid), axis=1)


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Return the mean over the valid elements of each row, [B]; 0 for none. Arrays are [B, N]."""
    count = ops.sum(ops.cast(valid, values.dtype), axis=1)
    return masked_sum(values, valid) / ops.maximum(count, 1.0)


def masked_median(values: Tensor, valid: Tensor) -> Tensor:
    """Return the (lower) median of each row's valid elements, [B]; 0 for none."""
    last = ops.cast(3.0e38, values.dtype)
    ordered = ops.sort(ops.where(valid, values, last), axis=1)
    count = ops.sum(ops.cast(valid, "int32"), axis=1)
    middle = ops.maximum((count - 1) // 2, 0)
    median = ops.take_along_axis(ordered, middle[:, None], axis=1)[:, 0]
    return ops.where(count > 0, median, ops.zeros_like(median))


def fit_scale_shift(values: Tensor, target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the scale s >= 0 and the shift t that minimize the sum of (s * values + t - target)^2.

    Where the best scale of any sign is negative, the best of those that are allowed is s = 0 with
    the target's mean as t: the sum is convex in s.

    Args:
        values: [B, N].
        target: [B, N].
        valid: [B, N] bool.

    Returns:
        s [B], t [B] and solvable [B] bool: the values are not all (nearly) equal. Where it is not
        solvable, s is 0 and t the target's mean.
    """
    mean_value, mean_target = masked_mean(values, valid), masked_mean(target, valid)
    centered = only_valid(values - mean_value[:, None], valid)
    residual = only_valid(target - mean_target[:, None], valid)
    variance = masked_mean(ops.square(centered), valid)
    covariance = ops.maximum(masked_mean(centered * residual, valid), 0.0)
    scale_of_values = ops.maximum(ops.square(mean_value), 1.0)
    solvable = variance > 1e-10 * scale_of_values
    scale = ops.where(
        solvable, covariance / ops.where(solvable, variance, 1.0), ops.zeros_like(variance)
    )
    return scale, mean_target - scale * mean_value, solvable
