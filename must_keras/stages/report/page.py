"""report.html: one file, no server, for a person."""

from __future__ import annotations

import base64
import io
import pathlib
from typing import Any

import jinja2
from PIL import Image

from must_keras.recipe import Recipe, Splits
from must_keras.stages import scoring
from must_keras.stages.label import sources_to_label
from must_keras.stages.report import curves, summary
from must_keras.stages.transfer import starts
from must_keras.tasks.base import Task
from must_keras.training import pictures
from must_keras.workdir import Part, Workdir

_SAMPLES = 3


def write(recipe: Recipe, workdir: Workdir, report: dict[str, Any], path: pathlib.Path) -> None:
    """Renders the page.

    Args:
        recipe: the run's values.
        workdir: where the parts' pictures and curves are.
        report: report.json's content.
        path: of the page.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    page = environment.get_template("page.html.j2").render(
        recipe=recipe,
        report=report,
        verdict=summary.verdict(report["transfers"]),
        table=summary.table(report["transfers"]),
        starts=starts(recipe),
        lower_is_better=summary.lower_is_better,
        samples=_samples(recipe),
        labels=_labels(recipe, workdir),
        heads=_heads(recipe, workdir),
        curves=_curves(recipe, workdir),
        downstream=_downstream(recipe, workdir),
    )
    path.write_text(page)


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _photo(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, format="JPEG", quality=88)
    return _uri(buffer.getvalue(), "jpeg")


def _picture(part: Part, task: Task) -> str | None:
    path = part.folder / "pictures" / f"{task.name}.png"
    return _photo(Image.open(path)) if path.is_file() else None


def _samples(recipe: Recipe) -> list[tuple[str, str]]:
    """(name of the set, picture): images of each set with their labels."""
    sets: dict[str, tuple[Task, Splits]] = {
        item.name: (item.task, item.sets) for item in (*recipe.teachers, *recipe.transfers)
    }
    found = []
    for name, (task, splits) in sets.items():
        (x, y), *_ = scoring.batches(splits.train, task, recipe, limit=_SAMPLES).take(1)
        rows = [
            pictures.beside(task, x["image"][i].numpy(), pictures.take(y["labels"][task.name], i))
            for i in range(min(_SAMPLES, len(splits.train)))
        ]
        grid = pictures.grid([[picture for row in rows for picture in row]])
        found.append((name, _photo(Image.fromarray(grid))))
    return found


def _labels(recipe: Recipe, workdir: Workdir) -> list[dict[str, Any]]:
    found = []
    for teacher in recipe.teachers:
        for source in sources_to_label(recipe, teacher):
            part = workdir.labels(teacher.name, source.name)
            if part.result():
                found.append(
                    {
                        "teacher": teacher.name,
                        "source": source.name,
                        "result": part.result(),
                        "picture": _picture(part, teacher.task),
                    }
                )
    return found


def _heads(recipe: Recipe, workdir: Workdir) -> list[dict[str, Any]]:
    student = workdir.student.result() or {"tasks": {}}
    found = []
    for teacher in recipe.teachers:
        part, name = workdir.teacher(teacher.name), teacher.task.name
        result = part.result()
        if result:
            found.append(
                {
                    "name": name,
                    "teacher": result,
                    "student": student["tasks"].get(name),
                    "teacher_picture": _picture(part, teacher.task),
                    "student_picture": _picture(workdir.student, teacher.task),
                }
            )
    return found


def _curves(recipe: Recipe, workdir: Workdir) -> list[tuple[str, str]]:
    parts = {f"teacher {t.name}": workdir.teacher(t.name) for t in recipe.teachers}
    parts["student"] = workdir.student
    found = []
    for title, part in parts.items():
        path = part.folder / "metrics.jsonl"
        if path.is_file() and (series := curves.read(path)):
            found.append((title, _uri(curves.plot(title, series), "png")))
    return found


def _downstream(recipe: Recipe, workdir: Workdir) -> list[tuple[str, str, str]]:
    """(set, start, picture) of the first seed: image, label, prediction."""
    found = []
    for transfer in recipe.transfers:
        for start in starts(recipe):
            part = workdir.transfer(transfer.name, start, recipe.neck, 0)
            picture = _picture(part, transfer.task)
            if picture and start in ("random", "student"):
                found.append((transfer.name, start, picture))
    return found
