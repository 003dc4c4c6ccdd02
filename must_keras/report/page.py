"""report.html: one file, no server, for a person."""

from __future__ import annotations

import base64
import io
import math
import pathlib
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from must_keras.analysis import curves
from must_keras.config.recipe import AnyTeacher, ImportedLabels, Recipe
from must_keras.data.splits import Splits
from must_keras.errors import reason
from must_keras.files import replacing, warn_once
from must_keras.inference import scoring, visualization
from must_keras.pseudo_labels import leakage, viewer
from must_keras.report import balance, thresholds, transfers
from must_keras.runs.workdir import Artifact, Workdir
from must_keras.stages.label import sources_to_label
from must_keras.tasks.base import Task
from must_keras.training import untaught
from must_keras.transfer.grid import cells

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
    environment.filters["number"] = transfers.number
    page = environment.get_template("page.html.j2").render(
        recipe=recipe,
        report=report,
        verdict=" ".join(transfers.verdicts(report)),
        starts=recipe.start_names,
        num_sets=len({row["set"] for row in report["transfers"]}),
        tables=transfers.tables(recipe, report),
        low_shot=[(title, _uri(chart, "png")) for title, chart in transfers.low_shot(report)],
        samples=_samples(recipe),
        labels=_labels(recipe, workdir),
        leaks=_leaks(recipe, workdir),
        label_page=viewer.NAME if (workdir.root / viewer.NAME).is_file() else None,
        heads=_heads(recipe, workdir),
        baselines=_baselines(report),
        curves=_curves(recipe, workdir, report),
        downstream=_downstream(recipe, workdir),
    )
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _photo(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, format="JPEG", quality=88)
    return _uri(buffer.getvalue(), "jpeg")


def _picture(part: Artifact, task: Task) -> str | None:
    return _saved_photo(part.folder / "pictures" / f"{task.name}.png")


def _saved_photo(path: pathlib.Path) -> str | None:
    """A picture that a stage has saved; None where there is none, with a warning if damaged."""
    image = _saved(path)
    return None if image is None else _photo(image)


def _saved(path: pathlib.Path) -> Image.Image | None:
    if not path.is_file():
        return None
    try:
        return Image.open(path).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        warn_once(f"{path} is damaged and not shown: {reason(error)}")
        return None


def _samples(recipe: Recipe) -> list[tuple[str, str]]:
    """(name of the set, picture): images of each set with their labels."""
    sets: dict[str, tuple[Task, Splits]] = {
        item.name: (item.task, item.sets)
        for item in (*recipe.teachers, *recipe.transfers)
        if item.sets is not None
    }
    found = []
    for name, (task, splits) in sets.items():
        (x, y), *_ = scoring.batches(
            splits.train, task, recipe, size=recipe.network.size, limit=_SAMPLES
        ).take(1)
        rows = [
            visualization.beside(
                task,
                x["image"][i].numpy(),
                visualization.take(y["labels"][task.name], i),
                area=x["area"][i].numpy(),
            )
            for i in range(min(_SAMPLES, len(splits.train), recipe.evaluation_batch))
        ]
        grid = visualization.grid([[picture for row in rows for picture in row]])
        found.append((name, _photo(Image.fromarray(grid))))
    return found


def _labels(recipe: Recipe, workdir: Workdir) -> list[dict[str, Any]]:
    """The finished columns, those of the pools first: they are what the teachers are for."""
    pools = {pool.source.name for pool in recipe.pools}
    found = []
    for teacher in recipe.teachers:
        for source in sources_to_label(recipe, teacher):
            part = workdir.labels(teacher.name, source.name)
            if part.result():
                found.append(
                    {
                        "teacher": teacher.name,
                        "origin": teacher.origin if isinstance(teacher, ImportedLabels) else None,
                        "source": source.name,
                        "result": part.result(),
                        "picture": _picture(part, teacher.task),
                    }
                )
    return sorted(found, key=lambda column: column["source"] not in pools)


def _leaks(recipe: Recipe, workdir: Workdir) -> list[tuple[str, str | None]]:
    """(sentence, picture) of all that was compared with the test splits, and of the teachers."""
    known = leakage.results(recipe, workdir)
    found = []
    for source in leakage.sources(recipe):
        folder = workdir.leaks(source.name).folder
        picture, see = folder / leakage.PICTURE, (folder / leakage.LIST).relative_to(workdir.root)
        if source.name not in known:
            sentence = f"{source.name}: not compared with the test splits as they are now"
            found.append((sentence, None))
            continue
        shown = _saved_photo(picture)
        found.append((leakage.told(source.name, known[source.name], see=see), shown))
    return found + [(sentence, None) for sentence in leakage.of_teachers(recipe, workdir)]


