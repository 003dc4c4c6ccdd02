"""A training step of the detection teacher, beside other Mask R-CNNs with the same settings.

    python -m benchmarks.detection_step
    python -m benchmarks.detection_step --peer "OTHER/bin/python other_mask_rcnn.py"

ResNet-50-FPN with P3 to P7, masks, 256 pixels, batch 4, float32, 128 sampled regions an image, of
which at most 32 have a mask, 500 proposals from 1000 a level, 81 classes with background, SGD. A
peer is a command that takes --size and --batch and prints a JSON line with "step_s" and
"peak_rss_gib" of its own. All sides take turns, each turn a fresh process; one JSON line a side, of
the medians over turns.
"""

from __future__ import annotations

import argparse
import json
import resource
import shlex
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np

OBJECTS, STEPS = 6, 8


class _Rectangles:
    """Noise, with six boxes filled by their masks on each image."""

    def __init__(self, task: Any, size: int, count: int):
        self._task, self._size, self._count = task, size, count

    def __len__(self) -> int:
        return self._count

    def image_id(self, index: int) -> str:
        return str(index)

    def load(self, index: int) -> tuple[np.ndarray, dict[str, Any]]:
        random = np.random.default_rng(index)
        corners = random.uniform(0.0, 0.6, (OBJECTS, 2))
        sides = random.uniform(0.1, 0.4, (OBJECTS, 2))
        boxes = np.concatenate([corners, np.minimum(corners + sides, 1.0)], axis=1)
        label = self._task.missing() | {
            "boxes": boxes.astype(np.float32),
            "classes": random.integers(0, len(self._task.classes), OBJECTS).astype(np.int32),
            "masks": np.ones((OBJECTS, 28, 28), np.uint8),
            "has_mask": np.ones(OBJECTS, bool),
            "ignore": np.zeros(OBJECTS, bool),
            "labelled": np.ones((), np.float32),
        }
        image = random.integers(0, 256, (self._size, self._size, 3), dtype=np.uint8)
        return image, {self._task.name: label}


def measure(size: int, batch: int) -> dict[str, Any]:
    """Median seconds of a step, of the first one, and the process's peak memory in GiB."""
    from must_keras.models.backbone import ResNet
    from must_keras.tasks import Detection
    from must_keras.training.feed import Feed
    from must_keras.training.model import Network, build_model
    from must_keras.training.optimizers import SGD
    from must_keras.training.strategy import make_strategy
    from must_keras.training.trainer import Training

    task = Detection(
        name="objects",
        classes=tuple(f"class {k}" for k in range(80)),
        max_boxes=50,
        num_candidates=1000,
        num_proposals=500,
        num_regions=128,
        num_mask_regions=32,
    )
    training = Training(steps=STEPS, batch=batch, learning_rate=0.001, optimizer=SGD())
    with make_strategy("one").scope():
        network = Network(backbone=ResNet.of_depth(50), size=size)
        model = build_model(network, [task], seed=0, **training.of_model())
        training.compile(model)
        examples = _Rectangles(task, size, batch)
        x, y = Feed(examples, [task], training, size=size, seed=0).batch_of(0)
        seconds = []
        for _ in range(STEPS + 2):
            start = time.perf_counter()
            model.train_on_batch(x, y)
            seconds.append(time.perf_counter() - start)
    return {
        "parameters_m": round(
            sum(int(np.prod(v.shape)) for v in model.trainable_variables) / 1e6, 1
        ),
        "first_call_s": round(seconds[0], 1),
        "step_s": round(statistics.median(seconds[2:]), 3),
        "peak_rss_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }


def _count(variables: list[Any]) -> int:
    return sum(int(np.prod(variable.shape)) for variable in variables)


def main() -> None:
    """Runs all sides turn by turn and prints a line for each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--peer", action="append", default=[])
    parser.add_argument("--alone", action="store_true", help="measure in this process")
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(measure(options.size, options.batch)))
        return
    own = f"{shlex.quote(sys.executable)} -m benchmarks.detection_step --alone"
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in (own, *options.peer)}
    for _ in range(options.turns):
        for side, answers in found.items():
            command = [*shlex.split(side), f"--size={options.size}", f"--batch={options.batch}"]
            answer = subprocess.run(command, capture_output=True, text=True, check=True)
            answers.append(json.loads(answer.stdout.splitlines()[-1]))
    for side, answers in found.items():
        medians = {
            key: statistics.median(answer[key] for answer in answers)
            for key in ("step_s", "peak_rss_gib")
        }
        name = "must_keras" if side == own else shlex.split(side)[-1]
        print(json.dumps({"side": name} | answers[-1] | medians), flush=True)


if __name__ == "__main__":
    main()
