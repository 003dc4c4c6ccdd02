"""A training step of the detection teacher, beside other Mask R-CNNs with the same settings.

    python -m benchmarks.detection_step
    python -m benchmarks.detection_step --peer "OTHER/bin/python benchmarks/peers/<one>.py"

ResNet-50-FPN with P3 to P7, masks, 256 pixels, batch 4, float32, 128 sampled regions an image, of
which at most 32 have a mask, 500 proposals from 1000 a level, anchors of 8 strides, 81 classes with
background, SGD. A peer is a command that takes --size and --batch and prints a JSON line with
"side", "step_s", "peak_memory_gib", and how many regions its heads see. All sides take turns, each
turn a fresh process; one JSON line a side, of the medians over turns.

Of this project there are two sides: one as it is, whose mask head sees regions that hold an object
and a few more, and one whose mask head sees all 32 of every image.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
from typing import Any

import numpy as np

from benchmarks.measuring import counted_flops, medians, peak_gib, seconds_of, take_turns
from benchmarks.settings import Rectangles, mask_rcnn

MASKS, STEPS = 32, 8


def measure(size: int, batch: int, *, all_masks: bool) -> dict[str, Any]:
    """One side's line: see the module."""
    import keras
    import tensorflow as tf

    from must_keras.modeling.backbone import ResNet
    from must_keras.tasks.detection import head as detection_head
    from must_keras.training.building import build_model
    from must_keras.training.config import TrainingConfig
    from must_keras.training.input_pipeline import InputPipeline
    from must_keras.training.network import Network
    from must_keras.training.optimizers import SGD
    from must_keras.training.strategy import make_strategy

    if all_masks:
        # Every image's number of regions is made up to a multiple of all that there may be.
        detection_head._MASKS_TOGETHER = MASKS
    task = mask_rcnn()
    training = TrainingConfig(steps=STEPS, batch=batch, learning_rate=0.001, optimizer=SGD())
    with make_strategy("one").scope():
        network = Network(backbone=ResNet.of_depth(50), size=size)
        model = build_model(network, [task], seed=0, **training.of_model())
        training.compile(model)
        examples = Rectangles(task, size=size, count=batch)
        x, y = InputPipeline(examples, [task], training, size=size, seed=0).batch_of(0)
        head = model.get_layer(task.name)
        regions = tf.Variable([0.0, 0.0])
        for place, part in enumerate((head.box_head, head.mask_head)):

            def call(features: Any, *args: Any, place=place, own=part.call, **kwargs: Any) -> Any:
                number = tf.cast(tf.shape(features)[0], tf.float32)
                regions.assign_add(tf.one_hot(place, 2) * number)
                return own(features, *args, **kwargs)

            part.call = call

        def step() -> None:
            model.train_on_batch(x, y)

        first, _ = seconds_of(step, 2)
        regions.assign([0.0, 0.0])
        seconds = seconds_of(step, STEPS)
        box_regions, mask_regions = regions.numpy() / STEPS
        peak = peak_gib()
        with counted_flops() as flops:
            model.losses_by_task(y, model(x, training=True))
    return {
        "side": "must_keras" + (", all masks" if all_masks else ""),
        "versions": f"tensorflow {tf.__version__}, keras {keras.__version__}",
        "first_call_s": round(first, 1),
        "step_s": round(statistics.median(seconds), 3),
        "peak_memory_gib": peak,
        "box_regions": round(float(box_regions), 1),
        "mask_regions": round(float(mask_regions), 1),
        "parameters_m": round(
            sum(int(np.prod(v.shape)) for v in model.trainable_variables) / 1e6, 1
        ),
        "forward_gflop": round(sum(flops.values()) / 1e9, 1),
    }


def main() -> None:
    """Runs all sides turn by turn and prints a line for each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--peer", action="append", default=[])
    parser.add_argument("--alone", choices=("own", "all_masks"), help="measure in this process")
    options = parser.parse_args()
    if options.alone:
        all_masks = options.alone == "all_masks"
        print(json.dumps(measure(options.size, options.batch, all_masks=all_masks)))
        return
    own = [sys.executable, "-m", "benchmarks.detection_step", "--alone"]
    shape = [f"--size={options.size}", f"--batch={options.batch}"]
    sides = {name: [*own, name, *shape] for name in ("own", "all_masks")}
    sides |= {peer: [*shlex.split(peer), *shape] for peer in options.peer}
    for answers in take_turns(sides, options.turns).values():
        print(json.dumps(medians(answers)), flush=True)


if __name__ == "__main__":
    main()
