"""The results of one run, as the sections of report.html ask for them."""

import dataclasses
import pathlib
from typing import Any, NamedTuple

from PIL import Image

from must_keras.config.recipe import AnyTeacher, Recipe
from must_keras.errors import DataError, UserError, reason, warn_once
from must_keras.runs import details
from must_keras.runs.artifact import Artifact
from must_keras.runs.details import EvaluationDetails
from must_keras.runs.fingerprint import describe
from must_keras.runs.run import Run
from must_keras.tasks.base import Task
from must_keras.transfer.grid import TransferRun, transfer_runs


class Evaluated(NamedTuple):
    """A model whose evaluation on a head's own set has details.

    Attributes:
        title: of the model, for people.
        folder: of its artifact.
        details: of the head.

    Example:
        results.evaluated(teacher)[0].details.by_class["cat"]
    """

    title: str
    folder: pathlib.Path
    details: EvaluationDetails


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunResults:
    """The results of one run, as the sections of report.html ask for them.

    Attributes:
        run: the run.
        report: the content of report.json.

    Example:
        results = RunResults(run=run, report=json.loads((run.path / "report.json").read_text()))
        results.baselines()["student"]["parameters"]
    """

    run: Run
    report: dict[str, Any]

    @property
    def recipe(self) -> Recipe:
        """The recipe of the run."""
        return self.run.recipe

    def teachers(self) -> list[tuple[AnyTeacher, dict[str, Any]]]:
        """Return the complete teachers with their results."""
        found = [(t, self.run.teacher(t.name).result()) for t in self.recipe.teachers]
        return [(teacher, describe(result)) for teacher, result in found if result]

    def labels(self, teacher: AnyTeacher) -> dict[str, Artifact]:
        """Return {source: artifact} of a teacher's complete pseudo-label datasets."""
        return {s.name: labels for s, labels in self.run.label_sets(teacher) if labels.is_there}

    def baselines(self) -> dict[str, dict[str, Any]]:
        """Return {start: result} of the student and of the baselines, where complete."""
        found = {"student": self.report.get("student"), "supervised": self.report.get("supervised")}
        found |= self.report.get("selfsup") or {}
        return {start: result for start, result in found.items() if result}

    def images_seen(self, start: str) -> int | None:
        """Return the number of images that a start was trained on, repetitions included.

        Those of "rounds" are the last round's own; None where they are unknown.
        """
        if start == "random":
            return 0
        teachers = {f"teacher-{name}": made for name, made in self.report["teachers"].items()}
        made = self.baselines() | teachers
        made["rounds"] = made.get("student", {})
        return made.get(start, {}).get("images_seen")

    def kept(self) -> list[str]:
        """Return a sentence for each training that kept its best weights."""
        found = {f"teacher {teacher.name}": result for teacher, result in self.teachers()}
        found |= {
            k: self.baselines()[k] for k in ("student", "supervised") if k in self.baselines()
        }
        sentences = []
        for title, result in found.items():
            if (kept := result.get("kept")) is not None:
                stopped = kept.get("stopped")
                why = f"It stopped: {stopped}." if stopped else "It was not stopped early."
                sentences.append(
                    f"{title}: the weights of step {kept['step']} of {kept['trained']} are kept "
                    f"({kept['metric']} {kept['value']:.4f} on validation images). {why}"
                )
        return sentences

    def trainings(self) -> dict[str, pathlib.Path]:
        """Return {title: folder} of the trainings with a metrics.jsonl, in the order of stages."""
        found = {f"teacher {t.name}": self.run.teacher(t.name) for t in self.recipe.teachers}
        found |= {"student": self.run.student, "supervised": self.run.supervised}
        found |= {n: self.run.self_supervised(n) for n in self.report.get("selfsup") or {}}
        folders = {title: artifact.folder for title, artifact in found.items()}
        return {t: folder for t, folder in folders.items() if (folder / "metrics.jsonl").is_file()}

    def evaluated(self, teacher: AnyTeacher) -> list[Evaluated]:
        """Return the models with details of a teacher's head: teacher, student, baseline."""
        models = {"teacher": self.run.teacher(teacher.name), "student": self.run.student}
        models["supervised baseline"] = self.run.supervised
        found = ((k, one.folder, saved_details(one, teacher.task)) for k, one in models.items())
        return [Evaluated(*one) for one in found if one[2] is not None]

    def transfer_runs(self) -> list[TransferRun]:
        """Return all transfer runs of the recipe."""
        return [one for item in self.recipe.transfers for one in transfer_runs(self.run, item)]

    def picture(self, artifact: Artifact, task: Task) -> Image.Image | None:
        """Return the visualization of a head that a stage saved; None where there is none."""
        return saved_picture(artifact.folder / "pictures" / f"{task.name}.png")


def saved_details(artifact: Artifact, task: Task) -> EvaluationDetails | None:
    """Return the details of a complete artifact's head; None, with a warning, where damaged.

    Artifacts of versions before there were details have none.
    """
    try:
        return details.read(artifact.folder, task.name) if artifact.is_there else None
    except (DataError, UserError) as error:
        warn_once(f"details of an evaluation are left out: {error}")
        return None


def saved_picture(path: pathlib.Path) -> Image.Image | None:
    """Return a picture as RGB; None where there is none, with a warning where it is damaged."""
    if not path.is_file():
        return None
    try:
        return Image.open(path).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        warn_once(f"{path} is damaged and not shown: {reason(error)}")
        return None
