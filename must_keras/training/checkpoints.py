"""Checkpoints: the state from which a killed training is resumed exactly."""

import concurrent.futures
import json
import pathlib
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from must_keras.arrays import read_arrays
from must_keras.errors import DataError, UserError, damaged, reason, warn, warn_once
from must_keras.files import replacing
from must_keras.runs.marks import CHECKPOINTS

_KEPT = 3
_STATE, _MORE = "state", "more-"
_NAME = re.compile(r"step-[0-9]{8,18}\.npz")


class Checkpoint(NamedTuple):
    """The content of a checkpoint.

    Attributes:
        step: number of optimizer steps that were made.
        arrays: values of the variables, in their order.
        state: plain data beside them.
        more: further arrays, as the best weights so far.

    Example:
        Checkpoints(folder, model.variables).newest().step  # 120

    """

    step: int
    arrays: list[np.ndarray]
    state: dict[str, Any]
    more: Sequence[np.ndarray] = ()


class Checkpoints:
    """The checkpoints of one artifact: step-00000120.npz, of which the last three are kept.

    A file is written aside, in a thread, and renamed when it is complete.

    Args:
        folder: the artifact's folder; the files are in its checkpoints/.
        variables: to be saved and restored; always the same in the same order.

    Attributes:
        folder: the artifact's folder.
        last_seconds: in which the last one was written.

    Example:
        checkpoints = Checkpoints(folder, model.variables)
        checkpoints.save(120, {"rows": []})
        checkpoints.wait()
        checkpoints.restore(checkpoints.newest())

    """

    def __init__(self, folder: pathlib.Path, variables: Sequence[keras.Variable]):
        self.folder, self._folder = folder, folder / CHECKPOINTS
        self._variables = {f"variable-{i}": v for i, v in enumerate(variables)}
        self._thread = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self._writing: concurrent.futures.Future[None] | None = None
        self.last_seconds = 0.0

    def newest(self) -> Checkpoint | None:
        """Return the newest complete checkpoint, or None; warn of damaged ones on stderr."""
        others = sorted(p.name for p in self._folder.glob("*.npz") if not _NAME.fullmatch(p.name))
        if others:
            warn_once(
                f"{self._folder}: {len(others)} files are no checkpoints of this training: unused, "
                f"the first is {others[0]}"
            )
        for path in reversed(self._paths()):
            try:
                return self.read(_step(path))
            except DataError as error:
                warn(f"{path} is damaged and not used: {error}")
        return None

    def read(self, step: int) -> Checkpoint:
        """Return the checkpoint of a step.

        Raises:
            UserError: it belongs to another network.
            DataError: it is missing or damaged.
        """
        path, remedy = self._path(step), "an older one is used where there is one"
        found = read_arrays(path, remedy=remedy)
        try:
            state = json.loads(str(found.pop(_STATE)))
        except (KeyError, ValueError, RecursionError) as error:
            what = f"its {_STATE} is missing or no JSON ({reason(error)})"
            raise damaged(path, what, remedy=remedy) from None
        if not isinstance(state, dict):
            raise damaged(path, f"its {_STATE} is {state!r}, expected an object", remedy=remedy)
        more = [found.pop(name) for name in sorted(found) if name.startswith(_MORE)]
        shapes = {name: tuple(v.shape) for name, v in self._variables.items()}
        if {name: array.shape for name, array in found.items()} != shapes:
            raise UserError.at(path, "belongs to another network: delete it to start afresh")
        return Checkpoint(
            step=step, arrays=[found[name] for name in shapes], state=state, more=more
        )

    def restore(self, saved: Checkpoint) -> None:
        """Assign the saved values to the variables."""
        for variable, array in zip(self._variables.values(), saved.arrays, strict=True):
            variable.assign(array)

    def save(self, step: int, state: Mapping[str, Any], more: Sequence[np.ndarray] = ()) -> None:
        """Copy the variables now and write them in a thread, with further arrays.

        Raises:
            OSError: the checkpoint before could not be written.
        """
        self.wait()
        # A copy: on a CPU a variable's numpy view is the variable itself.
        arrays = {name: np.array(v) for name, v in self._variables.items()}
        arrays |= {f"{_MORE}{i:06d}": array for i, array in enumerate(more)}
        arrays[_STATE] = np.array(json.dumps(state))
        self._writing = self._thread.submit(self._write, step, arrays)

    def wait(self) -> None:
        """Return when the last checkpoint is written.

        Raises:
            OSError: it could not be written.
        """
        writing = self._writing
        if writing is not None:
            # An interruption here leaves it to the next wait.
            concurrent.futures.wait([writing])
            self._writing = None
            writing.result()

    def _write(self, step: int, arrays: Mapping[str, np.ndarray]) -> None:
        start = time.monotonic()
        self._folder.mkdir(parents=True, exist_ok=True)
        with replacing(self._path(step)) as path, path.open("wb") as file:
            np.savez(file, **arrays)
        for path in self._paths()[:-_KEPT]:
            path.unlink()
        self.last_seconds = time.monotonic() - start

    def _path(self, step: int) -> pathlib.Path:
        return self._folder / f"step-{step:08d}.npz"

    def _paths(self) -> list[pathlib.Path]:
        """Return the files that this class has written; others may lie beside them."""
        found = [path for path in self._folder.glob("*.npz") if _NAME.fullmatch(path.name)]
        return sorted(found, key=_step)


def _step(path: pathlib.Path) -> int:
    return int(path.stem.removeprefix("step-"))
