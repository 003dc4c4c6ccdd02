"""README.md in student/ and export/: a model card, as hubs of models show it.

Its front matter is YAML in the form of Hugging Face's model cards; each value is JSON, which is
YAML too. It contains what the run has recorded, and no path of this machine.
"""

import html
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from must_keras.analysis import comparison
from must_keras.analysis.combined import markdown
from must_keras.config.teachers import AnyTeacher
from must_keras.data.sources import pool_name
from must_keras.errors import DataError, warn_once
from must_keras.files import replacing
from must_keras.json_files import find_json
from must_keras.log import LOG
from must_keras.runs.marks import CARD, RUN, is_signed, signed
from must_keras.runs.run import Run
from must_keras.tasks import thresholds

# Class names of a head that are listed; digits of a value.
_MAX_CLASSES = 40
_DECIMALS = 4

_OF_STUDENT = """\
    import must_keras as mk

    model = mk.load_model("model.keras")
    model.predict("photo.jpg").plot()"""
_OF_EXPORT = """\
    import keras

    backbone = keras.saving.load_model("backbone.keras")  # images [B, H, W, 3] RGB in [0, 255]
    features = backbone(images)  # {"C2", "C3", "C4", "C5"}"""
_FILES_OF_EXPORT = (
    "`backbone.keras` is the backbone in plain Keras, `neck.keras` the same with its pyramid where "
    "a head reads one, `saved_model/` predicts all heads, and `labels.json` has their class names."
)


def write(run: Run, report: Mapping[str, Any]) -> None:
    """Write the cards of a run's complete student and export; one that a person wrote stays.

    Args:
        run: the run.
        report: the content of report.json.
    """
    if not report.get("student"):
        return
    for artifact, of in ((run.student, "student"), (run.export, "export")):
        path = artifact.folder / CARD
        if not artifact.is_there:
            continue
        if path.exists() and not is_signed(path):
            LOG.info(f"{path} stays as it is: must_keras did not write it, or it was changed")
            continue
        with replacing(path) as temporary:
            temporary.write_text(signed(text(run, report, of=of)), encoding="utf-8")


def text(run: Run, report: Mapping[str, Any], *, of: str) -> str:
    """Return the card of a run's student, or of its export.

    Args:
        run: the run.
        report: the content of report.json, with a complete student.
        of: "student" or "export".
    """
    usage = [_FILES_OF_EXPORT, _OF_EXPORT] if of == "export" else [_OF_STUDENT]
    heads = ", ".join(teacher.task.name for teacher in run.recipe.teachers)
    blocks = [
        _front_matter(run, report, of),
        f"# {_escaped(run.recipe.name)}: {of}",
        "A network that was trained by multi-task self-training with must_keras: specialized "
        "teachers labeled images, and one student learned all of their tasks from ground truth and "
        f"pseudo labels. Its heads: {heads}.",
        "## Use",
        *usage,
        *_sections(run, report),
    ]
    return "\n\n".join(blocks) + "\n\n"


def _sections(run: Run, report: Mapping[str, Any]) -> Iterator[str]:
    """Yield headings, tables and sentences."""
    student = report["student"]
    yield "## Heads"
    yield markdown([["head", "labels", "unit", "classes"], *map(_head, run.recipe.teachers)])
    yield "## Metrics on test splits"
    yield _scores(run, report)
    yield "The trivial baseline is the best prediction that ignores the image."
    if report["transfers"]:
        yield "## Transfer runs"
        yield _transfers(report["transfers"])
        yield (
            "Each column is a start: the weights that a network has before it is trained on the "
            "downstream set. Values are of its test split, means over transfer seeds."
        )
    yield "## Training"
    yield _training(run, student)
    yield "## Teachers"
    yield _teachers(run, report)
    yield "## Data"
    yield _data(run)
    yield "## Provenance"
    yield _provenance(run, student)


def _head(teacher: AnyTeacher) -> list[str]:
    task, names = teacher.task, teacher.task.labels.classes
    shown = ", ".join(map(_escaped, names[:_MAX_CLASSES]))
    rest = f", and {len(names) - _MAX_CLASSES} more" if len(names) > _MAX_CLASSES else ""
    return [task.name, task.kind, task.unit or "–", f"{shown}{rest}" or "–"]


def _scores(run: Run, report: Mapping[str, Any]) -> str:
    lines = [["head", "test split", "metric", "student", "teacher", "trivial baseline"]]
    for teacher in run.recipe.teachers:
        head = teacher.task.name
        scored = report["student"]["tasks"].get(head, {})
        own = report["teachers"].get(teacher.name, {}).get("metrics", {})
        for metric, value in scored.get("metrics", {}).items():
            numbers = (value, own.get(metric), scored["trivial"].get(metric))
            where = _escaped(teacher.sets.test.name)
            lines.append([head, where, metric, *map(_number, numbers)])
    return markdown(lines) if len(lines) > 1 else "No head was scored: no labeled set was given."


def _transfers(rows: Sequence[Mapping[str, Any]]) -> str:
    protocols = comparison.by_protocol(rows)
    starts = list(dict.fromkeys(row["start"] for row in rows))
    lines = [["protocol", "downstream set", "metric", *starts]]
    for name, of_protocol in protocols.items():
        for downstream, found in comparison.compare(of_protocol)["sets"].items():
            values = [found["starts"].get(start, {}).get("value") for start in starts]
            line = [name, _escaped(downstream), found["metric"], *map(_number, values)]
            lines.append(line)
    return markdown(lines)


