"""The sections of the report on teachers, student and baselines, and on each head."""

import collections
import math
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from must_keras.analysis import curves, shortfalls
from must_keras.config.recipe import AnyTeacher
from must_keras.inference import visualization
from must_keras.report import html
from must_keras.report.results import RunResults
from must_keras.runs.fingerprint import describe
from must_keras.runs.results import LabelsResult
from must_keras.tasks import thresholds
from must_keras.tasks.thresholds import DROPPED
from must_keras.training import untaught
from must_keras.training.diagnostics import COSINE, GRADIENT_SHARE, LOSS_SHARE

# Thresholds between two points of the curves.
_STEP = 0.01
_TRUE, _PSEUDO = "ground truth", "pseudo labels"


def learned_little(results: RunResults) -> Iterator[Markup]:
    """Yield the heads of the student that learned little, each with likely causes.

    Example:
        list(learned_little(RunResults(run=run, report=report)))
    """
    for found in results.report.get("shortfalls") or ():
        causes = html.bullets(shortfalls.advice(found))
        template = Markup('<div class="concern">{}{}</div>\n')
        yield template.format(shortfalls.sentence(found), causes)


def scores(results: RunResults) -> Iterator[Markup]:
    """Yield the metrics of teachers, student and baselines beside the trivial baseline.

    Example:
        list(scores(RunResults(run=run, report=report)))
    """
    found = results.baselines()
    models = {"student": "student", "supervised": "supervised baseline"}
    models = {title: found[name] for name, title in models.items() if name in found}
    weights = found.get("student", {}).get("loss_weights", {})
    sources = found.get("student", {}).get("loss_weight_sources", {})
    rows = []
    for teacher, result in results.teachers():
        name = teacher.task.name
        weight = html.number(weights.get(name))
        weight += f" ({sources[name]})" if name in sources else ""
        scored = [result, *(model["tasks"].get(name, {}) for model in models.values())]
        for metric, trivial in result["trivial"].items():
            values = [one.get("metrics", {}).get(metric) for one in scored]
            rows.append([name, html.metric_title(metric), trivial, *values, weight])
            name = weight = ""  # Once for each head.
    for name, one in (found.get("student", {}).get("self_labeled") or {}).items():
        for metric, value in one["metrics"].items():
            values = [one["trivial"][metric], None, value, *[None] * (len(models) - 1)]
            rows.append([name, html.metric_title(metric), *values, None])
            name = ""
    if not rows:
        return
    head = ["head", "metric", "trivial baseline", "teacher", *models, "loss weight"]
    yield html.table(head, rows)
    yield html.paragraph(
        "The trivial baseline is the best prediction that ignores the image. ↓: lower is "
        "better. AP as in COCO. Metric depth is scored as it is, with rmse in meters; relative "
        "depth after a scale of at least 0 and a shift, fitted by least squares in inverse "
        "depth; its correlation is measured before the fit, and negative where the prediction "
        "is inverted."
    )


def baselines(results: RunResults) -> Iterator[Markup]:
    """Yield what student and baselines learned from, and how self-supervised methods ended.

    Example:
        list(baselines(RunResults(run=run, report=report)))
    """
    found, rows = results.baselines(), []
    trained_on = {"student": "ground truth and pseudo labels", "supervised": "ground truth"}
    for name, result in found.items():
        what, last = trained_on.get(name), {}
        if what is None:
            what = f"{result['images']:,} images without labels ({result['method']})"
            last = result["metrics"]
        counts = (result["images_seen"], result["parameters"])
        rows.append([name, what, *counts, last.get("loss"), last.get("accuracy")])
    if not found.keys() - {"student"}:
        return
    head = ["start", "trained on", "images seen", "parameters", "final loss"]
    yield html.table([*head, "contrastive accuracy"], rows)
    yield html.paragraph(
        "Two views of one image count as one image seen. Contrastive accuracy: how often the "
        "other view of an image is the most similar of all candidates. The baselines are "
        "starts of the transfer runs."
    )
    methods = {start: result for start, result in found.items() if start not in trained_on}
    own = [
        [start, head, html.metric_title(metric), one["trivial"][metric], value]
        for start, result in methods.items()
        for head, one in (result.get("self_labeled") or {}).items()
        for metric, value in one["metrics"].items()
    ]
    if own:
        yield html.table(["start", "self-labeled head", "metric", "trivial baseline", "score"], own)


