"""The stages of the method, a file each, in order; `--stage` names them."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from must_keras.runs.stage import Stage

_HIDDEN = ("leakage", "gate")
_ORDER = (
    "teacher", "leakage", "gate", "label", "student", "rounds", "supervised", "selfsup",
    "transfer", "export", "report",
)  # fmt: skip
NAMES = tuple(name for name in _ORDER if name not in _HIDDEN)


def load() -> tuple["Stage", ...]:
    """Import all stages, and TensorFlow with them."""
    return tuple(importlib.import_module(f"{__name__}.{name}").STAGE for name in _ORDER)
