"""The hyperparameters of a training, of all that it is made from."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

# Parts of an artifact's inputs that are data, or results of other artifacts.
_DATA = ("sets", "sources", "columns", "left_out", "gates", "made_from")
_DIGEST = re.compile(r"[0-9a-f]{16}|[0-9a-f]{64}")
# A longer text is no value to compare.
_MAX_LENGTH = 100

Value = bool | int | float | str


def hyperparameters(inputs: Mapping[str, Any]) -> dict[str, Value]:
    """Return {"training.optimizer.momentum": 0.9}: the plain values, under their paths.

    Data, digests, and lists of anything but numbers are left out.

    Args:
        inputs: plain data, see Artifact.inputs.

    Example:
        >>> hyperparameters({"seed": 3, "training": {"steps": 8, "shots": [1, 2]}})
        {'seed': 3, 'training.steps': 8, 'training.shots': '1, 2'}
    """
    kept = {key: value for key, value in inputs.items() if key not in _DATA}
    return dict(_flat(kept, ""))


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Value]]:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        elif isinstance(value, Value) and not _is_odd(value):
            yield name, value
        elif isinstance(value, list) and value and all(isinstance(v, int | float) for v in value):
            yield name, ", ".join(map(str, value))


def _is_odd(value: Value) -> bool:
    return isinstance(value, str) and (
        len(value) > _MAX_LENGTH or _DIGEST.fullmatch(value) is not None
    )
