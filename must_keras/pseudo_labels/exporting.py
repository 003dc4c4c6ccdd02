"""Pseudo-label datasets for other tools: at a threshold, the least certain images first."""

import contextlib
import csv
import dataclasses
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from must_keras.config.teachers import AnyTeacher
from must_keras.data.io.folders import SUFFIXES
from must_keras.data.names import check_inside
from must_keras.data.sources import Source, original_size, pool_name
from must_keras.data.sources.source import Stored, objects
from must_keras.data.writers import WRITERS, LabeledImage, Writer
from must_keras.errors import UserError, argument, not_allowed, warn
from must_keras.files import TEMPORARY
from must_keras.progress import track
from must_keras.pseudo_labels.store import PseudoLabelReader
from must_keras.runs.run import Run
from must_keras.tasks.base import Task
from must_keras.tasks.detection.labels import masks_of_some
from must_keras.tasks.summaries import Sketch
from must_keras.tasks.thresholds import Threshold

IMAGES, CERTAINTY = "images", "certainty.csv"
FORMATS = tuple(writer.name for writer in WRITERS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exported:
    """What was exported.

    Attributes:
        path: the folder.
        num_images: that were exported.
        num_labeled: images that have a pseudo label.

    Example:
        Exported(path=pathlib.Path("out"), num_images=50, num_labeled=5000)
    """

    path: pathlib.Path
    num_images: int
    num_labeled: int

    def __str__(self) -> str:
        return f"{self.num_images} of {self.num_labeled} labeled images: {self.path}"


class _Scored(NamedTuple):
    """A labeled image of a dataset, before its label is read in full."""

    reader: PseudoLabelReader
    index: int
    certainty: float | None
    mean_score: float | None

    @property
    def image_id(self) -> str:
        return self.reader.source.image_id(self.index)


def export(
    run: Run,
    to: pathlib.Path,
    *,
    format: str,
    threshold: Threshold = None,
    teacher: str | None = None,
    pool: str | None = None,
    least_certain: int | None = None,
    with_images: bool = True,
) -> Exported:
    """Write a pseudo-label dataset in the form of another tool.

    The folder contains images/, a copy of each original image that is exported, the files of the
    format, and certainty.csv: every labeled image with its certainty and its mean score, the least
    certain first. Coordinates are those of the upright original images.

    Args:
        run: with complete labels.
        to: a new folder.
        format: "coco", "yolo", "maps", "label-studio" or "csv".
        threshold: of the scores, at least the floor of the dataset; None: as the recipe has it.
        teacher: whose labels; None: the only one whose labels the format takes.
        pool: of which pool, or other source; None: the only pool.
        least_certain: how many images; those that have ground truth for the head are left out.
            None: all.
        with_images: whether images are copied. Links would not do: tools refuse images that lie
            elsewhere.

    Raises:
        UserError: the folder is not new, a name is not one of the run, labels are not complete, or
            the threshold or `least_certain` does not fit the labels.
    """
    writer = _writer(format)
    what = f"format={format} has {writer.contents}"
    found = chosen_teacher(run, teacher, what, writer.takes)
    task, datasets = found.task, _datasets(run, found, pool)
    if threshold is None:
        threshold = run.resolved(found).threshold
    task.records.check_threshold(threshold)
    scored = _ranked(datasets, task, threshold)
    chosen = scored if least_certain is None else _least_certain(scored, task, least_certain)
    with new_folder(to) as folder:
        _write_certainty(folder / CERTAINTY, scored)
        writing = writer(folder, task, origin=found.name)
        for one in track(chosen, f"export of {found.name}", len(chosen)):
            source, index = one.reader.source, one.index
            name, size = _image_name(source, index), original_size(source, index)
            if with_images:
                _copy(source, index, folder / IMAGES / name)
            label = label_of(task, one.reader.read(index), threshold)
            image = LabeledImage(name=name, size=size, label=label, certainty=one.certainty)
            writing.add(image)
        writing.close()
    return Exported(path=to, num_images=len(chosen), num_labeled=len(scored))


def label_of(task: Task, record: dict[str, Any], threshold: Threshold) -> Stored:
    """Return the stored label of a record at a threshold; objects keep their scores.

    Ignored regions of a record are no objects, and left out.
    """
    regions = task.records.sketch(record).regions
    if regions is None:
        return task.records.to_label(record, threshold)
    kept = np.flatnonzero(regions.kept(task.records.limits(threshold))).tolist()
    masks = [regions.masks[i] for i in kept]
    rows = [row for row, mask in enumerate(masks) if mask is not None]
    size = len(masks[rows[0]]) if rows else 1
    return objects(
        boxes=regions.boxes[kept],
        classes=regions.classes[kept],
        scores=regions.scores[kept],
        masks=masks_of_some(len(kept), rows, [masks[row] for row in rows], size=size),
        has_mask=[mask is not None for mask in masks],
    )


# ---- what is asked for ---------------------------------------------------------------------------


def _writer(format: str) -> type[Writer]:
    found = next((writer for writer in WRITERS if writer.name == format), None)
    if found is None:
        raise not_allowed(f"format={format}", format, FORMATS, key="format")
    return found


def chosen_teacher(
    run: Run, name: str | None, what: str, takes: Callable[[Task], bool]
) -> AnyTeacher:
    """Return the teacher that a name means, or the only one that fits.

    Args:
        run: of the teachers.
        name: of the teacher; None: the only one that fits.
        what: begins an error: "format=coco has boxes and masks".
        takes: whether labels of a task fit.

    Raises:
        UserError: there is no such teacher, or several and no name.
    """
    fitting = {one.name: one for one in run.recipe.teachers if takes(one.task)}
    if not fitting:
        raise UserError(f"{what}; no teacher of this run has such labels", key="format")
    if name is None and len(fitting) == 1:
        return next(iter(fitting.values()))
    if name not in fitting:
        own = f"teacher={name}" if name else f"{len(fitting)} teachers have such labels"
        raise not_allowed(f"{what}; {own}", str(name), fitting, key="teacher")
    return fitting[name]


def chosen_pool(run: Run, teacher: AnyTeacher, name: str | None) -> list[Source]:
    """Return the blocks of the pool, or the other source, that a name means.

    Raises:
        UserError: there is no such source, or several and no name.
    """
    pools = {pool_name(pool.source) for pool in run.recipe.pools}
    by_name: dict[str, list[Source]] = {}
    for source in run.recipe.sources_labeled_by(teacher):
        by_name.setdefault(pool_name(source), []).append(source)
    own = [one for one in by_name if one in pools]
    if name is None and len(own) == 1:
        return by_name[own[0]]
    if name not in by_name:
        what = (
            f"teacher {teacher.name!r} labels {len(own)} pools" if name is None else f"pool={name}"
        )
        raise not_allowed(what, str(name), by_name, key="pool")
    return by_name[name]


def _datasets(run: Run, teacher: AnyTeacher, pool: str | None) -> list[PseudoLabelReader]:
    readers = []
    for source in chosen_pool(run, teacher, pool):
        labels = run.labels(teacher.name, source.name)
        if not labels.is_there:
            raise UserError.at(
                labels.folder,
                f"has no complete labels of teacher {teacher.name!r}: run "
                f"{argument('stage', 'label')} first",
            )
        readers.append(PseudoLabelReader(labels.folder, source, teacher.task))
    return readers


# ---- certainty -----------------------------------------------------------------------------------


def _ranked(
    datasets: Sequence[PseudoLabelReader], task: Task, threshold: Threshold
) -> list[_Scored]:
    """Return the labeled images, the least certain first; in their order where none has any."""
    found, num_gone = [], 0
    limits = task.records.limits(threshold) if task.records.takes_threshold else np.zeros(0)
    for reader in datasets:
        for index in reader.filled.tolist():
            if reader.source.is_gone(index):
                num_gone += 1
                continue
            sketch = task.records.sketch(reader.read(index))
            found.append(_Scored(reader, index, sketch.certainty, _mean_score(sketch, limits)))
    if num_gone:
        warn(f"{num_gone} images are gone or have changed since they were labeled: left out")
    return sorted(found, key=lambda one: 1.0 if one.certainty is None else one.certainty)


def _mean_score(sketch: Sketch, limits: np.ndarray) -> float | None:
    """Return the mean score of what is labeled at a threshold; None where nothing has a score."""
    scores = np.zeros(0)
    if sketch.answers is not None:
        scores = sketch.answers.probabilities[:1]
    elif sketch.regions is not None:
        scores = sketch.regions.scores[sketch.regions.kept(limits)]
    elif sketch.pixels is not None:
        scores = sketch.pixels.confidence[sketch.pixels.kept(limits)] / 255.0
    return float(scores.mean()) if scores.size else None


def _least_certain(scored: Sequence[_Scored], task: Task, count: int) -> list[_Scored]:
    if count < 1:
        raise UserError.of("", "least_certain", count, "expected at least 1")
    if any(one.certainty is None for one in scored):
        problem = f"labels of kind {task.kind!r} have no scores, so none is less certain"
        raise UserError.of("", "least_certain", count, problem)
    without = [one for one in scored if task.name not in one.reader.source.labeled_heads(one.index)]
    return without[:count]


def _write_certainty(path: pathlib.Path, scored: Sequence[_Scored]) -> None:
    with path.open("x", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "certainty", "mean_score"])
        for one in scored:
            values = (one.certainty, one.mean_score)
            rows.writerow([one.image_id, *("" if v is None else f"{v:.4f}" for v in values)])


