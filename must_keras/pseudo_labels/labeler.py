"""The labelers: one pass over a source for all of its teachers, each image decoded once."""

import concurrent.futures
import contextlib
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from must_keras import interruption
from must_keras.config.imported_labels import ImportedLabels
from must_keras.config.teachers import AnyTeacher
from must_keras.data.examples import LabeledExamples
from must_keras.data.pipeline import images_in_sizes
from must_keras.data.sources import Source, TolerantSource, without_labels
from must_keras.errors import DataError, UserError
from must_keras.inference import visualization
from must_keras.log import LOG
from must_keras.ops.maps import MAX_STORED_SIDE
from must_keras.pseudo_labels.store import PseudoLabelWriter
from must_keras.runs.run import Run

# So many images of a source may be unreadable whatever their share.
MAX_UNREADABLE_IMAGES = 10
_THREADS = 2

# {teacher: of its pseudo-label dataset}.
Writers = Mapping[str, PseudoLabelWriter]


class Range(NamedTuple):
    """Images of a source that some teachers label: one shard of each one's dataset.

    Example:
        Range(first=0, count=256, teachers=("shapes",))
    """

    first: int
    count: int
    teachers: tuple[str, ...]


class ImageRecord(NamedTuple):
    """The record of one image by one teacher; None where the image could not be read.

    Example:
        ImageRecord(teacher="shapes", image_id="a.png", record={"probabilities": array})
    """

    teacher: str
    image_id: str
    record: dict[str, Any] | None


