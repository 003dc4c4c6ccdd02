"""The sections of the report on data: pseudo-label datasets, label sources, leakage, samples."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup
from PIL import Image

from must_keras.inference import scoring, visualization
from must_keras.pseudo_labels import gates, leakage, viewer
from must_keras.report import html
from must_keras.report.results import RunResults, saved_picture

_SAMPLES = 3


def datasets(results: RunResults) -> Iterator[Markup]:
    """Yield size and quality of the pseudo-label datasets, those of the pools first.

    Example:
        list(datasets(RunResults(run=run, report=report)))
    """
    if (results.run.path / viewer.NAME).is_file():
        text = (
            '<a href="{}">The label viewer</a> shows the labels of all heads side by side, the '
            "least certain images first, with adjustable thresholds."
        )
        yield html.paragraph(Markup(text).format(viewer.NAME))
    pools = {pool.source.name for pool in results.recipe.pools}
    found = [
        (teacher, source, part)
        for teacher in results.recipe.teachers
        for source, part in results.labels(teacher).items()
    ]
    found.sort(key=lambda dataset: dataset[1] not in pools)
    rows, shown = [], []
    for teacher, source, part in found:
        result, name = part.result(), teacher.name
        if origin := teacher.origin:
            name = f"{name} (imported labels: {origin})"
        counts = (result.images, result.labelled, round(result.bytes / 1000))
        speed, quality = result.images_per_second, result.quality or {}
        metrics = ", ".join(f"{key} {html.number(value)}" for key, value in quality.items())
        rows.append([name, source, *counts, speed, metrics or "no ground truth"])
        what = "image, ground truth, pseudo label" if quality else "image, pseudo label"
        if picture := results.picture(part, teacher.task):
            caption = f"{teacher.name} on {source}: {what}"
            shown.append(html.task_photo(picture, caption, teacher.task))
    head = ["teacher", "source", "images", "labeled", "size (kB)", "images per second"]
    if rows:
        yield html.table([*head, "quality against ground truth"], rows)
    for sentence in gates.sentences(results.run):
        yield html.paragraph(f"{sentence}.")
    yield html.figures(shown)


def label_origins(results: RunResults) -> Iterator[Markup]:
    """Yield how many of the student's labels are ground truth, pseudo labels, missing, or empty.

    Example:
        list(label_origins(RunResults(run=run, report=report)))
    """
    student, counts = results.report["student"], results.report.get("label_counts")
    if not student:
        return
    if counts:
        yield _label_counts(counts, list(student["tasks"]))
    origins = {
        source: [_origins(heads[head]) for head in student["tasks"]]
        for source, heads in student["origins"].items()
    }
    table = html.table(["source", *student["tasks"]], [[k, *texts] for k, texts in origins.items()])
    sampled = "Labels of 1,000 images, sampled as the student's batches are."
    content = table + html.paragraph(sampled)
    yield html.folded("As the student's batches have them", content) if counts else content


_ORIGINS = {"true": "ground truth", "pseudo": "pseudo", "missing": "missing"}


def _origins(counts: Mapping[str, int]) -> str:
    """Return the numbers of a head's labels in words, those that are not 0."""
    found = [f"{counts[kind]:,} {name}" for kind, name in _ORIGINS.items() if counts[kind]]
    if counts.get("empty"):
        found.append(f"{counts['empty']:,} of them empty")
    return ", ".join(found) or "–"


def _label_counts(counts: Mapping[str, Any], heads: Sequence[str]) -> Markup:
    rows = []
    for source, found in counts.items():
        texts = [_origins(found["heads"][head]) for head in heads]
        rows.append([source, found["images"], found["read"], *texts])
    return html.table(["source", "images", "images read", *heads], rows) + html.paragraph(
        "The student's images by the origin of their label, of those that were read for this "
        "report, evenly spread over each source. Empty: a label that contains nothing, such as an "
        "image without any object above the threshold."
    )


def odd_sets(results: RunResults) -> Iterator[Markup]:
    """Yield the images of labeled sets without a label, and the pools that repeat training images.

    Example:
        list(odd_sets(RunResults(run=run, report=report)))
    """
    rows = []
    for source, found in (results.report.get("odd_sets") or {}).items():
        copies = ", ".join(f"{number:,} of {name}" for name, number in found["copies"].items())
        missing = ", ".join(f"{number:,} of {head}" for head, number in found["unlabeled"].items())
        rows.append([source, found["images"], missing or None, copies or None])
    if rows:
        head = ["source", "images", "without a label", "also training images of a teacher"]
        yield html.table(head, rows)


def left_out_images(results: RunResults) -> Iterator[Markup]:
    """Yield the training images that are also in a test split of the transfer runs.

    Example:
        list(left_out_images(RunResults(run=run, report=report)))
    """
    known = leakage.results(results.run)
    for source in leakage.sources(results.recipe):
        if source.name not in known:
            yield html.paragraph(f"{source.name}: not compared with the current test splits.")
            continue
        folder = results.run.leakage(source.name).folder
        see = (folder / leakage.LIST).relative_to(results.run.path)
        yield html.paragraph(f"{leakage.sentence(source.name, known[source.name], see=see)}.")
        if picture := saved_picture(folder / leakage.PICTURE):
            caption = f"{source.name}: training images beside their copies, the least similar pairs"
            yield html.photo(picture, caption)
    for sentence in leakage.of_teachers(results.run):
        yield html.paragraph(f"{sentence}.")


def samples(results: RunResults) -> Iterator[Markup]:
    """Yield training images of every labeled set with their ground truth.

    Example:
        list(samples(RunResults(run=run, report=report)))
    """
    recipe = results.recipe
    items = (*recipe.teachers, *recipe.transfers)
    sets = {item.name: (item.task, item.sets) for item in items if item.sets is not None}
    shown = []
    for name, (task, splits) in sets.items():
        (x, y), *_ = scoring.batches(
            splits.train,
            task,
            size=recipe.network.size,
            batch=recipe.evaluation_batch,
            max_unreadable=recipe.max_unreadable,
            limit=_SAMPLES,
        ).take(1)
        number = min(_SAMPLES, len(splits.train), recipe.evaluation_batch)
        truth = [visualization.take(y["labels"][task.name], i) for i in range(number)]
        row = [
            picture
            for i, label in enumerate(truth)
            for picture in visualization.row(
                task, x["image"][i].numpy(), label, area=x["area"][i].numpy()
            )
        ]
        grid = Image.fromarray(visualization.grid([row]))
        caption = f"{name}: training images and ground truth"
        shown.append(html.task_photo(grid, caption, task, *truth))
    yield html.figures(shown)
