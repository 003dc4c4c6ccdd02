"""Labels being made: one pass over a source for all teachers, each image decoded once."""

from __future__ import annotations

import concurrent.futures
import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from must_keras import interruption
from must_keras.config.recipe import AnyTeacher, ExternalTeacher, Recipe, Teacher
from must_keras.data.examples import LabeledExamples
from must_keras.data.pipeline import images_in_sizes
from must_keras.data.sources import Source, TolerantSource, without_labels
from must_keras.errors import DataError
from must_keras.inference import visualization
from must_keras.inference.external import ExternalPredictor
from must_keras.inference.predictor import Predictor
from must_keras.ops.maps import MAX_STORED_SIDE
from must_keras.pseudo_labels.store import PseudoLabelWriter
from must_keras.runs.workdir import Workdir
from must_keras.training.fitting import load_part

# So many images of a source may be unreadable whatever their share.
_FEW = 10
_THREADS = 2

Add = Callable[[str, Mapping[str, Any] | None], None]


class Range(NamedTuple):
    """Images of a source that some teachers label: one shard of each one's column."""

    first: int
    count: int
    teachers: tuple[str, ...]


class Said(NamedTuple):
    """What one teacher said of one image: a record, or None where it could not be read."""

    teacher: str
    image_id: str
    record: dict[str, Any] | None


def input_size(recipe: Recipe, teacher: AnyTeacher) -> int:
    """Pixels a side of the images that a teacher sees."""
    return teacher.model.size if isinstance(teacher, ExternalTeacher) else recipe.network.size


