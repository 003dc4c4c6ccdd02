"""What the recipes must_*.py cost: counted operations and memory of one image at 640 pixels.

    python -m benchmarks.paper_recipes flops      # two minutes
    python -m benchmarks.paper_recipes memory     # five minutes

`flops`: convolutions and dense layers of a forward pass with all losses, for every network of the
recipes, in TFLOP an image; a training step takes three times as much (backward: twice). `memory`:
the peak of a fresh process that trains a student with a ResNet-50 on batches of 1 and 3 images,
float32; half of the difference is what an image takes. One JSON line each.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np

from benchmarks.measuring import counted_flops, peak_gib

SIZE, DEPTHS, BATCHES = 640, ("resnet50", "resnet152"), (1, 3)


def _tasks() -> dict[str, Any]:
    """The four heads, with as many classes as the real sets have."""
    from must_keras.tasks import Classification, Depth, Detection, Segmentation

    def names(count: int) -> tuple[str, ...]:
        return tuple(f"class {i}" for i in range(count))

    return {
        "classes": Classification(name="classes", classes=names(1000)),
        "boxes": Detection(name="boxes", classes=names(365), with_masks=False, max_boxes=200),
        "segments": Segmentation(name="segments", classes=names(133)),
        "depth": Depth(name="depth", kind="relative_inverse"),
    }


class _Noise:
    """Noise with boxes; the other heads compute their losses too, of labels that say nothing."""

    def __init__(self, tasks: dict[str, Any], count: int):
        self._tasks, self._count = tasks, count

    def __len__(self) -> int:
        return self._count

    def image_id(self, index: int) -> str:
        return str(index)

    def load(self, index: int) -> tuple[np.ndarray, dict[str, Any]]:
        from must_keras.data.stored import objects

        random = np.random.default_rng(index)
        corners = random.uniform(0.0, 0.6, (10, 2))
        labels = {name: task.missing() for name, task in self._tasks.items()}
        if "boxes" in labels:
            boxes = np.concatenate([corners, corners + 0.2], axis=1)
            labels["boxes"] = objects(boxes=boxes, classes=random.integers(0, 365, 10))
        return random.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8), labels


def _model_and_batch(depth: str, tasks: dict[str, Any], batch: int) -> tuple[Any, Any]:
    from experiments.paper.setting import STUDENT, Setting, resnet
    from must_keras.training.feed import Feed
    from must_keras.training.model import build_model

    setting = Setting(
        backbone=resnet(depth),
        size=SIZE,
        heads="published",
        batch=batch,
        part=batch,
        precision="float32",
    )
    training, heads = setting.training(STUDENT, 100), tuple(tasks.values())
    model = build_model(setting.network, heads, seed=0, **training.of_model())
    training.compile(model)
    feed = Feed(_Noise(tasks, batch), heads, training, size=SIZE, seed=0)
    return model, feed.batch_of(0)


def count_flops() -> None:
    """A line for every network: the student's, and each teacher's."""
    tasks = _tasks()
    networks = {"student": tasks} | {
        name: {name: task} for name, task in tasks.items() if name != "depth"
    }
    for depth in DEPTHS:
        for name, heads in networks.items():
            model, (x, y) = _model_and_batch(depth, heads, 1)
            with counted_flops() as counts:
                model.losses_by_task(y, model(x, training=True))
            forward = round(sum(counts.values()) / 1e12, 3)
            line = {"backbone": depth, "network": name, "forward_tflop": forward}
            print(json.dumps(line | {"parameters": model.count_params()}), flush=True)


def measure_memory() -> None:
    """A line for every batch, each in a process of its own, and what an image takes."""
    peaks = {}
    for batch in BATCHES:
        command = [sys.executable, "-m", "benchmarks.paper_recipes", f"step={batch}"]
        peaks[batch] = json.loads(subprocess.check_output(command, text=True))["peak_gib"]
        print(json.dumps({"batch": batch, "peak_gib": peaks[batch]}), flush=True)
    few, many = BATCHES
    print(json.dumps({"gib_an_image": round((peaks[many] - peaks[few]) / (many - few), 2)}))


def _step(batch: int) -> None:
    """Two training steps, and the most memory that they needed."""
    model, ready = _model_and_batch("resnet50", _tasks(), batch)
    for _ in range(2):
        model.train_on_batch(*ready)
    print(json.dumps({"peak_gib": peak_gib()}))


def main() -> None:
    """Prints the lines of the work that is asked for, or of both."""
    for work in sys.argv[1:] or ("flops", "memory"):
        if work.startswith("step="):
            _step(int(work.removeprefix("step=")))
        else:
            {"flops": count_flops, "memory": measure_memory}[work]()


if __name__ == "__main__":
    main()
