"""Random numbers that depend on a key alone, and chosen rows of a batch.

The numbers have no state, no device, no order of evaluation: the same image at the same step has
the same ones on one device, on eight, or after a restart. Rows are chosen at random among
candidates, by index, or those that exist.
"""

from typing import Any

import keras
from keras import ops

from must_keras.ops import Tensor


def _mix(x: Tensor) -> Tensor:
    """Scatter neighboring values by a bijection of uint32 ("lowbias32" by Chris Wellons)."""
    x = ops.bitwise_xor(x, ops.right_shift(x, ops.cast(16, "uint32")))
    x = x * ops.cast(0x7FEB352D, "uint32")
    x = ops.bitwise_xor(x, ops.right_shift(x, ops.cast(15, "uint32")))
    x = x * ops.cast(0x846CA68B, "uint32")
    return ops.bitwise_xor(x, ops.right_shift(x, ops.cast(16, "uint32")))


def fold(keys: Tensor, number: int | Tensor) -> Tensor:
    """Return new keys, [B] int32, of `keys` [B] int32 and a number (a purpose, a step)."""
    number = ops.cast(ops.cast(number, "int32"), "uint32")
    return ops.cast(_mix(_mix(ops.cast(keys, "uint32")) + number), "int32")


def uniform(keys: Tensor, count: int, *, purpose: int) -> Tensor:
    """Return independent numbers in [0, 1): [B, count] float32, a row for every key.

    Args:
        keys: [B] int32.
        count: how many numbers a row.
        purpose: distinguishes the samples of one key, so that no two uses share numbers.
    """
    rows = ops.cast(fold(keys, purpose), "uint32")[:, None]
    columns = ops.cast(ops.arange(count, dtype="int32"), "uint32")[None, :]
    bits = _mix(_mix(columns) + rows)
    # 24 bits are exact in float32, without rounding up to 1.
    return ops.cast(ops.right_shift(bits, ops.cast(8, "uint32")), "float32") * (2.0**-24)


def derived_seed(seed: int, *names: str) -> int:
    """Return another seed, [0, 2^31 - 1), for a named part of a run; the same on every machine.

    Example:
        derived_seed(0, "teacher", "objects") != derived_seed(0, "teacher", "depth")
    """
    value = seed
    for character in "/".join(names):
        value = (value * 31 + ord(character)) % (2**31 - 1)
    return value


def choose(candidates: Tensor, count: int, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Sample at most `count` candidates of each row, uniformly and in random order.

    The first m of them are a uniform sample of m.

    Args:
        candidates: [B, N] bool.
        count: Python integer, limited to N.
        numbers: [B, N] random numbers in [0, 1) (ops/sampling.py), one for each element.

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
    return _positions(ops.reshape(place < wanted, (-1,)))


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
    return _positions(ops.any(used, axis=0) | (ops.arange(number) == 0))


def _positions(flags: Tensor) -> Tensor:
    """Return the positions of the True of [N] bool, on TensorFlow: [M] int32, ascending."""
    import tensorflow as tf

    # ops.nonzero unstacks, which LiteRT does not do with int64.
    return tf.cast(tf.where(flags)[:, 0], tf.int32)


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
