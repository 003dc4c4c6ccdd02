"""Open what is on disk: the folder of a run, or a trained model.

TensorFlow is imported where it is needed: to load a network.
"""

import dataclasses
import os
import pathlib
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from must_keras import stages
from must_keras.command import quiet_import
from must_keras.errors import UserError, nearest
from must_keras.json_files import find_json, read_json
from must_keras.runs import details, results
from must_keras.runs.artifact import Artifact
from must_keras.runs.details import EvaluationDetails
from must_keras.runs.marks import FINISHED, MARKS, RUN

if TYPE_CHECKING:
    import keras

    from must_keras.inference.model import Model

_REPORT = "report.json"


class _Recorded(TypedDict):
    """What is read of run.json."""

    recipe: dict[str, Any]


def load_model(path: str | os.PathLike[str], *, trusted: bool = False) -> "Model":
    """Load a trained model: of a run's folder its student.

    Args:
        path: a run's folder, the folder of its student or of a teacher, a model.keras, or an
            exported saved_model. All but the last are read as data.
        trusted: whether a SavedModel may run: it is a program that runs with your rights.

    Raises:
        UserError: there is no model, it is damaged, or it is a SavedModel that is not trusted.

    Example:
        model = mk.load_model("runs/scenes")
        model.predict("photo.jpg")["objects"].boxes
    """
    with quiet_import():
        from must_keras.inference.model import Model

    return Model.load(path, trusted=trusted)


def open_run(path: str | os.PathLike[str]) -> "Run":
    """Open the folder of a run, complete or not; nothing is made or changed.

    Raises:
        UserError: it is no folder of a run; has its `path`.

    Example:
        run = mk.open_run("runs/scenes")
        print(run.status())
    """
    root = pathlib.Path(path)
    if not (root / RUN).is_file():
        others = sorted(p.parent.name for p in root.parent.glob(f"*/{RUN}"))
        hint = f": {nearest(root.name, others)}" if others else ""
        problem = f"is no folder of a run: it has no {RUN}{hint}"
        raise UserError.at(root, problem, key="path", allowed=others)
    return Run(path=root)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _RunNetwork:
    """A network of a run: the folder with its files, and what is recorded of it.

    Attributes:
        artifact: its folder and result.
    """

    artifact: Artifact = dataclasses.field(repr=False)

    @property
    def path(self) -> pathlib.Path:
        """The folder with its model, metrics.jsonl and pictures."""
        return self.artifact.folder

    @property
    def is_complete(self) -> bool:
        """Whether it is trained and scored."""
        return self.artifact.is_there

    @property
    def result(self) -> Any:
        """All that is recorded of it: see runs/results.py.

        Raises:
            UserError: it is not complete yet; has its `path`.
        """
        found = self.artifact.result()
        if found is None:
            raise UserError.at(self.path, "is not complete: call mk.run with the same recipe")
        return found

    def _details(self, head: str) -> EvaluationDetails | None:
        return details.read(self.path, head)

    def load(self) -> "Model":
        """Load the network.

        Raises:
            UserError: it is not complete, or no network of must_keras.
        """
        path = self.artifact.model_path
        if self.result is not None and not path.is_file():
            problem = "has no network of must_keras: its labels come from elsewhere"
            raise UserError.at(self.path, problem)
        return load_model(path)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunTeacher(_RunNetwork):
    """A teacher of a run.

    Attributes:
        name: of the teacher.

    Example:
        run.teachers["shapes"].metrics["top1"]
        run.teachers["shapes"].load().predict("photo.jpg")
    """

    name: str

    @property
    def metrics(self) -> results.Metrics:
        """{metric: value} on the test split, the headline first; None where it is not defined."""
        return self.result.metrics

    @property
    def details(self) -> EvaluationDetails | None:
        """Values by class and size, confusions and worst images of the test split; None: none."""
        return self._details(self.result.task)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunStudent(_RunNetwork):
    """The student of a run.

    Example:
        run.student.metrics["objects"]["box_ap50"]
        run.student.load().predict("photo.jpg")
    """

    @property
    def metrics(self) -> dict[str, results.Metrics]:
        """{head: {metric: value}} on the test split of each head's set."""
        return {head: scored.metrics for head, scored in self.result.tasks.items()}

    @property
    def details(self) -> dict[str, EvaluationDetails]:
        """{head: values by class and size, confusions and worst images}, where there are any."""
        found = {head: self._details(head) for head in self.result.tasks}
        return {head: one for head, one in found.items() if one is not None}


