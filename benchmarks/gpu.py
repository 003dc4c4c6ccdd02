"""Training steps on one GPU in bfloat16: images per second, and how much of the peak they use.

    JAX/bin/python -m benchmarks.gpu --batch 8 16 32 \
        --peer "TORCH/bin/python benchmarks/peers/torchvision_mask_rcnn.py --device=cuda \
                --bfloat16 --channels_last"

JAX is an environment as BUILD.md says ("With a GPU"); TensorFlow is not needed. Networks of 640
pixels with a ResNet-50-FPN (P3 to P7), all layers trained, layers in bfloat16, weights and losses
in float32, SGD, on one ready batch of noise: the detector of benchmarks/detection_step.py, and a
student with that head and three more. A peer is a command that takes --size, --batch, --regions,
--steps and --matmul, and prints a JSON line like `measure`'s.

Every side and batch is a fresh process, in turns; one JSON line each, of the medians over turns. A
step's work is three times its forward pass's, counted from the shapes of what convolutions and
dense layers give. The peak is the fastest chain of large bfloat16 matrix products that any side of
the run has made; --stated is the one that the machine's maker states.

Shapes are fixed on JAX: the mask head sees a quarter of all regions, also those without an object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.measuring import counted_flops, medians, peak_gib, seconds_of, take_turns
from benchmarks.settings import mask_rcnn, noise_batch, student_tasks

SIDES = {"detector": lambda regions: (mask_rcnn(regions),), "student": student_tasks}
_CHAIN = 10


def measure(side: str, batch: int, options: argparse.Namespace) -> dict[str, Any]:
    """One side's line, without what it is compared with: see the module."""
    import jax
    import keras

    from must_keras.modeling.backbone import ResNet
    from must_keras.ops.precision import policy
    from must_keras.training.jax_step import batch_losses, initial_state, training_step
    from must_keras.training.network import Network, connect
    from must_keras.training.optimizers import SGD, Cosine

    tasks = SIDES[side](options.regions)
    keras.utils.set_random_seed(0)
    with policy(options.precision):
        network = Network(backbone=ResNet.of_depth(50), size=options.size)
        model = keras.Model(*connect(network, tasks, {"momentum": 0.997, "epsilon": 1e-4}))
    optimizer = SGD().build(Cosine().build(0.001, 10_000, 0.05))
    state = initial_state(model, optimizer)
    x, y = jax.device_put(noise_batch(tasks, size=options.size, batch=batch))
    with counted_flops() as flops, _counted_regions(model.get_layer("objects")) as regions:
        jax.eval_shape(lambda *values: batch_losses(model, tasks, *values), state, x, y)
    step = training_step(model, tasks, optimizer, clip_norm=10.0)

    def one_step() -> None:
        nonlocal state
        state, numbers = jax.block_until_ready(step(state, x, y))
        if not np.isfinite(float(numbers["loss"])):
            raise FloatingPointError(f"the loss is {numbers['loss']}")

    first, _ = seconds_of(one_step, 2)
    seconds = seconds_of(one_step, options.steps)
    device = jax.devices()[0]
    memory = (device.memory_stats() or {}).get("peak_bytes_in_use")
    return {
        "side": f"must_keras, {side}",
        "versions": f"jax {jax.__version__}, keras {keras.__version__}",
        "device": device.device_kind,
        "precision": options.precision,
        "first_call_s": round(first, 1),
        "step_s": statistics.median(seconds),
        "peak_memory_gib": peak_gib() if memory is None else round(memory / 2**30, 2),
        "box_regions": regions["box_head"],
        "mask_regions": regions["mask_head"],
        "parameters_m": round(sum(v.size for v in state.trainable) / 1e6, 1),
        "forward_gflop": round(sum(flops.values()) / 1e9, 3),
        "matmul_tflop_per_s": _matmul_rate(options.matmul) / 1e12,
    }


@contextlib.contextmanager
def _counted_regions(head: Any) -> Iterator[dict[str, int]]:
    """How many regions the two parts of a detector's head see that is traced meanwhile."""
    counts: dict[str, int] = {}
    parts = {name: getattr(head, name) for name in ("box_head", "mask_head")}
    for name, part in parts.items():

        def call(features: Any, *args: Any, name=name, own=part.call, **kwargs: Any) -> Any:
            counts[name] = features.shape[0]
            return own(features, *args, **kwargs)

        part.call = call
    try:
        yield counts
    finally:
        for part in parts.values():
            del part.call


def _matmul_rate(side: int) -> float:
    """Operations a second of products of square bfloat16 matrices, at best."""
    import jax

    keys = jax.random.split(jax.random.key(0))
    # So scaled, products of products stay of the same size.
    a, b = (jax.random.normal(key, (side, side), "bfloat16") / side**0.5 for key in keys)
    chain = jax.jit(lambda a, b: jax.lax.fori_loop(0, _CHAIN, lambda _, c: c @ b, a))
    seconds = seconds_of(lambda: chain(a, b).block_until_ready(), 6)
    return 2.0 * side**3 * _CHAIN / min(seconds[1:])


def compared(
    answers: Sequence[Mapping[str, Any]], batch: int, peak: float, stated: float | None
) -> dict[str, Any]:
    """The line of one side and batch: medians, with what they come to.

    Args:
        answers: of every turn.
        batch: images of a step.
        peak: the run's fastest matrix products, 10^12 operations a second.
        stated: the maker's peak in the same unit, or None.
    """
    line = medians(answers)
    rate = 3.0 * line["forward_gflop"] / 1e3 / line["step_s"]
    line |= {
        "batch": batch,
        "images_per_s": round(batch / line["step_s"], 2),
        "model_tflop_per_s": round(rate, 4),
        "of_matmul": round(rate / peak, 4),
    }
    return line if stated is None else line | {"of_stated": round(rate / stated, 4)}


def main() -> None:
    """Runs all sides with all batches, turn by turn, and prints a line for each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=640)
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--regions", type=int, default=128, help="of an image, with a loss")
    precisions = ("mixed_bfloat16", "float32")
    parser.add_argument("--precision", choices=precisions, default=precisions[0])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--matmul", type=int, default=8192, help="rows of the matrices")
    parser.add_argument("--stated", type=float, help="the stated peak, in 10^12 operations/s")
    parser.add_argument("--sides", nargs="*", choices=tuple(SIDES), default=list(SIDES))
    parser.add_argument("--peer", action="append", default=[])
    parser.add_argument("--alone", choices=tuple(SIDES), help="measure in this process")
    options = parser.parse_args()
    os.environ["KERAS_BACKEND"] = "jax"
    if options.alone:
        print(json.dumps(measure(options.alone, options.batch[0], options)))
        return
    same = [f"--{name}={getattr(options, name)}" for name in ("size", "regions", "steps", "matmul")]
    own = [sys.executable, "-m", "benchmarks.gpu", f"--precision={options.precision}", "--alone"]
    commands = {side: [*own, side] for side in options.sides}
    commands |= {peer: shlex.split(peer) for peer in options.peer}
    sides = {
        (name, batch): [*command, f"--batch={batch}", *same]
        for batch in options.batch
        for name, command in commands.items()
    }
    found = take_turns(sides, options.turns)
    peak = max(answer["matmul_tflop_per_s"] for answers in found.values() for answer in answers)
    for (_, batch), answers in found.items():
        print(json.dumps(compared(answers, batch, peak, options.stated)), flush=True)


if __name__ == "__main__":
    main()
