"""Stage 5: the backbone (the method's product), the pyramid, and a SavedModel of all heads."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from must_keras.errors import DataError, UserError
from must_keras.files import write_json
from must_keras.recipe import Recipe
from must_keras.training.serving import backbone_of, export_saved_model, neck_of, serve
from must_keras.workdir import Workdir

# Reloaded weights are the same; what may differ is the order of a sum.
_TOLERANCE = 1e-4


def run(recipe: Recipe, workdir: Workdir, only: tuple[str, ...]) -> None:
    """Writes export/, reloads everything and compares it with the student."""
    del only
    student, part = workdir.student.result(), workdir.export
    if student is None:
        raise UserError("the student is not finished: run --stage=student first")
    inputs = {"student": student}
    if part.is_finished(inputs):
        print(f"export: finished before, {part.folder}")
        return
    folder = part.begin()
    model = keras.saving.load_model(workdir.student.model_path)
    size = model.size
    images = np.random.default_rng(0).integers(0, 256, (2, *size, 3)).astype("float32")
    differences = {}
    parts = {"backbone.keras": backbone_of(model), "neck.keras": neck_of(model)}
    for name, network in parts.items():
        network.save(folder / name)
        reloaded = keras.saving.load_model(folder / name)
        differences[name] = _difference(network, reloaded, images)
    export_saved_model(model, str(folder / "saved_model"))
    reloaded = tf.saved_model.load(str(folder / "saved_model"))
    differences["saved_model"] = _difference(
        lambda x: serve(model, x), reloaded.serve, tf.constant(images)
    )
    for name, difference in differences.items():
        print(f"export: {folder / name}, reloaded: largest relative difference {difference:.1e}")
        if difference > _TOLERANCE:
            raise DataError(f"{folder / name} does not predict what the student predicts")
    _write_labels(recipe, folder)
    part.finish(inputs, {"differences": differences})


def _difference(one: Callable[[Any], Any], other: Callable[[Any], Any], images: Any) -> float:
    """The largest difference between two models' outputs, relative to their size."""
    largest = 0.0
    for a, b in zip(tf.nest.flatten(one(images)), tf.nest.flatten(other(images)), strict=True):
        a, b = np.asarray(a, "float64"), np.asarray(b, "float64")
        largest = max(largest, float(np.abs(a - b).max(initial=0) / max(np.abs(a).max(), 1.0)))
    return largest


def _write_labels(recipe: Recipe, folder: pathlib.Path) -> None:
    """labels.json: {head: {"kind", "unit", "classes"}}."""
    value = {
        task.name: {
            "kind": task.kind,
            "unit": task.unit,
            "classes": list(getattr(task, "classes", ())),
        }
        for task in recipe.tasks
    }
    write_json(folder / "labels.json", value)
