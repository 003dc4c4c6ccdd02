"""seconds.json: how long each stage of a run has taken."""

from __future__ import annotations

import pathlib

from must_keras.errors import DataError
from must_keras.files import find_json, warn_once, write_json

_NAME = "seconds.json"


def read(root: pathlib.Path) -> dict[str, float]:
    """Return {stage: seconds} of a run; {} with a warning where the file is damaged.

    Args:
        root: the run's folder.
    """
    path = root / _NAME
    try:
        found = find_json(path, form={}, remedy="times are counted anew") or {}
    except DataError as error:
        warn_once(str(error))
        return {}
    odd = [name for name, value in found.items() if type(value) not in (int, float)]
    if odd:
        warn_once(f"{path}: {odd[0]} is {found[odd[0]]!r}, expected a number; it is left out")
    return {name: value for name, value in found.items() if name not in odd}


def add(root: pathlib.Path, stage: str, seconds: float) -> None:
    """Add to a stage's seconds; a stage that continues adds to what it took before."""
    times = read(root)
    times[stage] = round(times.get(stage, 0.0) + seconds, 1)
    write_json(root / _NAME, times)