def rounds(results: RunResults) -> Iterator[Markup]:
    """Yield the scores of the students of self-training on validation.

    Example:
        list(rounds(RunResults(run=run, report=report)))
    """
    found = results.report.get("rounds")
    if not found:
        return
    heads = [teacher.task.name for teacher, _ in results.teachers()]
    rows, sizes = [], ["parameters"] if "parameters" in found["rounds"][0] else []
    for made in found["rounds"]:
        mean = html.Cell(made["mean"], "best" if made["round"] == found["best"] else "")
        size = [made.get(name) for name in sizes]
        rows.append([made["round"], *size, mean, *(made["validation"].get(n) for n in heads)])
    yield html.table(["round", *sizes, "mean on validation", *heads], rows)
    yield html.paragraph(
        "First metric of each head on the teachers' validation splits. The start “rounds” is "
        f"the student of round {found['best']}: {found['stopped']}."
    )


def each_head(results: RunResults) -> Iterator[Markup]:
    """Yield the thresholds, predictions of teacher and student, and charts of each head.

    Example:
        list(each_head(RunResults(run=run, report=report)))
    """
    for teacher, result in results.teachers():
        yield html.heading(teacher.task.name)
        yield from map(html.paragraph, reliability(result.get("reliability"), teacher.threshold))
        student = results.baselines().get("student", {})
        yield from map(html.paragraph, _untaught(teacher.task.name, result, student))
        yield from map(html.paragraph, threshold_sentences(teacher, results))
        yield _predictions(teacher, results)
        yield html.charts((*_charts(teacher, result, results), *threshold_charts(teacher, results)))


def training_curves(results: RunResults) -> Iterator[Markup]:
    """Yield kept steps and losses of every training, and how the student's heads share it.

    Example:
        list(training_curves(RunResults(run=run, report=report)))
    """
    yield html.bullets(results.kept())
    paths = results.trainings()
    series = {title: curves.read(path) for title, path in paths.items()}
    yield html.charts(
        curves.losses(f"{title}: training loss", found) for title, found in series.items() if found
    )
    yield html.charts(balance(paths["student"]) if "student" in paths else ())


def balance(folder: pathlib.Path) -> Iterator[Figure]:
    """Plot how the student's heads share its network; see training/diagnostics.py.

    Args:
        folder: of the student.
    """
    kinds = (
        (LOSS_SHARE, "share of each head in the weighted loss", "share"),
        (GRADIENT_SHARE, "share of each head in the backbone's gradient norms", "share"),
        (COSINE, "cosine between the heads' gradients of the backbone", "cosine"),
        ("_weight", "learned loss weights", "loss weight"),
    )
    for ending, title, y in kinds:
        series = curves.read(folder, (ending[1:],))
        if series:
            named = {name.removesuffix(ending): points for name, points in series.items()}
            yield curves.lines(f"student: {title}", named, y)


def reliability(found: Mapping[str, list[int]] | None, threshold: Any) -> list[str]:
    """Return what one threshold for all classes keeps of a teacher's predictions on validation."""
    if not found or not isinstance(threshold, float):
        return []
    first = math.ceil(threshold * len(found["answers"]) - 1e-9)
    kept, right = sum(found["answers"][first:]), sum(found["right"][first:])
    if not kept:
        return [f"No prediction on a validation image reaches the threshold of {threshold:g}."]
    return [
        f"The threshold of {threshold:g} keeps {kept / sum(found['answers']):.0%} of the teacher's "
        f"predictions on validation images; {right / kept:.0%} of these are correct."
    ]


def threshold_sentences(teacher: AnyTeacher, results: RunResults) -> Iterator[str]:
    """Yield what thresholds were chosen, what is dropped, and how many labels an image has."""
    if not teacher.task.records.takes_threshold:
        return
    if not results.run.is_resolvable(teacher):
        yield "The thresholds are not chosen yet: run the teacher stage to count the predictions."
        return
    chosen = results.run.choices(teacher)
    if chosen is not None:
        kept = thresholds.chosen_numbers(chosen)
        if kept:
            yield (
                f"The thresholds, {thresholds.span(kept)}, are the lowest at which "
                f"{teacher.threshold.value:.0%} of the teacher's predictions on validation images "
                "are correct."
            )
        if len(kept) < len(chosen):
            yield f"Of {len(chosen)} classes {thresholds.dropped(chosen)}."
    per_image = labels_per_image(teacher, results)
    if len(per_image) > 1:
        sums = [f"{sum(of_class.values()):.2f} in {kind}" for kind, of_class in per_image.items()]
        what = teacher.task.labels.count_unit.capitalize()
        yield f"{what}, per image, summed over classes: {', '.join(sums)}."
    elif _is_outdated(teacher, results):
        yield (
            "The statistics of the pseudo labels are those of another threshold: run "
            "the label stage to update them."
        )


