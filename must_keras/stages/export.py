"""Stage 5: the backbone (the method's product), the pyramid, and a SavedModel of all heads.

And the student in formats of other runtimes, where the recipe asks for them.
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from must_keras.errors import DataError
from must_keras.exports import ExportFormat
from must_keras.exports.comparison import compared, sample_images
from must_keras.files import replacing
from must_keras.inference.model import backbone_of, export_saved_model, neck_of, serve
from must_keras.json_files import write_json
from must_keras.log import LOG
from must_keras.runs.artifact import Artifact
from must_keras.runs.export_results import ExportResult, HeadLikeness
from must_keras.runs.fingerprint import describe
from must_keras.runs.marks import FINISHED
from must_keras.runs.run import Run
from must_keras.runs.stage import Stage
from must_keras.stages import rounds, student
from must_keras.tasks.base import Task
from must_keras.tasks.parts import relative_difference
from must_keras.training import untaught
from must_keras.training.loop import load_artifact

# Reloaded weights are the same; what may differ is the order of a sum.
_TOLERANCE = 1e-4
# Where such a difference flips a decision, as an argmax, all that follows from it differs. So many
# decisions must agree.
_AGREEMENT = 0.99
# Images on which a format is compared with the student.
_NUM_COMPARED = 16

# Beside the files: how like the student each of them is.
_COMPARISONS = "export.json"

# Raised when the same inputs would give something else than before.
VERSION = 2


class Export(Stage):
    """The export of the student: backbone.keras, neck.keras, and a SavedModel of all heads.

    Where the first student is a labeler, it is the best student of the rounds.
    Each of `Recipe.exports` has a folder of its own in export/, and can be added to a complete run.

    Example:
        Executor((*earlier, Export()), load=load, workdir=path).make("export")
    """

    name = "export"

    def artifacts(self, run: Run) -> Iterator[Artifact]:
        def find_inputs() -> dict[str, Any] | None:
            result = _exported(run).result()
            return None if result is None else {"version": VERSION, "student": result}

        of_rounds = run.recipe.labelers
        needs = (rounds.best_student(run) if of_rounds else student.artifact(run),)
        yield run.export.declare(
            stage=self.name, find_inputs=find_inputs, needs=needs, restarts=True
        )
        for form in run.recipe.exports:
            yield _artifact(run, form, needs)

    def make(self, run: Run, pending: Sequence[Artifact]) -> None:
        forms = {run.export_of(form.name).folder: form for form in run.recipe.exports}
        for artifact in pending:
            if artifact.folder in forms:
                _write_format(run, artifact, forms[artifact.folder])
            else:
                _write(run, artifact)

    def conclude(self, run: Run, stages: Sequence[Stage]) -> None:
        write_json(run.export.folder / _COMPARISONS, describe(made(run)))

    def report(self, run: Run) -> dict[str, Any]:
        found = made(run)
        return {"exports": found} if found else {}


STAGE = Export()


def made(run: Run) -> dict[str, Any]:
    """Return how like the student all of its complete exports are.

    Returns:
        {"reloaded", "skipped": of the export itself, see `ExportResult`; "formats": {name:
        `FormatResult`}}, the formats that a command has added too; {} before the export is
        complete. What was made of an earlier student is left out.
    """
    student, plain = describe(_exported(run).result()), run.export.result()
    if plain is None or _student_of(run.export) != student:
        return {}
    folders = sorted(path.parent for path in run.export.folder.glob(f"*/{FINISHED}"))
    formats = [run.export_of(folder.name) for folder in folders]
    found = {one.folder.name: one.result() for one in formats if _student_of(one) == student}
    return plain.describe() | {"formats": found}


def _student_of(artifact: Artifact) -> Any:
    """Return the result of the student that a complete artifact exports."""
    return artifact.made_from().get("student")


def _exported(run: Run) -> Artifact:
    """Return the artifact of the student that is exported, to read."""
    return run.rounds if run.recipe.labelers else run.student


def _write(run: Run, artifact: Artifact) -> None:
    """Write the files, reload all of them and compare them with the student."""
    folder, model = artifact.begin(), load_artifact(_exported(run))
    height, width = model.size
    random = np.random.default_rng(0)
    square = random.integers(0, 256, (2, height, width, 3)).astype("float32")
    wide = random.integers(0, 256, (2, height * 3 // 4 + 1, width * 5 // 4, 3), dtype=np.uint8)
    parts, skipped, found = {"backbone.keras": backbone_of(model)}, {}, {}
    neck = neck_of(model)
    if neck is None:
        skipped["neck.keras"] = "no head reads the pyramid, so the student has none"
    else:
        parts["neck.keras"] = neck
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
            found[name] = compare(
                path, serve(model, images), reloaded.serve(images), run.recipe.tasks
            )
    for name, comparison in found.items():
        LOG.info(f"export: {folder}, {name}, reloaded: {comparison}")
    for name, reason in skipped.items():
        LOG.info(f"export: {folder}, {name} not written: {reason}")
    _write_labels(run.recipe.tasks, folder, model.untaught)
    for head, outputs in model.untaught.items():
        for output in outputs:
            LOG.info(f"export: {untaught.sentence(head, output)}")
    reloaded = {name: dataclasses.asdict(comparison) for name, comparison in found.items()}
    artifact.finish(ExportResult(reloaded=reloaded, skipped=skipped))


def _artifact(run: Run, form: ExportFormat, needs: tuple[Artifact, ...]) -> Artifact:
    """Declare the student in another format."""

    def find_inputs() -> dict[str, Any] | None:
        result = _exported(run).result()
        return None if result is None else {"version": VERSION, "format": form, "student": result}

    return run.export_of(form.name).declare(
        stage=Export.name,
        name=form.name,
        find_inputs=find_inputs,
        needs=needs,
        is_renewed=True,
        restarts=True,
    )


def _write_format(run: Run, artifact: Artifact, form: ExportFormat) -> None:
    """Write the student in another format, once its predictions are those of the student."""
    form.check_installed()
    folder, model = artifact.begin(), load_artifact(_exported(run))
    tests = [teacher.sets.test for teacher in run.recipe.trained_teachers]
    images = sample_images(tests or run.recipe.student_sources, _NUM_COMPARED)
    with _full_precision(), replacing(folder / form.file) as temporary:
        form.write(model, temporary)
        result = compared(form, temporary, model, images)
    for head, like in result.heads.items():
        LOG.info(f"export: {folder / form.file}, {head}: {_in_words(like)}")
    tasks = [task for task in run.recipe.tasks if task.name in result.heads]
    _write_labels(tasks, folder, model.untaught)
    artifact.finish(result)


def _in_words(like: HeadLikeness) -> str:
    found = f"largest relative difference {like.difference:.1e}"
    if like.agreement is not None:
        found += f", {like.agreement:.1%} of the decisions are equal"
    if like.objects is not None:
        found += (
            f", {like.matched} of {like.objects} objects match, lowest IoU {like.lowest_iou:.5f}"
        )
    return found


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
        agreement: smallest share of equal decisions, as pixels of a map or detections found by
            both; 1 where there are none.

    Example:
        >>> str(Comparison(difference=2e-6, agreement=1.0))
        'largest relative difference 2.0e-06, 100.0% of the decisions are equal'
    """

    difference: float
    agreement: float

    def __str__(self) -> str:
        return (
            f"largest relative difference {self.difference:.1e}, "
            f"{self.agreement:.1%} of the decisions are equal"
        )


