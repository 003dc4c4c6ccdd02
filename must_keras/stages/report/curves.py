"""Training curves as pictures."""

from __future__ import annotations

import io
import json
import pathlib

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot


def read(path: pathlib.Path) -> dict[str, list[tuple[int, float]]]:
    """{name: [(step, value)]} of the training lines of a metrics.jsonl."""
    series: dict[str, list[tuple[int, float]]] = {}
    for line in path.read_text().splitlines():
        row = json.loads(line)
        if row["split"] != "train":
            continue
        for key, value in row.items():
            if key == "loss" or key.endswith("_loss"):
                series.setdefault(key, []).append((row["step"], value))
    return series


def plot(title: str, series: dict[str, list[tuple[int, float]]]) -> bytes:
    """The series over the steps, as PNG; losses on a logarithmic scale."""
    if len(series) == 2:  # One head: its loss is the whole one.
        series = {name: points for name, points in series.items() if name != "loss"}
    figure, axes = pyplot.subplots(figsize=(4.2, 2.6), dpi=110)
    for name, points in series.items():
        steps, values = zip(*points, strict=True)
        axes.plot(steps, values, label=name.removesuffix("_loss"), linewidth=1.4)
    if all(value > 0 for points in series.values() for _, value in points):
        axes.set_yscale("log")
    axes.set_title(title, fontsize=9)
    axes.set_xlabel("step", fontsize=8)
    axes.set_ylabel("loss", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    pyplot.close(figure)
    return buffer.getvalue()
