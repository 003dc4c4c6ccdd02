"""The public functions: make a run, open a run's folder, load a model. `must_keras` names them.

TensorFlow is imported where it is needed: to make a run, and to load a network.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from must_keras import experiment, interruption, naming, stages
from must_keras.arguments import as_text
from must_keras.command import quiet_import
from must_keras.errors import UserError, nearest, not_allowed
from must_keras.json_files import find_json, read_json
from must_keras.runs import results
from must_keras.runs.artifact import Artifact
from must_keras.runs.marks import FINISHED, MARKS, RUN

if TYPE_CHECKING:
    import keras

    from must_keras.config.recipe import Recipe
    from must_keras.inference.model import Model

_STAGES = ("all", *stages.NAMES)
_REPORT = "report.json"
# Folders of a run, in the order of the stages.
_FOLDERS = (
    "teachers", "leaks", "labels", "student", "rounds", "supervised", "selfsup", "transfers",
    "export",
)  # fmt: skip


def run(
    recipe: "str | os.PathLike[str] | Recipe",
    workdir: str | os.PathLike[str] | None = None,
    *,
    stage: str = "all",
    only: Sequence[str] = (),
    strategy: str = "auto",
    **arguments: Any,
) -> "Run":
    """Make what is not complete of a run, and return it; the same call resumes an interrupted one.

    Args:
        recipe: a name in experiments/, the path of a recipe's file, or a Recipe.
        workdir: the run's folder; default is runs/<recipe>, and with arguments
            runs/<recipe>-<8 hexadecimal digits>, as on the command line.
        stage: "all", or one of "teacher", "label", "student", ...
        only: names of the teachers, self-supervised methods or transfers to make; empty: all.
        strategy: "auto", "one", "mirrored" or "tpu". Several machines train together on the
            command line only.
        arguments: of the recipe's function, as Python values; `data_dir`, where TFDS keeps its
            data sets, among them.

    Raises:
        UserError: a mistake in the call, in the recipe or in its data's folders.
        DataError: data that failed a check.
        Interrupted: SIGTERM was received; complete work and the current step are saved.

    Example:
        run = mk.run("scenes", seed=1, starts=("random", "student"))
        run.student.metrics["objects"]["box_ap50"]
    """
    if stage not in _STAGES:
        raise not_allowed(f"stage={stage}", stage, _STAGES, key="stage")
    only = (only,) if isinstance(only, str) else tuple(only)
    load, default = _loader(recipe, arguments)
    folder = pathlib.Path(default() if workdir is None else workdir)
    with quiet_import():
        from must_keras.runs.executor import Executor
        from must_keras.training.strategy import connects_machines

        all_stages = stages.load()
    if connects_machines(strategy):
        problem = (
            "several machines train together on the command line only: start `python -m "
            "must_keras.main --strategy=multiworker` on each of them"
        )
        raise UserError.of("", "strategy", strategy, problem)
    executor = Executor(all_stages, load=load, workdir=folder, only=only, strategy=strategy)
    with interruption.listening():
        executor.make(stage)
    return open_run(folder)


def _loader(recipe: Any, arguments: dict[str, Any]) -> tuple[Any, Any]:
    """Return what returns the recipe, and what returns its default workdir."""
    if isinstance(recipe, str | os.PathLike):
        name, values = os.fspath(recipe), dict(arguments)
        data_dir = values.pop("data_dir", None)
        experiment.find(name)
        return (
            functools.partial(experiment.load_with, name, values, data_dir=data_dir),
            lambda: experiment.default_workdir(name, as_text(values)),
        )
    with quiet_import():
        from must_keras.config.recipe import Recipe

    if not isinstance(recipe, Recipe):
        problem = "expected a name in experiments/, the path of a recipe's file, or a Recipe"
        raise UserError.of("", "recipe", recipe, problem)
    if arguments:
        key = next(iter(arguments))
        problem = "a Recipe takes no arguments: change the Recipe itself, or give a name or a path"
        raise UserError.of("", key, arguments[key], problem)

    def default() -> pathlib.Path:
        naming.check_name(recipe.name, "no workdir is given, and the recipe's name")
        return pathlib.Path("runs") / recipe.name

    return lambda: recipe, default


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

    def load(self) -> "Model":
        """Load the network.

        Raises:
            UserError: it is not complete, or no network of must_keras.
        """
        if self.is_complete and not self.artifact.model_path.is_file():
            problem = "has no network of must_keras: its labels come from elsewhere"
            raise UserError.at(self.path, problem)
        return load_model(self.result and self.artifact.model_path)


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


class ArtifactState(NamedTuple):
    """How far an artifact is.

    Attributes:
        artifact: its folder in the run's, "teachers/shapes".
        state: "complete", "begun, 120 of 800", "not made".

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
        return read_json(self.path / RUN, dict[str, Any], remedy=remedy)["recipe"]

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

        What a run with a changed recipe would do is another question: `--stage=status`.
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
    first = folder.relative_to(root).parts[0]
    return (_FOLDERS.index(first) if first in _FOLDERS else len(_FOLDERS), folder)


def _state(folder: pathlib.Path) -> str:
    if (folder / FINISHED).is_file():
        return "complete"
    if not any((folder / mark).is_file() for mark in MARKS):
        return "not made"
    progress = Artifact(folder=folder).progress()
    return "begun" if progress is None else f"begun, {progress}"
