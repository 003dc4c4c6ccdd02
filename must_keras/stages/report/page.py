"""report.html: one file, no server, for a person."""

from __future__ import annotations

import base64
import collections
import io
import math
import pathlib
import statistics
from collections.abc import Sequence
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from must_keras.data.splits import Splits
from must_keras.recipe import AnyTeacher, ForeignLabels, Recipe
from must_keras.stages import label_report, leaks, scoring
from must_keras.stages.label import sources_to_label
from must_keras.stages.report import curves, summary, thresholds
from must_keras.tasks.base import Task
from must_keras.training import pictures
from must_keras.training.model import NECK
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
        starts=recipe.start_names,
        table=_table(recipe, report["transfers"]),
        means=_means(report["transfer_means"], recipe.start_names),
        copied=[_copied(report["transfers"], start) for start in recipe.start_names],
        samples=_samples(recipe),
        labels=_labels(recipe, workdir),
        leaks=_leaks(recipe, workdir),
        label_page=label_report.NAME if (workdir.root / label_report.NAME).is_file() else None,
        heads=_heads(recipe, workdir),
        baselines=_baselines(report),
        curves=_curves(recipe, workdir, report),
        downstream=_downstream(recipe, workdir),
    )
    path.write_text(page)


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _table(recipe: Recipe, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A line of the transfer table for every set, with a cell for every start."""
    several = recipe.transfer_seeds > 1
    found = []
    for name, by_start in summary.table(rows).items():
        first = next(iter(by_start.values()))[0]
        better = summary.sign(first["metric"])
        averages = {
            start: better * statistics.fmean(summary.known_values(seeds))
            for start, seeds in by_start.items()
            if summary.known_values(seeds)
        }
        best = {start for start, value in averages.items() if value == max(averages.values())}
        cells = [
            _cell(by_start.get(start, []), is_best=start in best, several=several)
            for start in recipe.start_names
        ]
        found.append({"set": name, "cells": cells} | {k: first[k] for k in ("metric", "trivial")})
    return found


def _cell(rows: list[dict[str, Any]], *, is_best: bool, several: bool) -> dict[str, str]:
    """{"text", "classes", "title"} of a set from one start.

    With several seeds the text is the mean ± sample standard deviation (number of seeds), over
    the seeds that could be scored.
    """
    values = summary.known_values(rows)
    if not values:
        return {"text": "–", "classes": "", "title": ""}
    text = _number(statistics.fmean(values))
    if len(values) > 1:
        text += f" ± {_number(statistics.stdev(values))}"
    if several:
        text += f" ({len(values)})"
    first = rows[0]
    classes = ["best"] * is_best + ["aligned"] * (first["aligned"] != "none")
    return {
        "text": text,
        "classes": " ".join(classes),
        "title": f"{len(values)} seed(s), {first['images']} images, {first['steps']} steps, "
        f"aligned: {first['aligned']}, copied: {_named(first['copied']) or 'nothing'}",
    }


def _means(means: dict[str, dict[str, Any]], starts: Sequence[str]) -> list[tuple[str, list[str]]]:
    """(title, a text for every start) of the lines under the transfer table."""
    titles = {
        "with_task": ("mean gain", "sets"),
        "without_task": ("mean gain where no start is marked *", "sets_without_task"),
    }
    found = []
    for key, (title, count) in titles.items():
        num_sets = next((mean[count] for mean in means.values()), 0)
        values = [means.get(start, {}).get(key) for start in starts]
        texts = ["–" if value is None else f"{value:+.3f}" for value in values]
        found.append((f"{title} ({num_sets} {'set' if num_sets == 1 else 'sets'})", texts))
    return found


def _copied(rows: list[dict[str, Any]], start: str) -> str:
    """What of a start's weights its transfers began with."""
    sets = {row["set"]: row["copied"] for row in rows if row["start"] == start}
    if not sets:
        return "–"
    counts = collections.Counter(part for parts in sets.values() for part in parts)
    texts = [
        _named([part]) + (f" ({count} of {len(sets)} sets)" if count < len(sets) else "")
        for part, count in counts.items()
    ]
    return ", ".join(texts) or "nothing"


def _named(parts: Sequence[str]) -> str:
    return ", ".join("pyramid" if part == NECK else part for part in parts)


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
            pictures.beside(
                task,
                x["image"][i].numpy(),
                pictures.take(y["labels"][task.name], i),
                area=x["area"][i].numpy(),
            )
            for i in range(min(_SAMPLES, len(splits.train), recipe.evaluation_batch))
        ]
        grid = pictures.grid([[picture for row in rows for picture in row]])
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
                        "origin": teacher.origin if isinstance(teacher, ForeignLabels) else None,
                        "source": source.name,
                        "result": part.result(),
                        "picture": _picture(part, teacher.task),
                    }
                )
    return sorted(found, key=lambda column: column["source"] not in pools)


def _leaks(recipe: Recipe, workdir: Workdir) -> list[tuple[str, str | None]]:
    """(sentence, picture) of every pool beside the test splits."""
    known = leaks.results(recipe, workdir)
    found = []
    for source in leaks.sources(recipe):
        folder = workdir.leaks(source.name).folder
        picture, see = folder / leaks.PICTURE, (folder / leaks.LIST).relative_to(workdir.root)
        if source.name not in known:
            sentence = f"{source.name}: not compared with the test splits as they are now"
            found.append((sentence, None))
            continue
        shown = _photo(Image.open(picture)) if picture.is_file() else None
        found.append((leaks.told(source.name, known[source.name], see=see), shown))
    return found


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


def _side_by_side(task: Task, workdir: Workdir, teacher: str) -> str | None:
    """Image, truth, teacher and student of the same validation images: one picture."""
    parts = [workdir.teacher(teacher), workdir.student]
    paths = [part.folder / "pictures" / f"{task.name}.png" for part in parts]
    grids = [np.asarray(Image.open(p).convert("RGB")) for p in paths if p.is_file()]
    if not grids:
        return None
    image, truth, said = pictures.columns(grids[0], 3)
    shown = {"image": image, "truth": truth, "teacher": said}
    # A teacher of another size is shown alone: its images are not cut as the student's.
    if len(grids) == 2 and grids[1].shape == grids[0].shape:
        shown["student"] = pictures.columns(grids[1], 3)[2]
    row = [pictures.captioned(picture, text) for text, picture in shown.items()]
    return _photo(Image.fromarray(pictures.grid([row])))


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
    return found


def _downstream(recipe: Recipe, workdir: Workdir) -> list[tuple[str, str, str]]:
    """(set, start, picture) of the first seed: image, label, prediction."""
    found = []
    for transfer in recipe.transfers:
        for start in recipe.start_names:
            part = workdir.transfer(transfer.name, start, recipe.neck, 0)
            picture = _picture(part, transfer.task)
            if picture and start in ("random", "student"):
                found.append((transfer.name, start, picture))
    return found
