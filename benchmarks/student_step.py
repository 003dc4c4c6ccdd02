"""The student's step, and its inference, beside the four single-task networks that it replaces.

    python -m benchmarks.student_step train
    python -m benchmarks.student_step infer

ResNet-50-FPN at 256 pixels, batch 4, float32. `train`: a step of the four-task student beside the
sum of four teachers' steps less the backbone and pyramid that are now computed once (by counted
operations: the share that they have of the teachers' own). `infer`: the same of all heads of one
network beside the four networks one after the other, on one image and on a batch of eight. All work
of a kind takes turns in one process; one JSON line each.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.measuring import counted_flops, in_turns
from benchmarks.settings import four_tasks, ready_batch

SIZE, TRAIN_BATCH, INFER_BATCHES, TURNS = 256, 4, (1, 8), 5
_SHARED = ("backbone", "neck")


def _networks() -> dict[str, tuple[Any, Any]]:
    """{name: (model, its training)}: the student, and a teacher for each of its tasks."""
    from must_keras.modeling.backbone import ResNet
    from must_keras.training.building import build_model
    from must_keras.training.config import TrainingConfig
    from must_keras.training.network import Network
    from must_keras.training.optimizers import SGD

    network = Network(backbone=ResNet.of_depth(50), size=SIZE)
    training = TrainingConfig(steps=100, batch=TRAIN_BATCH, learning_rate=0.001, optimizer=SGD())
    tasks = four_tasks(SIZE)
    networks = {}
    for name, some in {"student": tasks, **{task.name: (task,) for task in tasks}}.items():
        model = build_model(network, some, seed=0, **training.of_model())
        training.compile(model)
        networks[name] = (model, training)
    return networks


def _flops(model: Any, work: Callable[[], Any]) -> tuple[float, float]:
    """Operations of eager work of a model: of the shared parts, and of all."""
    with counted_flops() as counts:
        work()
    shared = sum(
        work for path, work in counts.items() if path.split("/")[0] in _shared_layers(model)
    )
    return shared, sum(counts.values())


def _shared_layers(model: Any) -> set[str]:
    """Names of the layers of backbone and pyramid."""
    names = {layer.name for layer in model.layers if layer.name in _SHARED}
    return names | {
        inner.name for layer in model.layers if layer.name in _SHARED for inner in layer.layers
    }


def measure_training() -> dict[str, Any]:
    """See the module."""
    networks = _networks()
    works, flops = {}, {}
    for name, (model, training) in networks.items():
        batch = ready_batch(tuple(model.tasks.values()), training, size=SIZE)
        works[name] = lambda m=model, b=batch: m.train_on_batch(*b)
        flops[name] = _flops(
            model, lambda m=model, b=batch: m.losses_by_task(b[1], m(b[0], training=True))
        )
    seconds = {name: statistics.median(values) for name, values in in_turns(works, TURNS).items()}
    return {"work": "train"} | _compared(seconds, flops)


def _compared(seconds: dict[str, float], flops: dict[str, tuple[float, float]]) -> dict[str, Any]:
    """The student beside the sum of the teachers, of which the shared parts count once."""
    teachers = {name: value for name, value in seconds.items() if name != "student"}
    # What the student computes once, the teachers compute four times, or what they have of it.
    shared = {name: flops[name][0] / flops[name][1] * value for name, value in seconds.items()}
    whole = sum(teachers.values())
    expected = whole - sum(shared[name] for name in teachers) + shared["student"]
    return {
        "student_s": round(seconds["student"], 3),
        "teachers_s": {name: round(value, 3) for name, value in teachers.items()},
        "sum_s": round(whole, 3),
        "sum_with_shared_once_s": round(expected, 3),
        "student_of_that": round(seconds["student"] / expected, 3),
        "forward_gflop": {name: round(work / 1e9, 1) for name, (_, work) in flops.items()}
        | {"shared": round(flops["student"][0] / 1e9, 1)},
    }


def measure_inference() -> list[dict[str, Any]]:
    """See the module; a line for every batch size."""
    import tensorflow as tf

    from must_keras.inference.predictor import Predictor

    networks = _networks()
    predictors = {name: Predictor(model) for name, (model, _) in networks.items()}
    lines = []
    for count in INFER_BATCHES:
        image = tf.random.stateless_uniform((count, SIZE, SIZE, 3), (0, 0), 0.0, 255.0)
        x = networks["student"][0].without_padding(image)
        works = {name: lambda p=p, x=x: p.outputs(x) for name, p in predictors.items()}
        times = in_turns(works, TURNS)
        seconds = {name: statistics.median(values) for name, values in times.items()}
        flops = {
            name: _flops(model, lambda m=model, x=x: m.decode(x))
            for name, (model, _) in networks.items()
        }
        lines.append({"work": "infer", "batch": count} | _compared(seconds, flops))
    return lines


def main() -> None:
    """Prints the lines of the work that is asked for, or of both."""
    for work in sys.argv[1:] or ("train", "infer"):
        lines = [measure_training()] if work == "train" else measure_inference()
        for line in lines:
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
