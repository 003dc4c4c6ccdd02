"""Where a run keeps its parts, and how it knows that a part is finished."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

from must_keras.errors import UserError
from must_keras.files import write_json

FINISHED = "finished.json"


@dataclasses.dataclass(frozen=True)
class Workdir:
    """The folders of one run.

    Attributes:
        root: the run's folder.
    """

    root: pathlib.Path

    def teacher(self, name: str) -> Part:
        """teachers/<name>/."""
        return Part(self.root / "teachers" / name)

    def labels(self, teacher: str, source: str) -> Part:
        """labels/<teacher>/<source>/."""
        return Part(self.root / "labels" / teacher / source)

    @property
    def student(self) -> Part:
        """student/."""
        return Part(self.root / "student")

    def transfer(self, name: str, start: str, neck: str, seed: int) -> Part:
        """transfers/<set>/<start>/full-<neck>-all/seed<k>/."""
        return Part(self.root / "transfers" / name / start / f"full-{neck}-all" / f"seed{seed}")

    @property
    def export(self) -> Part:
        """export/."""
        return Part(self.root / "export")


@dataclasses.dataclass(frozen=True)
class Part:
    """A folder that holds one finished or unfinished piece of work.

    `finished.json` is written last, by rename: {"inputs": what the part depends on, "result":
    what it found}. A part is made again only if it is not there.
    """

    folder: pathlib.Path

    @property
    def model_path(self) -> pathlib.Path:
        """The trained model of a teacher or the student."""
        return self.folder / "model.keras"

    def begin(self) -> pathlib.Path:
        """An empty folder for work that starts afresh."""
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True)
        return self.folder

    def finish(self, inputs: Any, result: Mapping[str, Any]) -> None:
        """Says that the part is whole."""
        value = {"inputs": describe(inputs), "result": describe(result)}
        write_json(self.folder / FINISHED, value)

    def result(self) -> dict[str, Any] | None:
        """What the part found; None while it is not finished."""
        path = self.folder / FINISHED
        return json.loads(path.read_text())["result"] if path.is_file() else None

    def is_finished(self, inputs: Any) -> bool:
        """Whether the part is there, made from these inputs.

        Raises:
            UserError: it was made from others; says which value differs.
        """
        path = self.folder / FINISHED
        if not path.is_file():
            return False
        difference = _first_difference(json.loads(path.read_text())["inputs"], describe(inputs))
        if difference is None:
            return True
        field, was, now = difference
        raise UserError(f"{self.folder} was made with {field} = {was}, the recipe now says {now}")


def describe(value: Any) -> Any:
    """A value as plain JSON data; dataclasses and what says `describe()` become dictionaries."""
    if hasattr(value, "describe"):
        return describe(value.describe())
    if dataclasses.is_dataclass(value):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__} | {k: describe(v) for k, v in fields.items()}
    if isinstance(value, Mapping):
        return {str(k): describe(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [describe(v) for v in value]
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "item"):
        return describe(value.item())
    if isinstance(value, pathlib.Path):
        return str(value)
    raise TypeError(f"cannot describe {type(value).__name__}")


def _first_difference(was: Any, now: Any, path: str = "") -> tuple[str, Any, Any] | None:
    if isinstance(was, dict) and isinstance(now, dict):
        for key in sorted(was.keys() | now.keys()):
            found = _first_difference(was.get(key), now.get(key), f"{path}.{key}" if path else key)
            if found:
                return found
        return None
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        for index, (a, b) in enumerate(zip(was, now, strict=True)):
            found = _first_difference(a, b, f"{path}[{index}]")
            if found:
                return found
        return None
    return None if was == now else (path, was, now)