def map_size(size: int) -> tuple[int, int]:
    """(H', W') in which maps are predicted for storing: a whole part of the input's size."""
    factor = -(-size // MAX_STORED_SIDE)
    while size % factor:
        factor += 1
    return (size // factor, size // factor)


def pending_ranges(writers: Mapping[str, PseudoLabelWriter]) -> list[Range]:
    """What is to be labeled, in order: ranges that are missing in the columns of some teachers."""
    found: dict[tuple[int, int], list[str]] = {}
    for name, writer in writers.items():
        for pending in writer.pending_ranges():
            found.setdefault(pending, []).append(name)
    return [Range(*pending, tuple(names)) for pending, names in sorted(found.items())]


class Writes(Protocol):
    """What makes labels.

    This process (Labeler), many (ray_labeling.RayLabeler), or nobody (copying.LabelImporter).
    """

    def write(
        self,
        source: Source,
        writers: Mapping[str, PseudoLabelWriter],
        ranges: Sequence[Range],
        *,
        empty: Collection[int] = (),
    ) -> Iterator[Range]:
        """Writes the shards of the ranges; gives each range when all of its shards are there.

        Args:
            source: the images.
            writers: {teacher: of its column}.
            ranges: what is missing there (see `pending_ranges`).
            empty: indices of images without labels in shards that were there before.

        Raises:
            DataError: more images than `Recipe.max_unreadable` allows cannot be read.
            ToBeContinued: SIGTERM came.
        """


class Labeler:
    """Teachers in this process, loaded and traced once; ranges are done in their order.

    Args:
        recipe: the run's values.
        workdir: where the teachers are.
        teachers: those that label.

    Attributes:
        unreadable: {source: {index: why the image could not be read}}.
    """

    def __init__(
        self, recipe: Recipe, workdir: Workdir, teachers: Sequence[Teacher | ExternalTeacher]
    ):
        self._recipe = recipe
        self._teachers = {teacher.name: teacher for teacher in teachers}
        self._sizes = sorted({input_size(recipe, teacher) for teacher in teachers})
        self._predictors = {t.name: self._load(workdir, t) for t in teachers}
        self._threads = concurrent.futures.ThreadPoolExecutor(_THREADS)
        self.unreadable: dict[str, dict[int, str]] = {}

    def __enter__(self) -> Labeler:
        return self

    def __exit__(self, *raised: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    def _load(
        self, workdir: Workdir, teacher: Teacher | ExternalTeacher
    ) -> Predictor | ExternalPredictor:
        size = map_size(input_size(self._recipe, teacher))
        if isinstance(teacher, ExternalTeacher):
            return ExternalPredictor(teacher.model, teacher.task, size)
        return Predictor(load_part(workdir.teacher(teacher.name)), size)

    def write(
        self,
        source: Source,
        writers: Mapping[str, PseudoLabelWriter],
        ranges: Sequence[Range],
        *,
        empty: Collection[int] = (),
    ) -> Iterator[Range]:
        """See Writes."""
        batches = self.say(source, ranges, empty=empty)
        for part in ranges:
            with contextlib.ExitStack() as stack:
                add: dict[str, Add] = {
                    name: stack.enter_context(writers[name].shard(part.first))
                    for name in part.teachers
                }
                for _ in range(_num_batches(part, self._recipe.evaluation_batch)):
                    interruption.stop_if_asked()
                    for said in next(batches):
                        add[said.teacher](said.image_id, said.record)
            yield part

    def say(
        self, source: Source, ranges: Sequence[Range], *, empty: Collection[int] = ()
    ) -> Iterator[list[Said]]:
        """What the teachers say of the images of the ranges, batch by batch, in order.

        While one batch is encoded in threads the teachers see the next.
        """
        images = TolerantSource(without_labels(source))
        images.unreadable.update(unreadable_before(source, empty))
        self.unreadable[source.name] = images.unreadable
        batch = self._recipe.evaluation_batch
        dataset = images_in_sizes(
            LabeledExamples(images, []),
            sizes=self._sizes,
            batch=batch,
            ranges=[range(part.first, part.first + part.count) for part in ranges],
        )
        asked = (part.teachers for part in ranges for _ in range(_num_batches(part, batch)))
        waiting: list[concurrent.futures.Future[Said]] = []
        first = True
        for teachers, (views, places) in zip(asked, dataset, strict=True):
            indices = [int(i) for i in places.numpy() if i >= 0]
            check_readable(source, images.unreadable, self._recipe.max_unreadable)
            seen = [
                (name, tf.nest.map_structure(np.asarray, view), outputs)
                for name in teachers
                for view, outputs in [self._outputs(name, views)]
            ]
            if not first:
                yield [future.result() for future in waiting]
            first = False
            waiting = [
                self._threads.submit(
                    self._encode, name, source.image_id(index), None if unreadable else one, area
                )
                for name, view, outputs in seen
                for i, index in enumerate(indices)
                for unreadable in [index in images.unreadable]
                for one, area in [(visualization.take(outputs, i), view["area"][i])]
            ]
        if not first:
            yield [future.result() for future in waiting]

    def _outputs(self, name: str, views: Sequence[dict[str, Any]]) -> tuple[dict, dict]:
        """The view of a teacher's size, and what it says of it."""
        teacher = self._teachers[name]
        view = views[self._sizes.index(input_size(self._recipe, teacher))]
        outputs = self._predictors[name].outputs(view)[teacher.task.name]
        return view, tf.nest.map_structure(np.asarray, outputs)

    def _encode(
        self, name: str, image_id: str, outputs: Mapping[str, np.ndarray] | None, area: np.ndarray
    ) -> Said:
        if outputs is None:
            return Said(name, image_id, None)
        teacher = self._teachers[name]
        size = input_size(self._recipe, teacher)
        return Said(name, image_id, teacher.task.encode(outputs, area, (size, size)))


def unreadable_before(source: Source, empty: Iterable[int]) -> dict[int, str]:
    """{index: what is said of it} of images that an earlier process could not read."""
    return {i: f"{source.image_id(i)!r} could not be read in an earlier run" for i in empty}


def check_readable(source: Source, reasons: Mapping[int, str], max_unreadable: float) -> None:
    """Raises DataError where more than a share of a source's images cannot be read.

    Args:
        source: the images.
        reasons: {index of an unreadable one: why}; another thread may add to it meanwhile.
        max_unreadable: the share.
    """
    # In the order of the images, whichever thread was first.
    unreadable = sorted(i for i in list(reasons) if not source.is_gone(i))
    if len(unreadable) > max(_FEW, max_unreadable * len(source)):
        raise DataError(
            f"source {source.name!r}: {len(unreadable)} of {len(source)} images cannot be "
            f"read so far, more than max_unreadable={max_unreadable:g} of them; "
            f"the first: {reasons[unreadable[0]]}"
        )


def _num_batches(part: Range, batch: int) -> int:
    return -(-part.count // batch)