def _training(run: Run, student: Mapping[str, Any]) -> str:
    training, size = run.recipe.student.training, run.recipe.network.size
    # The recipe may give epochs, and the training may have stopped early.
    steps = student["images_seen"] // training.batch
    lines = [
        f"- {student['parameters']:,} parameters; inputs of {size} x {size} pixels",
        f"- {steps:,} steps of {training.batch} images: {student['images_seen']:,} images",
        f"- peak learning rate {training.learning_rate:g}, {type(training.optimizer).__name__}",
        f"- seed {run.recipe.seed}",
    ]
    for head, weight in student["loss_weights"].items():
        source = student["loss_weight_sources"].get(head)
        lines.append(f"- loss weight of {head}: {weight:g} ({source})")
    return "\n".join(lines)


def _teachers(run: Run, report: Mapping[str, Any]) -> str:
    lines = [["teacher", "head", "made", "threshold of its labels", "SHA-256 of its weights"]]
    for teacher in run.recipe.teachers:
        found = report["teachers"].get(teacher.name, {})
        made = "elsewhere" if teacher.origin is None else f"imported labels: {teacher.origin}"
        if teacher.is_trained_here:
            images = len(teacher.sets.train)
            made = f"trained on {images:,} images of {teacher.sets.train.name}"
        digest = found.get("model_sha256") or run.weights_sha256(teacher)
        cells = [teacher.name, teacher.task.name, made, _threshold(run, teacher), digest or "–"]
        lines.append(list(map(_escaped, cells)))
    return markdown(lines)


def _threshold(run: Run, teacher: AnyTeacher) -> str:
    if not teacher.task.records.takes_threshold or not run.is_resolvable(teacher):
        return "–"
    limits = [float(t) for t in run.resolved(teacher).limits() if t != thresholds.DROPPED]
    return thresholds.span(limits) if limits else "all classes are dropped"


def _data(run: Run) -> str:
    recipe, licenses = run.recipe, run.recipe.data_licenses or {}
    roles: dict[str, list[str]] = {}
    stated = {source.name: licenses.get(pool_name(source)) for source in recipe.sources}
    for kind, items in (("teacher", recipe.teachers), ("transfer", recipe.transfers)):
        for item in items:
            for split in ("train", "validation", "test") if item.sets is not None else ():
                name = getattr(item.sets, split).name
                roles.setdefault(name, []).append(f"{split} of {kind} {item.name}")
                stated[name] = stated[name] or stated[item.sets.train.name]
    for pool in recipe.pools:
        roles.setdefault(pool.source.name, []).append("pool of the student")
    lines = [["source", "images", "used as", "license"]]
    for source in recipe.sources:
        name, license = source.name, stated[source.name] or "not stated"
        used = ", ".join(dict.fromkeys(roles[name]))
        lines.append([_escaped(name), f"{len(source):,}", _escaped(used), _escaped(license)])
    return markdown(lines)


def _provenance(run: Run, student: Mapping[str, Any]) -> str:
    try:
        recorded = find_json(run.path / RUN, dict, remedy="run its recipe again") or {}
    except DataError as error:
        warn_once(str(error))
        recorded = {}
    commit, versions = recorded.get("git_commit"), recorded.get("versions") or {}
    lines = [
        f"- recipe: {_escaped(run.recipe.name)}",
        f"- SHA-256 of the student's model.keras: {student['model_sha256']}",
    ]
    lines += [f"- must_keras: commit {commit}"] if commit else []
    lines += [f"- {package} {version}" for package, version in versions.items()]
    return "\n".join(lines) + "\n\nCommit and versions are of the last command of the run."


def _front_matter(run: Run, report: Mapping[str, Any], of: str) -> str:
    recipe, results = run.recipe, []
    for teacher in recipe.teachers:
        scored = report["student"]["tasks"].get(teacher.task.name, {}).get("metrics", {})
        known = {metric: value for metric, value in scored.items() if value is not None}
        if not known or not teacher.task.hub_task:
            continue
        metrics = [
            {"type": metric, "name": metric, "value": round(value, _DECIMALS)}
            for metric, value in known.items()
        ]
        name = teacher.sets.test.name
        results.append(
            {
                "task": {"type": teacher.task.hub_task, "name": teacher.task.name},
                "dataset": {"type": name, "name": name},
                "metrics": metrics,
            }
        )
    hub_tasks = [teacher.task.hub_task for teacher in recipe.teachers if teacher.task.hub_task]
    tags = dict.fromkeys(("must_keras", "multi-task-self-training", *hub_tasks))
    values: dict[str, Any] = {"library_name": "keras", "tags": list(tags)}
    if of == "export":
        values["pipeline_tag"] = "image-feature-extraction"
    if results:
        values["model-index"] = [{"name": recipe.name, "results": results}]
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    return "\n".join(["---", *lines, "---"])


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.{_DECIMALS}g}"


def _escaped(value: str) -> str:
    """Return a text that is no HTML and no column of a table."""
    return html.escape(value, quote=False).replace("|", "\\|")
