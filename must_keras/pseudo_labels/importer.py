"""The importer: labels that exist already become pseudo-label datasets; no model predicts."""

from __future__ import annotations

import concurrent.futures
import functools
import statistics
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from must_keras.config.imported_labels import ImportedLabels
from must_keras.data.sources import Source
from must_keras.errors import DataError, UserError
from must_keras.inference.visualization import spread
from must_keras.pseudo_labels.labeler import Range, check_readable
from must_keras.pseudo_labels.store import PseudoLabelWriter, num_bytes

_THREADS = 2
# Images that are looked up to know how many are labeled, and how large a label is.
_MEASURED = 64


class LabelImporter:
    """Writes the pseudo-label datasets of imported labels, as a Labeler does of models.

    Args:
        teachers: the labels.
        max_unreadable: see Recipe.
    """

    def __init__(self, teachers: Sequence[ImportedLabels], *, max_unreadable: float):
        self._max_unreadable = max_unreadable
        self._teachers = {teacher.name: teacher for teacher in teachers}

    def write(
        self,
        source: Source,
        writers: Mapping[str, PseudoLabelWriter],
        ranges: Sequence[Range],
        *,
        empty: Collection[int] = (),
    ) -> Iterator[Range]:
        """See AnyLabeler.write; an empty record may be of an image that the labels do not name.

        Raises:
            DataError: more labels than `Recipe.max_unreadable` allows cannot be read.
        """
        del empty
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
        print(f"skipped: {error}", file=sys.stderr)
        return None


def print_estimate(teacher: ImportedLabels, source: Source) -> None:
    """Print how many images of a source have imported labels, and the size of their dataset."""
    named = [source.image_id(i) for i, known in enumerate(teacher.known(source)) if known]
    looked = [named[place] for place in spread(_MEASURED, len(named))]
    records = [(image_id, teacher.record(image_id)) for image_id in looked]
    sizes = [num_bytes(*one, teacher.task) for one in records if one[1] is not None]
    count = round(len(named) * len(sizes) / max(len(looked), 1))
    each = statistics.fmean(sizes) if sizes else 0.0
    print(
        f"{source.name}: labels of about {count} of {len(source)} images come from {teacher.name}"
    )
    print(f"  {teacher.name}: {each:.0f} bytes a label, {each * count / 1e9:.3f} GB")
