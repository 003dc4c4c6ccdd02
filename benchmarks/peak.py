"""How much of what the machine can do the student's step reaches, and where its time goes.

    python -m benchmarks.peak

A four-task student with a ResNet-50-FPN at 256 pixels, batch 4, float32, on one batch of drawn
scenes. The machine's practical peak is that of a matmul of 2048 x 2048 and of a 3x3 convolution
with 256 channels, measured between the steps. A step's work is three times its forward pass's,
counted from the shapes of what the layers give. Then one step runs again with one operation at a
time, and every kind of operation has a line: how often, seconds, share.
"""

from __future__ import annotations

import collections
import glob
import json
import statistics
import sys
import tempfile
from typing import Any

from benchmarks.measuring import MATMUL, answer_of, counted_flops, in_turns, matmul
from benchmarks.settings import four_tasks, ready_batch

SIZE, BATCH, TURNS, LINES = 256, 4, 7, 16
_CONVOLUTION = 2 * 8 * 32 * 32 * 256 * 256 * 9


def _student() -> tuple[Any, Any]:
    """The network and its batch."""
    from must_keras.modeling.backbone import ResNet
    from must_keras.training.building import build_model
    from must_keras.training.config import TrainingConfig
    from must_keras.training.network import Network
    from must_keras.training.optimizers import SGD

    training = TrainingConfig(steps=100, batch=BATCH, learning_rate=0.001, optimizer=SGD())
    tasks = four_tasks(SIZE)
    network = Network(backbone=ResNet.of_depth(50), size=SIZE)
    model = build_model(network, tasks, seed=0, **training.of_model())
    training.compile(model)
    return model, ready_batch(tasks, training, size=SIZE)


def measure_share() -> dict[str, Any]:
    """The step beside the peaks."""
    import tensorflow as tf

    model, batch = _student()
    with counted_flops() as flops:
        model.losses_by_task(batch[1], model(batch[0], training=True))
    work = 3.0 * sum(flops.values())
    x, kernel = tf.random.normal((8, 32, 32, 256)), tf.random.normal((3, 3, 256, 256))
    convolution = tf.function(lambda: tf.reduce_sum(tf.nn.conv2d(x, kernel, 1, "SAME")))
    times = in_turns(
        {
            "step": lambda: model.train_on_batch(*batch),
            "matmul": matmul(),
            "convolution": lambda: convolution().numpy(),
        },
        TURNS,
    )
    rates = {
        "step": work / statistics.median(times["step"]),
        "matmul": MATMUL / statistics.median(times["matmul"]),
        "convolution": _CONVOLUTION / statistics.median(times["convolution"]),
    }
    return {
        "step_s": round(statistics.median(times["step"]), 3),
        "step_gflop": round(work / 1e9),
        **{f"{name}_gflop_per_s": round(rate / 1e9, 1) for name, rate in rates.items()},
        "of_matmul": round(rates["step"] / rates["matmul"], 3),
        "of_convolution": round(rates["step"] / rates["convolution"], 3),
    }


def measure_operations() -> list[dict[str, Any]]:
    """Lines of the operations that take longest, one running at a time."""
    import tensorflow as tf

    tf.config.threading.set_inter_op_parallelism_threads(1)
    model, batch = _student()
    for _ in range(2):
        model.train_on_batch(*batch)
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            model.train_on_batch(*batch)
        seconds, times = _by_operation(folder)
    whole = sum(seconds.values())
    lines = [
        {
            "operation": name,
            "times": times[name],
            "seconds": round(value, 3),
            "share": round(value / whole, 3),
        }
        for name, value in seconds.most_common(LINES)
    ]
    return [*lines, {"operation": "all", "times": sum(times.values()), "seconds": round(whole, 3)}]


def _by_operation(folder: str) -> tuple[collections.Counter, collections.Counter]:
    """Seconds and number of runs of every kind of operation in a profile."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    (path,) = glob.glob(f"{folder}/**/*.xplane.pb", recursive=True)
    space = xplane_pb2.XSpace()
    with open(path, "rb") as file:
        space.ParseFromString(file.read())
    seconds, times = collections.Counter(), collections.Counter()
    for plane in space.planes:
        names = {key: value.name for key, value in plane.event_metadata.items()}
        for line in plane.lines:
            for event in line.events:
                # Operations are "<name>:<kind>"; what runs them has a space or a colon more.
                name, _, kind = names[event.metadata_id].rpartition(":")
                if (
                    name
                    and ":" not in name
                    and " " not in kind
                    and kind[0].isupper() | (kind[0] == "_")
                ):
                    seconds[kind] += event.duration_ps / 1e12
                    times[kind] += 1
    return seconds, times


def main() -> None:
    """The two parts, each in a process of its own."""
    if len(sys.argv) == 2:
        print(json.dumps(measure_share() if sys.argv[1] == "share" else measure_operations()))
        return
    command = [sys.executable, "-m", "benchmarks.peak"]
    print(json.dumps(answer_of([*command, "share"])), flush=True)
    for line in answer_of([*command, "operations"]):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