def _heads(recipe: Recipe, workdir: Workdir) -> list[dict[str, Any]]:
    """What the page says of every head: metrics, pictures side by side, charts."""
    student = workdir.student.result() or {"tasks": {}}
    found = []
    for teacher in recipe.teachers:
        name = teacher.task.name
        result = workdir.teacher(teacher.name).result()
        if result:
            found.append(
                {
                    "name": name,
                    "teacher": result,
                    "student": student["tasks"].get(name),
                    "untaught": _untaught(name, result, student),
                    "picture": _side_by_side(teacher.task, workdir, teacher.name),
                    "charts": _charts(teacher, workdir, result, recipe)
                    + [
                        (title, _uri(chart, "png"))
                        for title, chart in thresholds.charts(teacher, recipe, workdir)
                    ],
                    "thresholds": thresholds.sentences(teacher, recipe, workdir),
                    "sure": _sure(result.get("reliability"), teacher.threshold),
                }
            )
    return found


def _untaught(head: str, teacher: dict[str, Any], student: dict[str, Any]) -> list[str]:
    """Sentences on the outputs of a head that nothing taught, of teacher and student."""
    of_student = student.get("untaught", {}).get(head, [])
    parts = {"The teacher's": teacher.get("untaught", []), "The student's": of_student}
    return [untaught.note(whose, part) for whose, names in parts.items() for part in names]


def _side_by_side(task: Task, workdir: Workdir, teacher: str) -> str | None:
    """Image, truth, teacher and student of the same validation images: one picture."""
    parts = [workdir.teacher(teacher), workdir.student]
    paths = [part.folder / "pictures" / f"{task.name}.png" for part in parts]
    grids = [np.asarray(image) for image in map(_saved, paths) if image is not None]
    if not grids:
        return None
    image, truth, said = visualization.columns(grids[0], 3)
    shown = {"image": image, "truth": truth, "teacher": said}
    # A teacher of another size is shown alone: its images are not cut as the student's.
    if len(grids) == 2 and grids[1].shape == grids[0].shape:
        shown["student"] = visualization.columns(grids[1], 3)[2]
    row = [visualization.captioned(picture, text) for text, picture in shown.items()]
    return _photo(Image.fromarray(visualization.grid([row])))


def _charts(
    teacher: AnyTeacher, workdir: Workdir, result: dict[str, Any], recipe: Recipe
) -> list[tuple[str, str]]:
    """(title, picture): class counts of true and pseudo labels, reliability."""
    charts = []
    counts = {"true": result["class_counts"]} if result.get("class_counts") else {}
    for source in sources_to_label(recipe, teacher):
        column = workdir.labels(teacher.name, source.name).result()
        if column and column.get("class_counts"):
            pseudo = counts.setdefault("pseudo", dict.fromkeys(column["class_counts"], 0.0))
            for name, value in column["class_counts"].items():
                pseudo[name] += value
    if counts:
        title = f"{teacher.task.name}: classes of its labels"
        charts.append((title, _uri(curves.shares(title, counts), "png")))
    if result.get("reliability"):
        title = f"{teacher.task.name}: how often the teacher is right"
        threshold = teacher.threshold if isinstance(teacher.threshold, float) else None
        picture = curves.reliability(title, result["reliability"], threshold)
        charts.append((title, _uri(picture, "png")))
    return charts


def _sure(found: dict[str, list[int]] | None, threshold: Any) -> str | None:
    """One sentence about what a threshold keeps."""
    if not found or not isinstance(threshold, float):
        return None
    first = math.ceil(threshold * len(found["answers"]) - 1e-9)
    kept, right = sum(found["answers"][first:]), sum(found["right"][first:])
    if not kept:
        return f"No answer to a validation image reaches the threshold of {threshold:g}."
    share = kept / sum(found["answers"])
    return (
        f"Its threshold of {threshold:g} keeps {share:.0%} of its answers to validation images; "
        f"{right / kept:.0%} of these are right."
    )


def _baselines(report: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(start, result) of those that are finished, after the student that they are compared with."""
    parts = {"student": report["student"], "supervised": report.get("supervised")}
    parts |= report.get("selfsup", {})
    found = [(name, result) for name, result in parts.items() if result]
    return found if any(name != "student" for name, _ in found) else []


def _curves(recipe: Recipe, workdir: Workdir, report: dict[str, Any]) -> list[tuple[str, str]]:
    parts = {f"teacher {t.name}": workdir.teacher(t.name) for t in recipe.teachers}
    parts["student"] = workdir.student
    parts["supervised"] = workdir.supervised
    parts |= {name: workdir.selfsup(name) for name in report.get("selfsup", {})}
    found = []
    for title, part in parts.items():
        path = part.folder / "metrics.jsonl"
        if path.is_file() and (series := curves.read(path)):
            found.append((title, _uri(curves.plot(title, series), "png")))
    shown = balance.charts(workdir.student)
    return found + [(title, _uri(picture, "png")) for title, picture in shown]


def _downstream(recipe: Recipe, workdir: Workdir) -> list[tuple[str, str, str]]:
    """(set, start, picture) of the first seed: image, label, prediction."""
    found = []
    for cell in (cell for item in recipe.transfers for cell in cells(recipe, item)):
        picture = _picture(cell.part(workdir), cell.transfer.task) if cell.seed == 0 else None
        is_first = cell.protocol == recipe.protocols[0]
        if picture and is_first and cell.start in ("random", "student"):
            found.append((cell.transfer.name, cell.start, picture))
    return found
