"""Chosen rows of a batch: at random among candidates, by index, or those that exist."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

Tensor = Any


def choose(candidates: Tensor, count: int, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Sample at most `count` candidates of each row, uniformly and in random order.

    The first m of them are a uniform sample of m.

    Args:
        candidates: [B, N] bool.
        count: Python integer, limited to N.
        numbers: [B, N] random numbers in [0, 1) (ops/keyed_random.py), one for each element.

    Returns:
        indices: [B, min(count, N)] int32.
        chosen: the same shape, bool; False where a row had fewer candidates. The True come first.
    """
    count = min(count, candidates.shape[1])
    rank = ops.where(candidates, numbers, -1.0)
    values, indices = ops.top_k(rank, count)
    return ops.cast(indices, "int32"), values >= 0.0


def take(rows: Tensor, indices: Tensor) -> Tensor:
    """Return rows[b, indices[b, i]]: [B, K, ...] of rows [B, N, ...] and indices [B, K] in [0, N).

    N must be static.
    """
    shape = ops.shape(rows)
    start = ops.arange(shape[0], dtype="int32")[:, None] * rows.shape[1]
    flat = ops.reshape(rows, (-1, *shape[2:]))
    return ops.take(flat, ops.cast(indices, "int32") + start, axis=0)


def leading(exists: Tensor, *, multiple: int) -> Tensor:
    """Return the positions of the elements that exist in a batch, to compute on them alone.

    Each image's number of them is filled up to a multiple, at least one, by the elements that
    follow: it does not depend on the other images.

    Args:
        exists: [B, R] bool, the True first in every row; R is static.
        multiple: Python integer.

    Returns:
        [N] int32 in [0, B R), ascending. On a backend whose shapes are fixed, all B R.
    """
    if keras.backend.backend() != "tensorflow":
        return ops.arange(exists.shape[0] * exists.shape[1], dtype="int32")
    number = ops.sum(ops.cast(exists, "int32"), axis=1, keepdims=True)
    wanted = ops.maximum((number + multiple - 1) // multiple, 1) * multiple
    place = ops.arange(exists.shape[1], dtype="int32")[None, :]
    return ops.nonzero(ops.reshape(place < wanted, (-1,)))[0]


def columns_in_use(used: Tensor) -> Tensor:
    """Return the columns that some image uses, so that padding of all costs nothing.

    Args:
        used: [B, N] bool.

    Returns:
        [M] int32, ascending, at least the first. On a backend whose shapes are fixed, all N.
    """
    number = used.shape[1]
    if keras.backend.backend() != "tensorflow":
        return ops.arange(number, dtype="int32")
    return ops.nonzero(ops.any(used, axis=0) | (ops.arange(number) == 0))[0]


def spread(values: Tensor, places: Tensor, shape: tuple[Any, Any]) -> Tensor:
    """Return values that were computed for `leading` elements at their positions; 0 elsewhere.

    Args:
        values: [N, ...].
        places: [N] int32 in [0, B R), distinct.
        shape: (B, R).

    Returns:
        [B, R, ...].
    """
    batch, number = shape
    inner = values.shape[1:]
    flat = ops.scatter(places[:, None], values, (batch * number, *inner))
    return ops.reshape(flat, (-1, number, *inner))