# ---- files ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def new_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yield a folder to write to, which gets its name when the block ends without an error."""
    _check_new(path)
    path = path.absolute()
    temporary = path.with_name(path.name + TEMPORARY)
    if temporary.exists():
        problem = "is there: another export writes to it, or was killed; delete it then"
        raise UserError.at(temporary, problem, key="to")
    try:
        temporary.mkdir(parents=True)
        yield temporary
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError):
            raise UserError.at(path, f"cannot be written: {error.strerror}", key="to") from None
        raise
    os.rename(temporary, path)


def _check_new(path: pathlib.Path) -> None:
    """Raise UserError where something is at the path already: nothing is overwritten."""
    if path.is_dir() and any(path.iterdir()):
        raise UserError.at(path, "is not empty; give a new folder", key="to")
    if path.exists() and not path.is_dir():
        raise UserError.at(path, "is a file; give a new folder", key="to")


def _image_name(source: Source, index: int) -> str:
    """Return the path of an image below images/: its id; that of one without a file is a PNG."""
    name = source.image_id(index)
    check_inside([name], f"source {source.name!r}")
    return name if source.file(index) or name.lower().endswith(SUFFIXES) else f"{name}.png"


def _copy(source: Source, index: int, path: pathlib.Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = source.file(index)
    if file is None:
        Image.fromarray(source.image(index)).save(path)
    else:
        shutil.copyfile(file, path)
