"""How a training step's time and memory grow: with image size, batch, objects and tasks.

    python -m benchmarks.growth [PICTURE.png]

A ResNet-50-FPN student in float32, one thing changed at a time from 256 pixels, batch 4, four
tasks. Objects: what an image holds, and the room for objects in a batch with it, of the detection
teacher alone. Every point is a fresh process; one JSON line each, and a picture of all.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import statistics
import sys
from typing import Any

from benchmarks.measuring import answer_of, peak_gib, seconds_of
from benchmarks.settings import Rectangles, four_tasks, ready_batch

STEPS = 3
AXES: dict[str, tuple[int, ...]] = {
    "size": (128, 256, 384, 512),
    "batch": (1, 2, 4, 8),
    "tasks": (1, 2, 3, 4),
    "objects": (1, 10, 50, 100),
}
_START = {"size": 256, "batch": 4, "tasks": 4, "objects": 0}
_UNITS = {"size": "pixels a side", "batch": "images", "tasks": "heads", "objects": "an image"}


def measure(size: int, batch: int, tasks: int, objects: int) -> dict[str, float]:
    """Median seconds of a step, of the first one, and the process's peak memory in GiB."""
    from must_keras.modeling.backbone import ResNet
    from must_keras.training.building import build_model
    from must_keras.training.config import TrainingConfig
    from must_keras.training.input_pipeline import InputPipeline
    from must_keras.training.network import Network
    from must_keras.training.optimizers import SGD

    training = TrainingConfig(steps=100, batch=batch, learning_rate=0.001, optimizer=SGD())
    heads = four_tasks(size)[:tasks]
    if objects:
        detection: Any = four_tasks(size)[1]
        heads = (dataclasses.replace(detection, max_boxes=objects),)
    network = Network(backbone=ResNet.of_depth(50), size=size)
    model = build_model(network, heads, seed=0, **training.of_model())
    training.compile(model)
    if objects:
        examples = Rectangles(heads[0], size=size, count=batch, objects=objects)
        x, y = InputPipeline(examples, heads, training, size=size, seed=0).batch_of(0)
    else:
        x, y = ready_batch(heads, training, size=size)
    (first,) = seconds_of(lambda: model.train_on_batch(x, y), 1)
    seconds = seconds_of(lambda: model.train_on_batch(x, y), STEPS)
    return {
        "first_step_s": round(first, 1),
        "step_s": round(statistics.median(seconds), 3),
        "peak_rss_gib": peak_gib(),
    }


def draw(points: list[dict[str, Any]], path: pathlib.Path) -> None:
    """Seconds and memory over every axis, from zero on: what is proportional is a straight line."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, rows = pyplot.subplots(2, len(AXES), figsize=(3 * len(AXES), 5), sharex="col")
    for column, axis in enumerate(AXES):
        some = [point for point in points if point["axis"] == axis]
        for row, (key, title) in enumerate({"step_s": "s a step", "peak_rss_gib": "GiB"}.items()):
            rows[row, column].plot(
                [point[axis] for point in some], [point[key] for point in some], marker="o"
            )
            rows[row, column].set_ylim(bottom=0)
            rows[row, column].set_xlim(left=0)
            rows[row, column].grid(alpha=0.3)
            rows[row, 0].set_ylabel(title)
        rows[1, column].set_xlabel(f"{axis} ({_UNITS[axis]})")
    figure.tight_layout()
    figure.savefig(path, dpi=80)


def main() -> None:
    """Measures every point in a process of its own and draws them."""
    if len(sys.argv) == 5:
        print(json.dumps(measure(*(int(value) for value in sys.argv[1:]))))
        return
    points = []
    for axis, values in AXES.items():
        for value in values:
            chosen = _START | {axis: value}
            command = [sys.executable, "-m", "benchmarks.growth", *map(str, chosen.values())]
            points.append({"axis": axis} | chosen | answer_of(command))
            print(json.dumps(points[-1]), flush=True)
    draw(points, pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "benchmarks/growth.png"))


if __name__ == "__main__":
    main()
