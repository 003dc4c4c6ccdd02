"""What the page says of a head's thresholds: a chart, labels per image, what is dropped."""

from __future__ import annotations

import numpy as np

from must_keras.analysis import curves
from must_keras.config.recipe import AnyTeacher, Recipe
from must_keras.pseudo_labels import thresholds
from must_keras.runs.workdir import Workdir, describe
from must_keras.tasks.thresholds import DROPPED
from must_keras.training.thresholds import AtPrecision, PredictionCounts

# Thresholds between two points of the curves.
_STEP = 0.01


def charts(teacher: AnyTeacher, recipe: Recipe, workdir: Workdir) -> list[tuple[str, bytes]]:
    """(title, PNG): precision and recall against the threshold; labels per image."""
    if not teacher.task.takes_threshold or not thresholds.can_be_resolved(teacher, workdir):
        return []
    found = []
    counts = thresholds.counted(teacher, workdir)
    if counts is not None:
        title = f"{teacher.task.name}: what a threshold keeps of validation"
        found.append((title, _precision_recall(title, teacher, counts, workdir)))
    per_image = labels_per_image(teacher, recipe, workdir)
    if len(per_image) > 1:
        title = f"{teacher.task.name}: labels per image"
        found.append((title, curves.per_image(title, per_image)))
    return found


def sentences(teacher: AnyTeacher, recipe: Recipe, workdir: Workdir) -> list[str]:
    """What was chosen, what is dropped, how many labels an image has."""
    if not teacher.task.takes_threshold:
        return []
    if not thresholds.can_be_resolved(teacher, workdir):
        return ["Its thresholds are not chosen yet: --stage=teacher counts its answers."]
    found = []
    chosen = thresholds.choices(teacher, workdir)
    if chosen is not None:
        kept = thresholds.chosen_numbers(chosen)
        if kept:
            found.append(
                f"Its thresholds, {thresholds.span(kept)}, are the lowest at which "
                f"{teacher.threshold.value:.0%} of its answers to validation images are right."
            )
        if len(kept) < len(chosen):
            found.append(f"Of {len(chosen)} classes {thresholds.dropped(chosen)}.")
    per_image = labels_per_image(teacher, recipe, workdir)
    if len(per_image) > 1:
        told = [f"{sum(of_class.values()):.2f} {kind}" for kind, of_class in per_image.items()]
        what = teacher.task.counted.capitalize()
        found.append(f"{what}, per image, all classes together: {', '.join(told)}.")
    elif _read_elsewhere(teacher, recipe, workdir):
        found.append(
            "What is said of its pseudo labels is of another threshold: "
            "--stage=label looks at them again."
        )
    return found


def labels_per_image(
    teacher: AnyTeacher, recipe: Recipe, workdir: Workdir
) -> dict[str, dict[str, float]]:
    """{"true": {class: mean per image of its set}, "pseudo": the same of the pools}.

    Objects, or shares of the image: see Task.count_classes. What is not known is absent.
    """
    found = {}
    own = workdir.teacher(teacher.name).result() or {}
    if own.get("class_counts") and own.get("counted"):
        found["true"] = {k: v / own["counted"] for k, v in own["class_counts"].items()}
    results = [r for r in _columns(teacher, recipe, workdir) if r.get("counted")]
    if results and not _read_elsewhere(teacher, recipe, workdir):
        images = sum(result["counted"] for result in results)
        found["pseudo"] = {
            name: sum(result["class_counts"][name] for result in results) / images
            for name in teacher.task.classes
        }
    return found


def _columns(teacher: AnyTeacher, recipe: Recipe, workdir: Workdir) -> list[dict]:
    """What the finished columns for pools found."""
    parts = [workdir.labels(teacher.name, pool.source.name) for pool in recipe.pools]
    return [result for part in parts if (result := part.result())]


def _read_elsewhere(teacher: AnyTeacher, recipe: Recipe, workdir: Workdir) -> bool:
    """Whether a column was looked at with another threshold than the recipe's."""
    threshold = describe(thresholds.resolved(teacher, workdir).threshold)
    return any(r.get("threshold") != threshold for r in _columns(teacher, recipe, workdir))


def _precision_recall(
    title: str, teacher: AnyTeacher, counts: PredictionCounts, workdir: Workdir
) -> bytes:
    """Means over the classes that have answers, or something to be found; the choice marked."""
    steps = [float(t) for t in np.arange(teacher.task.floor, 1.0 + 1e-9, _STEP)]
    standings = [[counts.at(k, t) for k in range(len(counts))] for t in steps]
    limits = thresholds.limits(thresholds.resolved(teacher, workdir))
    kept = [(float(t), counts.at(k, t)) for k, t in enumerate(limits) if t != DROPPED]
    rule = teacher.threshold
    return curves.precision_recall(
        title,
        steps,
        {
            "precision": [_mean([s.precision for s in of_step]) for of_step in standings],
            "recall": [_mean([s.recall for s in of_step]) for of_step in standings],
        },
        chosen=[(t, s.precision) for t, s in kept if s.answers],
        wanted=rule.value if isinstance(rule, AtPrecision) else None,
    )


def _mean(values: list[float]) -> float:
    known = [value for value in values if value == value]
    return float(np.mean(known)) if known else float("nan")