class ArtifactState(NamedTuple):
    """How far an artifact is.

    Attributes:
        artifact: its folder in the run's, "teachers/shapes".
        state: "complete", "not made", or "begun, 120 of 800, will be resumed from the checkpoint of
            step 100".

    Example:
        >>> ArtifactState("student", "begun, 120 of 800").state
        'begun, 120 of 800'
    """

    artifact: str
    state: str


class Status(tuple[ArtifactState, ...]):
    """How far the artifacts of a run are, in the order of the stages; printed, a line for each.

    Example:
        >>> Status([ArtifactState("teachers/shapes", "complete")])
        teachers/shapes                                    complete
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "\n".join(f"{artifact:<50} {state}" for artifact, state in self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A run that is opened from its folder: what it is made from, and what came out.

    `mk.run` and `mk.open_run` return it. All values are read from the folder when they are asked
    for; nothing is made or changed.

    Attributes:
        path: the run's folder.

    Example:
        run = mk.open_run("runs/scenes")
        run.teachers["shapes"].metrics, run.student.metrics, run.transfers
    """

    path: pathlib.Path

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe as run.json records it: its resolved values as plain data, no Recipe.

        A recipe contains code, which no file of a run does: see SECURITY.md.
        """
        remedy = "call mk.run with the same recipe to write it anew"
        return read_json(self.path / RUN, _Recorded, remedy=remedy)["recipe"]

    @property
    def teachers(self) -> dict[str, RunTeacher]:
        """{name: teacher} of all teachers of the recipe, complete or not."""
        names = [teacher["name"] for teacher in self.recipe["teachers"]]
        kind = results.TeacherResult
        folders = {name: self.path / "teachers" / name for name in names}
        return {
            name: RunTeacher(name=name, artifact=Artifact(folder=folder, result_type=kind))
            for name, folder in folders.items()
        }

    @property
    def student(self) -> RunStudent:
        """The student, complete or not."""
        folder, kind = self.path / "student", results.StudentResult
        return RunStudent(artifact=Artifact(folder=folder, result_type=kind))

    @property
    def report(self) -> dict[str, Any]:
        """The content of report.json, which the last stage writes.

        Raises:
            UserError: it is not written yet; has its `path`.
        """
        path = self.path / _REPORT
        found = find_json(path, dict, remedy="run the report stage to write it anew")
        if found is None:
            raise UserError.at(path, "is not there: the last stage of the run writes it")
        return found

    @property
    def transfers(self) -> list[dict[str, Any]]:
        """The transfer runs: rows of report.json, with "set", "start", "metric", "value", ..."""
        return self.report["transfers"]

    def status(self) -> Status:
        """Return how far each artifact in the folder is; `print` gives a line for each.

        What a run with a changed recipe would do is another question: `must-keras status`.
        """
        marked = {file.parent for mark in MARKS for file in self.path.rglob(mark)}
        named = [teacher.path for teacher in self.teachers.values()] + [self.student.path]
        folders = sorted(marked.union(named), key=lambda folder: _place(folder, self.path))
        states = [
            ArtifactState(folder.relative_to(self.path).as_posix(), _state(folder))
            for folder in folders
        ]
        is_written = (self.path / _REPORT).is_file()
        return Status([*states, ArtifactState(_REPORT, "complete" if is_written else "not made")])

    def backbone(self) -> "keras.Model":
        """Return the student's backbone, a plain keras.Model: images of any size to {"C2".."C5"}.

        Images are [B, H, W, 3] RGB in [0, 255].

        Raises:
            UserError: the student is not complete.

        Example:
            features = run.backbone()(images)["C5"]
        """
        model = self.student.load().keras_model
        from must_keras.inference.model import backbone_of

        return backbone_of(model)


def _place(folder: pathlib.Path, root: pathlib.Path) -> tuple[int, pathlib.Path]:
    first, folders = folder.relative_to(root).parts[0], list(stages.FOLDERS.values())
    return (folders.index(first) if first in folders else len(folders), folder)


def _state(folder: pathlib.Path) -> str:
    if (folder / FINISHED).is_file():
        return "complete"
    if not any((folder / mark).is_file() for mark in MARKS):
        return "not made"
    artifact = Artifact(folder=folder)
    progress = artifact.progress()
    if progress is None:
        return "begun"
    return f"begun, {progress}, {artifact.resumption()}"
