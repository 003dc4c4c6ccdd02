"""What a look at each head's part of the gradient costs beside training.

    python -m benchmarks.diagnostics

A training step and a look in turns, in one process, on a batch that is ready: the four-task
student of synthetic scenes at 64 pixels with its small network, and with a ResNet-50-FPN at 256
pixels, batch 4. One JSON line each: seconds of a step, of the first look and of a later one, a
look in steps, and its share of the time with one every `diagnose_every` steps, as trainings have
it.
"""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.measuring import each_alone, in_turns, seconds_of
from benchmarks.settings import student_on

TURNS, STEPS = 5, {"small": 40, "large": 3}


def measure(name: str) -> dict[str, Any]:
    """One setting."""
    from must_keras.training import diagnostics

    steps = STEPS[name]
    model, training, feed = student_on(name, steps=steps * (TURNS + 1))
    ready = feed.batch_of(0)
    model.train_on_batch(*ready)
    (first,) = seconds_of(lambda: diagnostics.measure(model, ready), 1)

    def train() -> None:
        for _ in range(steps):
            model.train_on_batch(*ready)

    looks = {"steps": train, "look": lambda: diagnostics.measure(model, ready)}
    seconds = in_turns(looks, TURNS)
    step = statistics.median(seconds["steps"]) / steps
    look = statistics.median(seconds["look"])
    return {
        "setting": name,
        "batch": training.batch,
        "step_s": round(step, 4),
        "first_look_s": round(first, 3),
        "look_s": round(look, 3),
        "look_in_steps": round(look / step, 1),
        "share": round(look / (training.diagnose_every * step + look), 4),
    }


def main() -> None:
    """Both settings, each in a process of its own."""
    each_alone("benchmarks.diagnostics", [[name] for name in STEPS], measure)


if __name__ == "__main__":
    main()
