"""What a run leaves behind while it trains: metrics.jsonl and TensorBoard files."""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Mapping

import numpy as np
import tensorflow as tf


class Summaries:
    """Writes the same numbers to metrics.jsonl and to TensorBoard.

    Args:
        folder: of the part that is being trained.
    """

    def __init__(self, folder: pathlib.Path):
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "metrics.jsonl"
        self._path.write_text("")
        self.folder = folder
        self._writers: dict[str, tf.summary.SummaryWriter] = {}

    def numbers(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """One line of metrics.jsonl; what is not finite is left out."""
        values = {key: float(v) for key, v in values.items() if math.isfinite(v)}
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, "split": split} | values) + "\n")
        with self._writer(split).as_default(step=step):
            for key, value in values.items():
                tf.summary.scalar(key, value)

    def picture(self, step: int, split: str, name: str, image: np.ndarray) -> None:
        """An image, [H, W, 3] uint8, for TensorBoard."""
        with self._writer(split).as_default(step=step):
            tf.summary.image(name, image[None])

    def close(self) -> None:
        """Flushes the TensorBoard files."""
        for writer in self._writers.values():
            writer.close()

    def _writer(self, split: str) -> tf.summary.SummaryWriter:
        if split not in self._writers:
            path = self.folder / "tensorboard" / split
            self._writers[split] = tf.summary.create_file_writer(str(path))
        return self._writers[split]
