"""What the recipes must_*.py cost: counted operations, measured steps and memory at 640 pixels.

    python -m benchmarks.paper_recipes flops      # two minutes
    python -m benchmarks.paper_recipes steps      # ten minutes

`flops`: convolutions and dense layers of a forward pass with all losses, for every network of the
recipes, in TFLOP an image; a training step takes three times as much (backward: twice). `steps`:
fresh processes that train the student on batches of 1 and 3 images in float32, with each backbone:
seconds of a step, its rate in units of that of a 2048 x 2048 matmul in between, and peak memory;
half of the difference of the peaks is what an image takes. One JSON line each.
"""

from __future__ import annotations

import json
import statistics
import sys
from typing import Any

import numpy as np

from benchmarks.measuring import MATMUL, answer_of, counted_flops, in_turns, matmul, peak_gib

SIZE, DEPTHS, BATCHES = 640, ("resnet50", "resnet152"), (1, 3)
TURNS = 3


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
        from must_keras.data.sources.source import objects

        random = np.random.default_rng(index)
        corners = random.uniform(0.0, 0.6, (10, 2))
        labels = {name: task.labels.missing() for name, task in self._tasks.items()}
        if "boxes" in labels:
            boxes = np.concatenate([corners, corners + 0.2], axis=1)
            labels["boxes"] = objects(boxes=boxes, classes=random.integers(0, 365, 10))
        return random.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8), labels


def _model_and_batch(depth: str, tasks: dict[str, Any], batch: int) -> tuple[Any, Any]:
    from experiments.paper.setting import STUDENT, Setting, resnet
    from must_keras.training.building import build_model
    from must_keras.training.input_pipeline import InputPipeline

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
    feed = InputPipeline(_Noise(tasks, batch), heads, training, size=SIZE, seed=0)
    return model, feed.batch_of(0)


def _forward_tflop(depth: str, tasks: dict[str, Any]) -> tuple[float, int]:
    """Of one image, and the network's parameters."""
    model, (x, y) = _model_and_batch(depth, tasks, 1)
    with counted_flops() as counts:
        model.losses_by_task(y, model(x, training=True))
    return sum(counts.values()) / 1e12, model.count_params()


def count_flops() -> None:
    """A line for every network: the student's, and each teacher's."""
    tasks = _tasks()
    networks = {"student": tasks} | {
        name: {name: task} for name, task in tasks.items() if name != "depth"
    }
    for depth in DEPTHS:
        for name, heads in networks.items():
            forward, parameters = _forward_tflop(depth, heads)
            line = {"backbone": depth, "network": name, "forward_tflop": round(forward, 3)}
            print(json.dumps(line | {"parameters": parameters}), flush=True)


def measure_steps() -> None:
    """A line for every backbone and batch, each in a process of its own; what an image takes."""
    for depth in DEPTHS:
        forward, _ = _forward_tflop(depth, _tasks())
        found = {}
        for batch in BATCHES:
            asked = ("benchmarks.paper_recipes", f"step={depth}", f"{batch}")
            found[batch] = answer_of([sys.executable, "-m", *asked])
            rate = 3e3 * forward * batch / found[batch]["step_s"]
            share = round(rate / found[batch]["matmul_gflop_per_s"], 2)
            line = {"backbone": depth, "batch": batch, "of_matmul": share}
            print(json.dumps(line | found[batch]), flush=True)
        few, many = BATCHES
        more = found[many]["peak_gib"] - found[few]["peak_gib"]
        line = {"backbone": depth, "gib_an_image": round(more / (many - few), 2)}
        print(json.dumps(line), flush=True)


def _step(depth: str, batch: int) -> dict[str, float]:
    """Training steps with matmuls in between, and the most memory that they needed."""
    model, ready = _model_and_batch(depth, _tasks(), batch)
    works = {"step": lambda: model.train_on_batch(*ready), "matmul": matmul()}
    seconds = {name: statistics.median(s) for name, s in in_turns(works, TURNS).items()}
    return {
        "step_s": round(seconds["step"], 2),
        "matmul_gflop_per_s": round(1e-9 * MATMUL / seconds["matmul"], 1),
        "peak_gib": peak_gib(),
    }


def main() -> None:
    """Prints the lines of the work that is asked for, or of both."""
    asked = sys.argv[1:]
    if asked and asked[0].startswith("step="):
        print(json.dumps(_step(asked[0].removeprefix("step="), int(asked[1]))))
        return
    for work in asked or ("flops", "steps"):
        {"flops": count_flops, "steps": measure_steps}[work]()


if __name__ == "__main__":
    main()