def map_size(size: int) -> tuple[int, int]:
    """Return (H', W') in which maps are predicted for storing: the input's over a whole number."""
    factor = -(-size // MAX_STORED_SIDE)
    while size % factor:
        factor += 1
    return (size // factor, size // factor)


def pending_ranges(writers: Writers) -> list[Range]:
    """Return what is to be labeled, in order: ranges missing in the datasets of some teachers."""
    found: dict[tuple[int, int], list[str]] = {}
    for name, writer in writers.items():
        for pending in writer.pending_ranges():
            found.setdefault(pending, []).append(name)
    return [Range(*pending, tuple(names)) for pending, names in sorted(found.items())]


class AnyLabeler(Protocol):
    """What makes labels.

    This process (Labeler), many (ray_labeler.RayLabeler), or nobody (LabelImporter).

    Example:
        for done in labeler.write(source, writers, pending_ranges(writers)):
            print(done.count, "images")
    """

    def write(
        self, source: Source, writers: Writers, ranges: list[Range], *, empty: Iterable[int] = ()
    ) -> Iterator[Range]:
        """Write the shards of the ranges; yield each range when all of its shards are there.

        Args:
            source: the images.
            writers: of the teachers.
            ranges: what is missing there (see `pending_ranges`).
            empty: indices of images without labels in shards that were there before.

        Raises:
            DataError: more images than `Recipe.max_unreadable` allows cannot be read.
            Interrupted: SIGTERM came.
        """


class Labeler(contextlib.AbstractContextManager):
    """Teachers in this process, loaded and traced once; ranges are done in their order.

    Args:
        run: where the teachers are.
        teachers: those that label.

    Attributes:
        unreadable: {source: {index: why the image could not be read}}.

    Example:
        with Labeler(run, run.recipe.teachers) as labeler:
            for done in labeler.write(source, writers, pending_ranges(writers)):
                print(done.count, "images")
    """

    def __init__(self, run: Run, teachers: Sequence[AnyTeacher]):
        recipe = run.recipe
        self._batch, self._max_unreadable = recipe.evaluation_batch, recipe.max_unreadable
        self._tasks = {teacher.name: teacher.task for teacher in teachers}
        self._size_of = {t.name: t.input_size(recipe.network) for t in teachers}
        self._sizes = sorted(set(self._size_of.values()))
        self._predictors = {
            t.name: t.predictor(run.teacher(t.name).model_path, map_size(self._size_of[t.name]))
            for t in teachers
        }
        self._threads = concurrent.futures.ThreadPoolExecutor(_THREADS)
        self.unreadable: dict[str, dict[int, str]] = {}

    def __exit__(self, *raised: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    def write(
        self, source: Source, writers: Writers, ranges: list[Range], *, empty: Iterable[int] = ()
    ) -> Iterator[Range]:
        """See AnyLabeler.write."""
        batches = self.records(source, ranges, empty=empty)
        for part in ranges:
            with contextlib.ExitStack() as stack:
                add = {
                    name: stack.enter_context(writers[name].shard(part.first))
                    for name in part.teachers
                }
                for _ in range(_num_batches(part, self._batch)):
                    interruption.stop_if_asked()
                    for one in next(batches):
                        add[one.teacher](one.image_id, one.record)
            yield part

    def records(
        self, source: Source, ranges: list[Range], *, empty: Iterable[int] = ()
    ) -> Iterator[list[ImageRecord]]:
        """Return the records of the images of the ranges, batch by batch, in order.

        While threads encode one batch, the teachers predict from the next.
        """
        images = TolerantSource(without_labels(source))
        images.unreadable.update(unreadable_before(source, empty))
        self.unreadable[source.name] = images.unreadable
        batch = self._batch
        dataset = images_in_sizes(
            LabeledExamples(images, []),
            sizes=self._sizes,
            batch=batch,
            ranges=[range(part.first, part.first + part.count) for part in ranges],
        )
        asked = (part.teachers for part in ranges for _ in range(_num_batches(part, batch)))
        waiting: list[concurrent.futures.Future[ImageRecord]] | None = None
        for teachers, (views, places) in zip(asked, dataset, strict=True):
            indices = [int(i) for i in places.numpy() if i >= 0]
            check_readable(source, images.unreadable, self._max_unreadable)
            seen = [(name, *self._outputs(name, views)) for name in teachers]
            if waiting is not None:
                yield [future.result() for future in waiting]
            waiting = []
            for name, areas, outputs in seen:
                for i, index in enumerate(indices):
                    is_readable = index not in images.unreadable
                    one = visualization.take(outputs, i) if is_readable else None
                    of_image = (name, source.image_id(index), one, areas[i])
                    waiting.append(self._threads.submit(self._encode, *of_image))
        if waiting is not None:
            yield [future.result() for future in waiting]

    def _outputs(self, name: str, views: Sequence[dict[str, Any]]) -> tuple[np.ndarray, dict]:
        """Return the areas in the view of a teacher's size, and its outputs."""
        view = views[self._sizes.index(self._size_of[name])]
        outputs = self._predictors[name].outputs(view)[self._tasks[name].name]
        return np.asarray(view["area"]), tf.nest.map_structure(np.asarray, outputs)

    def _encode(
        self, name: str, image_id: str, outputs: Mapping[str, np.ndarray] | None, area: np.ndarray
    ) -> ImageRecord:
        record, size = None, self._size_of[name]
        if outputs is not None:
            record = self._tasks[name].records.from_prediction(outputs, area, (size, size))
        return ImageRecord(name, image_id, record)


class LabelImporter:
    """Writes the pseudo-label datasets of imported labels, as a Labeler does of models.

    Args:
        teachers: the labels.
        max_unreadable: see Recipe.

    Example:
        importer = LabelImporter([teacher], max_unreadable=0.1)
        done = sum(one.count for one in importer.write(source, writers, pending_ranges(writers)))
    """

    def __init__(self, teachers: Sequence[ImportedLabels], *, max_unreadable: float):
        self._max_unreadable = max_unreadable
        self._teachers = {teacher.name: teacher for teacher in teachers}

    def write(
        self, source: Source, writers: Writers, ranges: list[Range], *, empty: Iterable[int] = ()
    ) -> Iterator[Range]:
        """See AnyLabeler.write; an empty record may be of an image that the labels do not name.

        Raises:
            DataError: more labels than `Recipe.max_unreadable` allows cannot be read.
        """
        unreadable: dict[str, dict[int, str]] = {name: {} for name in writers}
        with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
            for part in ranges:
                indices = range(part.first, part.first + part.count)
                for name in part.teachers:
                    read = functools.partial(
                        _record, self._teachers[name], source, unreadable[name]
                    )
                    records = list(threads.map(read, indices))
                    check_readable(source, unreadable[name], self._max_unreadable)
                    ids = [source.image_id(index) for index in indices]
                    writers[name].write_shard(part.first, zip(ids, records, strict=True))
                yield part


def _record(
    teacher: ImportedLabels, source: Source, unreadable: dict[int, str], index: int
) -> dict[str, Any] | None:
    if source.is_gone(index):
        return None
    try:
        return teacher.record(source.image_id(index))
    except (UserError, DataError) as error:
        unreadable[index] = str(error)
        LOG.warning(f"skipped: {error}")
        return None


def unreadable_before(source: Source, empty: Iterable[int]) -> dict[int, str]:
    """Return {index: reason} of images that an earlier process could not read."""
    return {i: f"{source.image_id(i)!r} could not be read in an earlier run" for i in empty}


def check_readable(source: Source, reasons: Mapping[int, str], max_unreadable: float) -> None:
    """Raise DataError where more than a share of a source's images cannot be read.

    Args:
        source: the images.
        reasons: {index of an unreadable one: why}; another thread may add to it meanwhile.
        max_unreadable: the share.
    """
    # In the order of the images, whichever thread was first.
    unreadable = sorted(i for i in list(reasons) if not source.is_gone(i))
    if len(unreadable) > max(MAX_UNREADABLE_IMAGES, max_unreadable * len(source)):
        raise DataError(
            f"source {source.name!r}: {len(unreadable)} of {len(source)} images cannot be "
            f"read so far, more than max_unreadable={max_unreadable:g} of them; "
            f"the first: {reasons[unreadable[0]]}"
        )


def _num_batches(part: Range, batch: int) -> int:
    return -(-part.count // batch)
