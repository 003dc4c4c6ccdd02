"""Images of which a teacher said nothing, and why: they could not be read, or have no label."""

from __future__ import annotations

import json
import pathlib

from must_keras.config.recipe import AnyTeacher, ImportedLabels
from must_keras.data.sources import Source
from must_keras.errors import DataError, UserError
from must_keras.files import replacing
from must_keras.pseudo_labels.store import PseudoLabelReader


def write(
    teacher: AnyTeacher, source: Source, column: PseudoLabelReader, folder: pathlib.Path
) -> int:
    """Writes <folder>/quarantine.jsonl: {"index", "id", "reason"} of each image without labels.

    Returns:
        How many there are.
    """
    lines = []
    for index in range(len(column)):
        if column.is_empty(index):
            reason = _why(teacher, source, index)
            entry = {"index": index, "id": source.image_id(index), "reason": reason}
            lines.append(json.dumps(entry) + "\n")
    with replacing(folder / "quarantine.jsonl") as path:
        path.write_text("".join(lines), encoding="utf-8")
    return len(lines)


def _why(teacher: AnyTeacher, source: Source, index: int) -> str:
    if isinstance(teacher, ImportedLabels) and not source.is_gone(index):
        return teacher.why_none(source.image_id(index))
    try:
        source.image(index)
    except (UserError, DataError) as error:
        return str(error)
    return "it could not be read when it was labeled"