def compare(
    path: pathlib.Path, one: Mapping[str, Any], other: Mapping[str, Any], tasks: Sequence[Task] = ()
) -> Comparison:
    """Compare the outputs of a model and of its reloaded file for the same images.

    Args:
        path: of the file, for messages.
        one: {"<head>.<key>" or level: tensor} of the model.
        other: the same of the file.
        tasks: the heads; each compares its own predictions.

    Raises:
        DataError: the outputs are not finite, or differ by more than the order of a sum explains.
    """
    if set(one) != set(other):
        raise DataError.at(path, f": outputs {sorted(other)}, the student has {sorted(one)}")
    differences, agreements = {}, {}
    one, other = ({k: np.asarray(v) for k, v in side.items()} for side in (one, other))
    for key, a in one.items():
        b = other[key]
        if a.shape != b.shape:
            raise DataError.at(path, f": {key} has shape {b.shape}, the student's {a.shape}")
        for side, value in (("the student's", a), (f"{path}:", b)):
            if not np.isfinite(value).all():
                raise DataError(f"{side} {key} is not finite everywhere")
    for task in tasks:
        prefix = f"{task.name}."
        sides = [
            {key.removeprefix(prefix): v for key, v in side.items() if key.startswith(prefix)}
            for side in (one, other)
        ]
        forms = task.predictions
        different, equal = forms.differences(*sides), forms.agreements(*sides, tolerance=_TOLERANCE)
        differences |= {prefix + key: value for key, value in different.items()}
        agreements |= {prefix + key: value for key, value in equal.items()}
    if not tasks:
        differences = {key: relative_difference(a, other[key]) for key, a in one.items()}
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


def _write_labels(
    tasks: Sequence[Task], folder: pathlib.Path, left_out: Mapping[str, Sequence[str]]
) -> None:
    """labels.json: {head: {"kind", "unit", "classes"}}, and "untaught" where outputs are left out.

    Args:
        tasks: the exported heads.
        folder: of the export.
        left_out: {head: outputs that no label taught}; the export does not have them.
    """
    value = {
        task.name: task.meaning()
        | ({"untaught": list(left_out[task.name])} if left_out.get(task.name) else {})
        for task in tasks
    }
    write_json(folder / "labels.json", value)
