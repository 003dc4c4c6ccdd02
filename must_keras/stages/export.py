"""Stage 5: the backbone (the method's product), the pyramid, and a SavedModel of all heads."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from must_keras.config.recipe import Recipe
from must_keras.errors import DataError, UserError
from must_keras.files import write_json
from must_keras.inference.saved_model import backbone_of, export_saved_model, neck_of, serve
from must_keras.runs.workdir import Workdir
from must_keras.training import untaught
from must_keras.training.fitting import load_part

# Reloaded weights are the same; what may differ is the order of a sum.
_TOLERANCE = 1e-4
# Where such a difference flips a decision, all that follows from it is another: an argmax, or which
# of two equal boxes survives. So many may not.
_AGREEMENT = 0.99
_DETECTIONS = ("boxes", "scores", "classes", "masks")

# Raised when the same inputs would give something else than before.
VERSION = 2


def run(recipe: Recipe, workdir: Workdir, only: tuple[str, ...]) -> None:
    """Writes export/, reloads everything and compares it with the student."""
    del only
    student, part = workdir.student.result(), workdir.export
    if student is None:
        raise UserError("the student is not finished: run --stage=student first")
    if part.is_finished(inputs(workdir)):
        print(f"export: finished before, {part.folder}")
        return
    folder = part.begin(inputs(workdir))
    model = load_part(workdir.student)
    height, width = model.size
    random = np.random.default_rng(0)
    square = random.integers(0, 256, (2, height, width, 3)).astype("float32")
    wide = random.integers(0, 256, (2, height * 3 // 4 + 1, width * 5 // 4, 3), dtype=np.uint8)
    parts, skipped = {"backbone.keras": backbone_of(model)}, {}
    neck = neck_of(model)
    if neck is None:
        skipped["neck.keras"] = "no head reads the pyramid, so the student has none"
    else:
        parts["neck.keras"] = neck
    found = {}
    with _full_precision():
        for name, network in parts.items():
            network.save(folder / name)
            # As the users of the file load it: with plain Keras.
            reloaded = keras.saving.load_model(folder / name)
            found[name] = compare(folder / name, network(square), reloaded(square))
        path = folder / "saved_model"
        export_saved_model(model, str(path))
        reloaded = tf.saved_model.load(str(path))
        for images in (square, wide):
            shape = "x".join(str(n) for n in images.shape[1:3])
            images = tf.constant(images)
            name = f"saved_model, {images.dtype.name} {shape}"
            found[name] = compare(path, serve(model, images), reloaded.serve(images))
    for name, comparison in found.items():
        print(f"export: {folder}, {name}, reloaded: {comparison}")
    for name, reason in skipped.items():
        print(f"export: {folder}, {name} not written: {reason}")
    _write_labels(recipe, folder, model.untaught)
    for head, parts_of_head in model.untaught.items():
        for part_of_head in parts_of_head:
            print(f"export: {untaught.sentence(head, part_of_head)}")
    part.finish(inputs(workdir), {"reloaded": found, "skipped": skipped})


def inputs(workdir: Workdir) -> dict:
    """What the export depends on."""
    return {"version": VERSION, "student": workdir.student.result()}


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    """No TensorFloat-32: with its 10 bits two orders of a sum differ by more than the tolerance."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """How like a model a reloaded one is.

    Attributes:
        difference: largest difference of a continuous output, relative to the output's size.
        agreement: smallest share of equal pixels of a map, or of detections found by both; 1 where
            there are neither.
    """

    difference: float
    agreement: float

    def __str__(self) -> str:
        return (
            f"largest relative difference {self.difference:.1e}, "
            f"equal decisions at least {self.agreement:.1%}"
        )


def compare(path: pathlib.Path, one: Mapping[str, Any], other: Mapping[str, Any]) -> Comparison:
    """Compares what a model and its reloaded file say of the same images.

    Args:
        path: of the file, for messages.
        one: {"<head>.<output>" or level: tensor} of the model.
        other: the same of the file.

    Raises:
        DataError: the outputs are not finite, or differ by more than the order of a sum explains.
    """
    if set(one) != set(other):
        raise DataError(f"{path}: outputs {sorted(other)}, the student has {sorted(one)}")
    differences, agreements = {}, {}
    one, other = ({k: np.asarray(v) for k, v in side.items()} for side in (one, other))
    for key, a in one.items():
        b, (head, _, output) = other[key], key.rpartition(".")
        if a.shape != b.shape:
            raise DataError(f"{path}: {key} has shape {b.shape}, the student's {a.shape}")
        for side, value in (("the student's", a), (f"{path}:", b)):
            if not np.isfinite(value).all():
                raise DataError(f"{side} {key} is not finite everywhere")
        if output == "boxes":
            parts = [n for n in _DETECTIONS if f"{head}.{n}" in one]
            agreements[f"{head}'s detections"] = _shared_detections(
                *({n: side[f"{head}.{n}"] for n in parts} for side in (one, other))
            )
        elif output == "map":
            agreements[key] = float(np.mean(a == b))
        elif output not in _DETECTIONS:
            differences[key] = float(np.abs(a - b).max() / max(np.abs(a).max(), 1.0))
    for key, difference in differences.items():
        if difference > _TOLERANCE:
            raise DataError(
                f"{path}: {key} differs from the student's by {difference:.1e} of its size, "
                f"more than {_TOLERANCE:.0e}"
            )
    for key, agreement in agreements.items():
        if agreement <= _AGREEMENT:
            raise DataError(
                f"{path}: {key} agree with the student's in {agreement:.1%}, "
                f"not in more than {_AGREEMENT:.0%}"
            )
    return Comparison(
        difference=max(differences.values(), default=0.0),
        agreement=min(agreements.values(), default=1.0),
    )


def _shared_detections(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> float:
    """The share of all detections, of either side, that the other side has too, at any rank.

    The same is what has the same class and, within the tolerance, score, box and mask. Boxes may
    differ by the tolerance times the largest coordinate.
    """
    sides = tuple({k: v.astype(np.float64) for k, v in side.items()} for side in (one, other))
    size = max(np.abs(sides[0]["boxes"]).max(initial=0), 1.0)
    shared = total = 0
    for i in range(len(sides[0]["boxes"])):
        a, b = ({k: v[i][side["classes"][i] >= 0] for k, v in side.items()} for side in sides)
        same = a["classes"][:, None] == b["classes"][None]
        same &= np.abs(a["scores"][:, None] - b["scores"][None]) <= _TOLERANCE
        same &= np.abs(a["boxes"][:, None] - b["boxes"][None]).max(-1) <= _TOLERANCE * size
        if "masks" in a:
            for j, k in np.argwhere(same):
                same[j, k] = np.abs(a["masks"][j] - b["masks"][k]).max() <= _TOLERANCE
        shared += int(same.any(1).sum() + same.any(0).sum())
        total += sum(same.shape)
    return shared / total if total else 1.0


def _write_labels(
    recipe: Recipe, folder: pathlib.Path, left_out: Mapping[str, Sequence[str]]
) -> None:
    """labels.json: {head: {"kind", "unit", "classes"}}, and "untaught" where outputs are left out.

    Args:
        recipe: the run's values.
        folder: of the export.
        left_out: {head: outputs that no label taught}; the SavedModel does not have them.
    """
    value = {
        task.name: {
            "kind": task.kind,
            "unit": task.unit,
            "classes": list(getattr(task, "classes", ())),
        }
        | ({"untaught": list(left_out[task.name])} if left_out.get(task.name) else {})
        for task in recipe.tasks
    }
    write_json(folder / "labels.json", value)
