"""Repeat factors and class weights on a long tail: accuracy of the rare and of all classes.

    python -m benchmarks.class_balance WORKDIR --seeds=3

The shapes teacher of `scenes` on a long tail: of class k a share of 0.6^k of its training images
stays, from about 250 images to 7; validation and test keep all classes alike. Trained plainly, with
repeat factors (threshold 0.25), with balanced class weights (power 0.5), and with both; the same
seeds for each. A JSON line for each training, then one for each difference from the plain training
of the same seed: the mean over seeds and its 95 % interval. `rare` is the mean top1 of the four
classes with the fewest images. Runs in WORKDIR that are complete are read and not made again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import statistics
from typing import Any

import numpy as np

import must_keras as mk
from experiments import scenes
from must_keras.analysis.comparison import t_interval
from must_keras.data.sources import Subset
from must_keras.runs import details

TAIL, STEPS, RARE = 0.6, 200, 4
VALUES = ("top1", "rare")


def long_tailed(source: mk.Source, head: str) -> mk.Source:
    """Of class k, the first images up to a share of TAIL^k of the most frequent class."""
    classes = np.array(
        [int(source.labels(i)[head]["probabilities"].argmax()) for i in range(len(source))]
    )
    most, kept = np.bincount(classes).max(), []
    for k in range(classes.max() + 1):
        kept += np.flatnonzero(classes == k)[: round(most * TAIL**k)].tolist()
    return Subset(source, sorted(kept), name=f"{source.name}_tail")


def teachers(seed: int) -> tuple[mk.Recipe, dict[str, mk.Teacher]]:
    """The recipe, and its first teacher in each way."""
    recipe = scenes.recipe(seed=seed, teacher_steps=STEPS)
    plain = recipe.teachers[0]
    train = long_tailed(plain.sets.train, plain.task.name)
    plain = dataclasses.replace(plain, sets=dataclasses.replace(plain.sets, train=train))
    weights = mk.balanced_class_weights(train, plain.task)
    weighted = dataclasses.replace(plain.task, class_weights=weights)
    factors = mk.RepeatFactors(threshold=0.25)
    return recipe, {
        "plain": plain,
        "repeat factors": dataclasses.replace(plain, repeat_factors=factors),
        "class weights": dataclasses.replace(plain, task=weighted),
        "both": dataclasses.replace(plain, task=weighted, repeat_factors=factors),
    }


def measure(recipe: mk.Recipe, teacher: mk.Teacher, path: pathlib.Path) -> dict[str, float]:
    """Train, or read what was trained: top1 of all test images, and the mean of rare classes."""
    others = recipe.teachers[1:]
    mk.run(
        dataclasses.replace(recipe, teachers=(teacher, *others)), path,
        stage="teacher", only=(teacher.name,),
    )  # fmt: skip
    found = details.read(path / "teachers" / teacher.name, teacher.task.name)
    of_classes = [one["top1"] for one in found.by_class.values()]
    counts = [one["images"] for one in found.by_class.values()]
    top1 = sum(c * v for c, v in zip(counts, of_classes, strict=True)) / sum(counts)
    # The classes are in the order of their training images.
    return {"top1": round(top1, 4), "rare": round(statistics.fmean(of_classes[-RARE:]), 4)}


def main() -> None:
    """Prints a line for each training and for each difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workdir", type=pathlib.Path)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    rows: dict[str, list[dict[str, Any]]] = {}
    for seed in range(asked.seeds):
        recipe, ways = teachers(seed)
        for name, teacher in ways.items():
            path = asked.workdir / f"{name.replace(' ', '_')}-{seed}"
            row = measure(recipe, teacher, path)
            rows.setdefault(name, []).append(row)
            print(json.dumps({"way": name, "seed": seed} | row), flush=True)
    for name, found in rows.items():
        line: dict[str, Any] = {"way": name}
        for value in VALUES:
            line[value] = round(statistics.fmean(row[value] for row in found), 4)
            pairs = zip(found, rows["plain"], strict=True)
            differences = [row[value] - plain[value] for row, plain in pairs]
            if name != "plain" and len(differences) > 1:
                interval = t_interval(differences)
                line[f"{value}_difference"] = [round(float(v), 4) for v in interval[:3]]
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
