"""Picking rows of a batch: at random among candidates, or by index."""

from __future__ import annotations

from typing import Any

from keras import ops

Tensor = Any


def choose(candidates: Tensor, count: int, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """At most `count` candidates of each row, uniformly at random and in random order.

    The first m of them are again a uniform choice of m.

    Args:
        candidates: [B, N] bool.
        count: how many; Python integer, cut to N.
        numbers: [B, N] random numbers in [0, 1) (ops/draws.py), one for each element.

    Returns:
        indices: [B, min(count, N)] int32.
        chosen: the same shape, bool; False where a row had fewer candidates. The True come first.
    """
    count = min(count, candidates.shape[1])
    rank = ops.where(candidates, numbers, -1.0)
    values, indices = ops.top_k(rank, count)
    return ops.cast(indices, "int32"), values >= 0.0


def take(rows: Tensor, indices: Tensor) -> Tensor:
    """rows[b, indices[b, i]]: [B, K, ...] of rows [B, N, ...] and indices [B, K] int32 in [0, N).

    N must be static.
    """
    shape = ops.shape(rows)
    start = ops.arange(shape[0], dtype="int32")[:, None] * rows.shape[1]
    flat = ops.reshape(rows, (-1, *shape[2:]))
    return ops.take(flat, ops.cast(indices, "int32") + start, axis=0)
