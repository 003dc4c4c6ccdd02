"""How much of a training step is waiting for its input.

    python -m benchmarks.input_wait

Steps with the input pipeline beside steps on a batch that is ready, on all cores, in turns: the
four-task student of drawn scenes at 64 pixels with its small network, and with a ResNet-50-FPN at
256 pixels, batch 4. One JSON line each: seconds of a step, the share of the time that the program
waits for the next batch, and the step with the pipeline in units of the step without.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from benchmarks.measuring import each_alone, seconds_of
from benchmarks.settings import student_on

TURNS, STEPS = 5, {"small": 40, "large": 3}


def measure(name: str) -> dict[str, Any]:
    """One setting."""
    steps = STEPS[name]
    model, training, feed = student_on(name, steps=steps * TURNS + 10)
    ready = feed.batch_of(0)
    batches = iter(feed.batches())
    for _ in range(3):
        model.train_on_batch(*next(batches))
    ratios, shares, fed = [], [], []
    for _ in range(TURNS):
        alone = sum(seconds_of(lambda: model.train_on_batch(*ready), steps))
        waited, start = 0.0, time.perf_counter()
        for _ in range(steps):
            before = time.perf_counter()
            x, y = next(batches)
            waited += time.perf_counter() - before
            model.train_on_batch(x, y)
        whole = time.perf_counter() - start
        ratios.append(whole / alone)
        shares.append(waited / whole)
        fed.append(whole / steps)
    return {
        "setting": name,
        "batch": training.batch,
        "step_s": round(statistics.median(fed), 4),
        "waiting": round(statistics.median(shares), 4),
        "of_ready": round(statistics.median(ratios), 3),
        "turns": [round(ratio, 3) for ratio in ratios],
    }


def main() -> None:
    """Both settings, each in a process of its own."""
    each_alone("benchmarks.input_wait", [[name] for name in STEPS], measure)


if __name__ == "__main__":
    main()
