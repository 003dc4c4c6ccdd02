"""What a run leaves behind while it trains: metrics.jsonl and TensorBoard files."""

from __future__ import annotations

import json
import math
import os
import pathlib
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from must_keras.files import unshare, warn_once

_METRICS, _TENSORBOARD = "metrics.jsonl", "tensorboard"


class Loggers:
    """Writes the same numbers to metrics.jsonl and to TensorBoard.

    Args:
        folder: of the part that is being trained; what is there already is gone on with. None:
            nothing is written.
    """

    def __init__(self, folder: pathlib.Path | None):
        self.folder = folder
        self._writers: dict[str, tf.summary.SummaryWriter] = {}

    def numbers(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """One line of metrics.jsonl; what is not finite is left out."""
        if self.folder is None:
            return
        values = {key: float(v) for key, v in values.items() if math.isfinite(v)}
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / _METRICS
        try:
            if not self._writers:
                unshare(path)
                _cut_torn_line(path)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, "split": split} | values) + "\n")
        except OSError as error:
            error.filename = error.filename or str(path)
            raise
        with self._writer(split).as_default(step=step):
            for key, value in values.items():
                tf.summary.scalar(key, value)

    def picture(self, step: int, split: str, name: str, image: np.ndarray) -> None:
        """An image, [H, W, 3] uint8, for TensorBoard."""
        if self.folder is not None:
            with self._writer(split).as_default(step=step):
                tf.summary.image(name, image[None])

    def sizes(self) -> dict[str, int]:
        """{file: bytes} of all that is written so far: what `rewind` goes back to."""
        for writer in self._writers.values():
            writer.flush()
        return {str(path.relative_to(self.folder)): path.stat().st_size for path in self._files()}

    def rewind(self, sizes: Mapping[str, int]) -> None:
        """Takes back what was written since `sizes` was asked for, by this process or another."""
        for path in self._files():
            size = sizes.get(str(path.relative_to(self.folder)))
            if size is None:
                path.unlink()
            elif size < path.stat().st_size:
                unshare(path)
                os.truncate(path, size)

    def close(self) -> None:
        """Flushes the TensorBoard files."""
        for writer in self._writers.values():
            writer.close()

    def _files(self) -> list[pathlib.Path]:
        if self.folder is None:
            return []
        events = (self.folder / _TENSORBOARD).rglob("*.tfevents.*")
        return [p for p in (self.folder / _METRICS, *events) if p.is_file()]

    def _writer(self, split: str) -> tf.summary.SummaryWriter:
        if split not in self._writers:
            path = self.folder / _TENSORBOARD / split
            self._writers[split] = tf.summary.create_file_writer(str(path))
        return self._writers[split]


def _cut_torn_line(path: pathlib.Path) -> None:
    """Take away what a loss of power left of a last line: the next one would be glued to it."""
    if not path.is_file():
        return
    with path.open("rb+") as file:
        data = file.read()
        end = data.rfind(b"\n") + 1
        if end < len(data):
            warn_once(f"{path}: its last line was cut off and is left out")
            file.truncate(end)
