"""Random numbers that depend on a key alone: no state, no device, no order of evaluation.

The same image at the same step has the same numbers on one device, on eight, or after a restart.
"""

from __future__ import annotations

from typing import Any

from keras import ops

Tensor = Any


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
