"""Nine starts on six downstream sets of synthetic scenes: what a student's backbone is worth.

The starts are random weights, each of the four teachers, the multi-task network on ground truth
alone, SimCLR, MoCo v2 and the student. Every trained start draws the same number of images (two
views of one count as one; small sets repeat). Every transfer fine-tunes all weights on all images
of its set, with a pyramid that is fresh for all, at the learning rate of three that is best on
validation. Another seed repeats everything: rendered worlds, teachers, labels, student, baselines
and transfers; the learning rates are those chosen with the first seed.

Command:   must-keras repeat scenes_benchmark:downstream=final --seeds=0,1,2
Five seeds of four starts: docs/how_to/transfers.md
Further:   mode=frozen, shots=20 and neck=fpn, on the same finished parts
To try:    scale=0.25 takes a quarter of all images and steps; settings are tuned on the dev sets
One seed:  python -m must_keras.main --experiment=scenes_benchmark
Hardware:  two CPU cores, 3 GB of memory, no GPU
Time:      measured on one core each: 50 minutes for the seed that chooses learning rates (162
           transfers and 54 more), 29 and 33 for two others (54 transfers each), 21 and 20 for two
           more with four starts: two hours and a half of a core, 78 minutes as two processes
Results:   docs/results/benchmark.md, as it came out; with --to=experiments/results/NAME.jsonl every
           transfer is kept as a line of that file
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from must_keras.config.recipe import Recipe

from . import scenes


def recipe(
    *,
    data_dir: str | None = None,
    seed: int = 0,
    scale: float = 1.0,
    starts: tuple[str, ...] = ("all",),
    neck: Literal["fpn", "backbone"] = "backbone",
    mode: Literal["full", "frozen"] = "full",
    shots: tuple[int | None, ...] = (None,),
    learning_rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2),
    rates_from: str | None = None,
    downstream: Literal["dev", "final"] = "dev",
) -> Recipe:
    """The recipe.

    Args:
        data_dir: where TFDS keeps the rendered images.
        seed: of everything, the rendered worlds too.
        scale: of all numbers of images and steps but those of downstream sets' images.
        starts: as those of `scenes`.
        neck: whether transfers take the pyramid along.
        mode: "frozen" trains heads alone.
        shots: as those of `scenes`.
        learning_rates: of the transfers, the better one on validation.
        rates_from: the folder of another run, whose choice is taken.
        downstream: "dev" sets to look at, "final" sets to score once for a published table.
    """
    steps = max(round(800 * scale), 1)
    base = scenes.recipe(
        data_dir=data_dir,
        seed=seed,
        data_seed=seed,
        pool_images=max(round(3000 * scale), 1),
        images=max(round(2000 * scale), 1),
        student_steps=steps,
        transfer_steps=max(round(100 * scale), 1),
        starts=starts,
        neck=neck,
        mode=mode,
        shots=shots,
        learning_rates=learning_rates,
        rates_from=rates_from,
        downstream=downstream,
    )
    teachers = tuple(
        dataclasses.replace(teacher, training=dataclasses.replace(teacher.training, steps=steps))
        for teacher in base.trained_teachers
    )
    return dataclasses.replace(base, name="scenes_benchmark", teachers=teachers)
