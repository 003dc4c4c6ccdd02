"""The number type of losses and boxes, whatever the layers compute in."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import keras
from keras import ops

from must_keras.ops import Tensor


def full() -> str:
    """Return max(float32, Keras' floatx): half precision is for convolutions alone."""
    return "float64" if keras.config.floatx() == "float64" else "float32"


def to_full(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors with floating-point ones in full precision."""
    return {
        key: ops.cast(v, full()) if keras.backend.is_float_dtype(v.dtype) else v
        for key, v in values.items()
    }


def in_full_precision(config: Any) -> Any:
    """Return a serialized network whose layers compute in the type of their weights."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy" and "mixed" in config["config"]["name"]:
            return config | {"config": {"name": "float32"}}
        return {key: in_full_precision(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(in_full_precision(value) for value in config)
    return "float32" if config == "mixed_bfloat16" else config


@contextlib.contextmanager
def policy(name: str | None) -> Iterator[None]:
    """Make layers within the context compute by a Keras policy; None for the current one."""
    before = keras.config.dtype_policy()
    if name is not None:
        keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