def threshold_charts(teacher: AnyTeacher, results: RunResults) -> Iterator[Figure]:
    """Plot precision and recall against the threshold, and labels per image."""
    run, task = results.run, teacher.task
    if not task.records.takes_threshold or not run.is_resolvable(teacher):
        return
    if (counts := run.prediction_counts(teacher)) is not None:
        steps = [float(t) for t in np.arange(task.records.floor, 1.0 + 1e-9, _STEP)]
        standings = [[counts.at(k, t) for k in range(len(counts))] for t in steps]
        limits = run.resolved(teacher).limits()
        kept = [(float(t), counts.at(k, t)) for k, t in enumerate(limits) if t != DROPPED]
        yield curves.precision_recall(
            f"{task.name}: precision and recall on validation",
            steps,
            {
                name: [_mean([getattr(s, name) for s in of_step]) for of_step in standings]
                for name in ("precision", "recall")
            },
            chosen=[(t, s.precision) for t, s in kept if s.predictions],
            wanted=getattr(teacher.threshold, "value", None),
        )
    per_image = labels_per_image(teacher, results)
    if len(per_image) > 1:
        title = f"{task.name}: labels per image"
        yield curves.classes(title, per_image, task.labels.count_unit)


def labels_per_image(teacher: AnyTeacher, results: RunResults) -> dict[str, dict[str, float]]:
    """Return {kind of labels: {class: mean per image}}: the teacher's own set, and the pools.

    The unit is Labels.count_unit: objects, or shares of the image. What is unknown is absent.
    """
    found = {}
    own = results.run.teacher(teacher.name).result()
    if own and own.class_counts and own.counted:
        found[_TRUE] = {k: v / own.counted for k, v in own.class_counts.items()}
    counted = [result for result in _of_pools(teacher, results) if result.counted]
    if counted and not _is_outdated(teacher, results):
        images, totals = sum(result.counted for result in counted), collections.Counter()
        for result in counted:
            totals.update(result.class_counts)
        found[_PSEUDO] = {name: count / images for name, count in totals.items()}
    return found


def _of_pools(teacher: AnyTeacher, results: RunResults) -> list[LabelsResult]:
    """Return the results of a teacher's complete pseudo-label datasets of the pools."""
    names = {pool.source.name for pool in results.recipe.pools}
    return [part.result() for name, part in results.labels(teacher).items() if name in names]


def _is_outdated(teacher: AnyTeacher, results: RunResults) -> bool:
    """Return whether pseudo labels were counted at another threshold than the recipe's."""
    threshold = describe(results.run.resolved(teacher).threshold)
    return any(result.threshold != threshold for result in _of_pools(teacher, results))


def _untaught(head: str, teacher: dict[str, Any], student: dict[str, Any]) -> list[str]:
    """Return sentences on the outputs of a head that no label taught."""
    of_student = student.get("untaught", {}).get(head, [])
    parts = {"The teacher's": teacher.get("untaught", []), "The student's": of_student}
    return [untaught.note(whose, part) for whose, names in parts.items() for part in names]


def _predictions(teacher: AnyTeacher, results: RunResults) -> Markup:
    """Return image, ground truth, teacher and student on the same validation images."""
    models = (results.run.teacher(teacher.name), results.run.student)
    found = [results.picture(part, teacher.task) for part in models]
    grids = [np.asarray(picture) for picture in found if picture is not None]
    if not grids:
        return Markup("")
    titles = ("image", _TRUE, "teacher")
    shown = dict(zip(titles, visualization.columns(grids[0], 3), strict=True))
    # The images of a teacher of another input size are cropped in another way than the student's.
    if len(grids) == 2 and grids[1].shape == grids[0].shape:
        shown["student"] = visualization.columns(grids[1], 3)[2]
    row = [visualization.captioned(picture, text) for text, picture in shown.items()]
    caption = f"{teacher.task.name} on validation images: {', '.join(shown)}"
    return html.task_photo(Image.fromarray(visualization.grid([row])), caption, teacher.task)


def _charts(teacher: AnyTeacher, result: dict[str, Any], results: RunResults) -> Iterator[Figure]:
    """Plot class frequencies of ground truth and pseudo labels, and reliability."""
    name = teacher.task.name
    counts = {_TRUE: result["class_counts"]} if result.get("class_counts") else {}
    for part in results.labels(teacher).values():
        if of_class := part.result().class_counts:
            counts.setdefault(_PSEUDO, collections.Counter()).update(of_class)
    if counts:
        title = f"{name}: class frequencies"
        yield curves.classes(title, curves.shares(counts), "share of labels")
    if result.get("reliability"):
        threshold = teacher.threshold if isinstance(teacher.threshold, float) else None
        title = f"{name}: reliability of the teacher on validation"
        yield curves.reliability(title, result["reliability"], threshold)


def _mean(values: list[float]) -> float:
    known = [value for value in values if value == value]
    return float(np.mean(known)) if known else float("nan")
