"""What accumulation, recomputation and bfloat16 do to a training step's time and memory.

    python -m benchmarks.training_options [PIXELS]

A four-task student with a ResNet-50 at 256 pixels, batch 8, on ready batches of drawn scenes. Every
option is a fresh process; one JSON line each, with the plain step's figures beside it. The plain
line also says for how long training stands still for a checkpoint, and when it is on the disk.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import statistics
import sys
import tempfile
import time
from typing import Any

from benchmarks.measuring import answer_of, peak_gib, seconds_of

SIZE, BATCH, STEPS = 256, 8, 3
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulate=2": {"accumulate": 2},
    "accumulate=4": {"accumulate": 4},
    "recompute": {"recompute": True},
    "accumulate=4, recompute": {"accumulate": 4, "recompute": True},
    "mixed_bfloat16": {"precision": "mixed_bfloat16"},
}


def measure(size: int, options: dict[str, Any]) -> dict[str, float]:
    """Median seconds of a step, of the first one, and the process's peak memory in GiB."""
    from experiments import scenes
    from must_keras.data.examples import LabeledExamples
    from must_keras.data.sources import ScenesSource
    from must_keras.modeling.backbone import ResNet
    from must_keras.training.building import build_model
    from must_keras.training.checkpoints import Checkpoints
    from must_keras.training.input_pipeline import InputPipeline
    from must_keras.training.network import Network
    from must_keras.training.strategy import make_strategy

    recipe = scenes.recipe(size=size, pool_images=2 * BATCH, images=BATCH)
    pool = recipe.pools[0].truth
    assert isinstance(pool, ScenesSource)
    training = dataclasses.replace(recipe.student.training, steps=STEPS, batch=BATCH, **options)
    with make_strategy("one").scope():
        network = Network(backbone=ResNet.of_depth(50), size=size)
        model = build_model(network, recipe.tasks, seed=0, **training.of_model())
        training.compile(model)
        feed = InputPipeline(
            LabeledExamples(pool, recipe.tasks), recipe.tasks, training, size=size, seed=0
        )
        x, y = feed.batch_of(0)
        before = peak_gib()
        seconds = seconds_of(lambda: model.train_on_batch(x, y), STEPS + 1)
        with tempfile.TemporaryDirectory() as folder:
            saved = [*model.variables, *model.optimizer.variables]
            checkpoints = Checkpoints(pathlib.Path(folder), saved)
            start = time.perf_counter()
            checkpoints.save(1, {})
            still = time.perf_counter() - start
            checkpoints.wait()
    return {
        "first_step_s": round(seconds[0], 1),
        "step_s": round(statistics.median(seconds[1:]), 2),
        "before_GiB": before,
        "peak_GiB": peak_gib(),
        "checkpoint_MB": round(sum(v.numpy().nbytes for v in saved) / 1e6),
        "stands_still_s": round(still, 2),
        "on_disk_s": round(checkpoints.last_seconds, 2),
    }


def main() -> None:
    """Measures every option in a process of its own, and prints it beside the plain step."""
    size = int(sys.argv[1]) if len(sys.argv) > 1 else SIZE
    if len(sys.argv) > 2:
        print(json.dumps(measure(size, OPTIONS[sys.argv[2]])))
        return
    plain: dict[str, float] = {}
    for name in OPTIONS:
        command = [sys.executable, "-m", "benchmarks.training_options", str(size), name]
        found = answer_of(command)
        plain = plain or found
        ratios = {f"{k}_of_plain": round(found[k] / plain[k], 2) for k in ("step_s", "peak_GiB")}
        print(json.dumps({"option": name} | found | ratios), flush=True)


if __name__ == "__main__":
    main()
