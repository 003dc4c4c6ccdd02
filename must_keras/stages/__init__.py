"""The stages of the method, a file each, in order; `stage` names them."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from must_keras.runs.stage import Stage

_HIDDEN = ("leakage", "gate")
FOLDERS = {
    "teacher": "teachers", "leakage": "leaks", "gate": "gates", "label": "labels",
    "student": "student", "rounds": "rounds", "supervised": "supervised", "selfsup": "selfsup",
    "transfer": "transfers", "export": "export", "report": "report",
}  # fmt: skip
"""{stage: the folder of a run in which its artifacts are}, in order, before any is imported."""

NAMES = tuple(name for name in FOLDERS if name not in _HIDDEN)


def load() -> tuple["Stage", ...]:
    """Import all stages, and TensorFlow with them."""
    return tuple(importlib.import_module(f"{__name__}.{name}").STAGE for name in FOLDERS)
