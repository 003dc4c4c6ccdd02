"""Loggers of a training: metrics.jsonl, TensorBoard, and those that a recipe adds; and the reader.

TrainingConfig.loggers adds a logger; every number and image of the training, of its evaluation and
of its diagnostics reaches it.
"""

import abc
import json
import math
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

import numpy as np

from must_keras.errors import damaged, warn_once
from must_keras.files import unshare
from must_keras.json_files import appended_lines, short
from must_keras.runs.marks import LOGGERS, METRICS
from must_keras.training.hyperparameters import hyperparameters

_TENSORBOARD = "tensorboard"


class Logger(abc.ABC):
    """Receiver of the numbers and images of one artifact; subclasses implement `scalars`.

    A checkpoint stores `sizes`; `rewind` restores that state when the training is resumed, so that
    no step is logged twice. Only the chief process has loggers.

    Example:
        class Console(Logger):
            def scalars(self, step, split, values):
                print(step, split, values)

        TrainingConfig(
            steps=10, batch=4, learning_rate=0.01, optimizer=SGD(), loggers=(lambda _: Console(),)
        )

    """

    @abc.abstractmethod
    def scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Log finite numbers of a step.

        Args:
            step: number of optimizer steps so far.
            split: "train", "validation" or "test".
            values: {name: value}.
        """

    def metrics(
        self, step: int, split: str, head: str, values: Mapping[str, float], *, is_only: bool
    ) -> None:
        """Log the finite metrics of a head.

        Here as `scalars`: under their names, or as "<head>_<name>" where there are several heads.

        Args:
            step: number of optimizer steps so far.
            split: "validation" or "test".
            head: its name.
            values: {metric: value}.
            is_only: whether the model has no other head.
        """
        prefix = "" if is_only else f"{head}_"
        self.scalars(step, split, {f"{prefix}{name}": value for name, value in values.items()})

    def image(self, step: int, split: str, name: str, image: np.ndarray) -> None:  # noqa: B027
        """Log an image, [H, W, 3] uint8 RGB; the default discards it."""

    def inputs(self, title: str, values: Mapping[str, Any]) -> None:  # noqa: B027
        """Log, before the first step, what the artifact is made from; the default discards it.

        Args:
            title: of the training: "student".
            values: plain data, see Artifact.inputs: what of the recipe its result depends on.
        """

    def sizes(self) -> dict[str, int]:
        """Return what `rewind` needs: {name of a file in the artifact's folder: bytes}."""
        return {}

    def rewind(self, sizes: Mapping[str, int]) -> None:  # noqa: B027
        """Discard what was logged since `sizes` were returned, by this process or another.

        Args:
            sizes: those of all loggers of the artifact; {} discards everything.
        """

    def close(self) -> None:  # noqa: B027
        """Write what is buffered; nothing is logged afterwards."""


LoggerFactory = Callable[[pathlib.Path], Logger]


class Loggers(Logger):
    """All loggers of one artifact as one.

    Args:
        folder: the artifact's folder; existing files are continued. None: nothing is logged.
        further: Logger classes, or functions that return a Logger, beside JsonLinesLogger and
            TensorBoardLogger: see TrainingConfig.loggers. Each receives the path of a folder for
            its files: loggers/ in the artifact's folder.

    Example:
        loggers = Loggers(pathlib.Path("runs/mine/student"))
        loggers.scalars(20, "train", {"loss": 0.7})
        loggers.close()

    """

    def __init__(self, folder: pathlib.Path | None, further: Sequence[LoggerFactory] = ()):
        self.folder = folder
        self._loggers: list[Logger] = []
        if folder is not None:
            own = [make(folder / LOGGERS) for make in further]
            self._loggers = [JsonLinesLogger(folder), TensorBoardLogger(folder), *own]

    def scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Log the finite ones of some numbers."""
        for logger in self._loggers:
            logger.scalars(step, split, _finite(values))

    def metrics(
        self, step: int, split: str, head: str, values: Mapping[str, float], *, is_only: bool
    ) -> None:
        for logger in self._loggers:
            logger.metrics(step, split, head, _finite(values), is_only=is_only)

    def inputs(self, title: str, values: Mapping[str, Any]) -> None:
        for logger in self._loggers:
            logger.inputs(title, values)

    def image(self, step: int, split: str, name: str, image: np.ndarray) -> None:
        for logger in self._loggers:
            logger.image(step, split, name, image)

    def sizes(self) -> dict[str, int]:
        return {k: size for logger in self._loggers for k, size in logger.sizes().items()}

    def rewind(self, sizes: Mapping[str, int]) -> None:
        for logger in self._loggers:
            logger.rewind(sizes)

    def close(self) -> None:
        for logger in self._loggers:
            logger.close()


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    return {key: float(value) for key, value in values.items() if math.isfinite(value)}


class FileLogger(Logger):
    """A logger that appends to files in the artifact's folder.

    Args:
        folder: the artifact's folder.
        pattern: of the files' paths in it, as pathlib.Path.glob takes it.

    Example:
        class Text(FileLogger):
            def __init__(self, folder):
                super().__init__(folder, "numbers.txt")

            def scalars(self, step, split, values):
                with open(self.folder / "numbers.txt", "a") as file:
                    print(step, split, values, file=file)

    """

    def __init__(self, folder: pathlib.Path, pattern: str):
        self.folder, self._pattern = folder, pattern

    def _files(self) -> Iterable[pathlib.Path]:
        return [path for path in self.folder.glob(self._pattern) if path.is_file()]

    def sizes(self) -> dict[str, int]:
        return {str(p.relative_to(self.folder)): p.stat().st_size for p in self._files()}

    def rewind(self, sizes: Mapping[str, int]) -> None:
        for path in self._files():
            size = sizes.get(str(path.relative_to(self.folder)))
            if size is None:
                path.unlink()
            elif size < path.stat().st_size:
                unshare(path)
                os.truncate(path, size)


class JsonLinesLogger(FileLogger):
    """Appends {"step", "split", name: value, ...} to metrics.jsonl, a line for each call.

    Args:
        folder: the artifact's folder.

    Example:
        JsonLinesLogger(pathlib.Path("runs/mine/student")).scalars(20, "train", {"loss": 0.7})

    """

    def __init__(self, folder: pathlib.Path):
        super().__init__(folder, METRICS)
        self._is_begun = False

    def scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / METRICS
        try:
            if not self._is_begun:
                unshare(path)
                _cut_torn_line(path)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, "split": split, **values}) + "\n")
        except OSError as error:
            error.filename = error.filename or str(path)
            raise
        self._is_begun = True


class TensorBoardLogger(FileLogger):
    """Writes TensorBoard's event files, in a folder for each split.

    A metric has one tag for teachers, students and transfers: "<head>_<metric>". What the artifact
    is made from is a text, "recipe", and the hyperparameters of its session in the HPARAMS tab.

    Args:
        folder: the artifact's folder; the files are in tensorboard/<split>/, and in tensorboard/
            those of the session.

    Example:
        TensorBoardLogger(pathlib.Path("runs/mine/student")).scalars(20, "train", {"loss": 0.7})

    """

    def __init__(self, folder: pathlib.Path):
        super().__init__(folder, f"{_TENSORBOARD}/**/*.tfevents.*")
        self._writers: dict[str, Any] = {}

    def scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        import tensorflow as tf  # Who reads metrics back does not wait for it.

        with self._writer(split).as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)

    def metrics(
        self, step: int, split: str, head: str, values: Mapping[str, float], *, is_only: bool
    ) -> None:
        super().metrics(step, split, head, values, is_only=False)

    def inputs(self, title: str, values: Mapping[str, Any]) -> None:
        import tensorflow as tf
        from tensorboard.plugins.hparams import api

        with self._writer("").as_default(step=0):
            tf.summary.text("recipe", f"```json\n{json.dumps(values, indent=2)}\n```")
            api.hparams(hyperparameters(values), trial_id=title)

    def image(self, step: int, split: str, name: str, image: np.ndarray) -> None:
        import tensorflow as tf

        with self._writer(split).as_default(step=step):
            tf.summary.image(name, image[None])

    def sizes(self) -> dict[str, int]:
        for writer in self._writers.values():
            writer.flush()
        return super().sizes()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()

    def _writer(self, split: str) -> Any:
        import tensorflow as tf

        if split not in self._writers:  # "" is the whole session.
            path = self.folder / _TENSORBOARD / split
            self._writers[split] = tf.summary.create_file_writer(str(path))
        return self._writers[split]


class _Line(TypedDict):
    step: int
    split: str


class MetricsRow(NamedTuple):
    """A line of metrics.jsonl.

    Attributes:
        step: number of optimizer steps.
        split: "train", "validation" or "test".
        values: {name: value}, finite.

    Example:
        read_metrics(folder)[-1].values["loss"]

    """

    step: int
    split: str
    values: dict[str, float]


def read_metrics(
    folder: pathlib.Path, *, split: str | None = None, remedy: str | None = None
) -> list[MetricsRow]:
    """Return the lines of an artifact's metrics.jsonl, in the order in which they were written.

    A last line that was cut off is left out, with a warning.

    Args:
        folder: the artifact's folder; without the file there are no lines.
        split: of the lines to return; None: of all splits.
        remedy: what to do where the file is damaged, an imperative sentence without its full stop.

    Raises:
        DataError: a line is damaged, or a value is no number.
        UserError: the file cannot be opened.

    Example:
        rows = read_metrics(pathlib.Path("runs/mine/student"), split="train")
        losses = [row.values["loss"] for row in rows]

    """
    path, remedy = folder / METRICS, remedy or f"delete {folder} to train it again"
    rows = []
    for line in appended_lines(path, _Line, remedy=remedy) if path.exists() else ():
        row = MetricsRow(line.pop("step"), line.pop("split"), line)
        for name, value in line.items():
            if type(value) not in (int, float):
                what = f"the line of step {row.step} has {name} = {short(value)}, expected a number"
                raise damaged(path, what, remedy=remedy)
        if split in (None, row.split):
            rows.append(row)
    return rows


def _cut_torn_line(path: pathlib.Path) -> None:
    """Delete the part of a last line that a loss of power left: the next one would follow it."""
    if not path.is_file():
        return
    with path.open("rb+") as file:
        data = file.read()
        end = data.rfind(b"\n") + 1
        if end < len(data):
            warn_once(f"{path}: its last line was cut off and is left out")
            file.truncate(end)
