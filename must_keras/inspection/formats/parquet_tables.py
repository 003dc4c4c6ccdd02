"""Parquet files with a column of images, as Hugging Face datasets are stored."""

from collections.abc import Mapping
from typing import Any

from must_keras.data.io.parquet_files import class_names, image_columns, opened
from must_keras.data.sources import ParquetImages
from must_keras.errors import UserError, not_allowed
from must_keras.inspection.answers import Answers, Question
from must_keras.inspection.formats.class_tables import CLASS_COLUMNS
from must_keras.inspection.formats.plain_images import for_tests
from must_keras.inspection.found import (
    TEST,
    TRAIN,
    VALIDATION,
    WHOLE,
    Findings,
    FoundPool,
    FoundSet,
    part,
)
from must_keras.inspection.kinds import Classes
from must_keras.inspection.shards import Shards, shards_of
from must_keras.inspection.tree import Tree

_FORM = "Parquet"
# The columns that most datasets have.
_IMAGE, _LABELS = "image", ("label", "labels")


class ParquetTables:
    """Folders of Parquet files with images, with one class each or without labels.

    Example:
        ParquetTables().find(Tree.of(pathlib.Path("beans")), Answers({})).sets
    """

    def find(self, tree: Tree, answers: Answers) -> Findings:
        found = Findings()
        for splits in shards_of(tree, ".parquet"):
            if len(splits) > 1 and WHOLE in splits:
                odd = splits.pop(WHOLE)
                found.unused[odd.first] = "its name has no split, as those of files beside it have"
            first = next(splits[s] for s in (TRAIN, WHOLE, VALIDATION, TEST) if s in splits)
            try:
                with opened(first.first) as file:
                    schema = file.schema_arrow
            except UserError as error:
                text = f"it cannot be used as it is ({error}): mend it, or leave it out"
                found.questions.append(Question(first.place, text, "kind", ("skip",)))
            else:
                _add(found, splits, first, schema, answers)
        return found


def _add(
    found: Findings, splits: Mapping[str, Shards], first: Shards, schema: Any, answers: Answers
) -> None:
    """Add the set or the pools of some files, or a question about them."""
    images = image_columns(schema)
    if not images:
        found.unused[first.first] = "it has no column of encoded images"
        return
    if len(images) > 1 and _IMAGE not in images:
        text = (
            f"which of its columns {', '.join(images)} is the image? write its source by hand, or "
            "leave it out"
        )
        found.questions.append(Question(first.place, text, "kind", ("skip",)))
        return
    image = _IMAGE if _IMAGE in images else images[0]
    stated = answers.at(first.place, "class")
    if stated is not None and stated not in schema.names:
        where = f"{first.place}:class={stated}: there is no such column"
        raise not_allowed(where, stated, schema.names)
    known = _label_columns(schema)
    usual = next((name for name in _LABELS if name in known), None)
    label = stated or usual or (known[0] if len(known) == 1 else None)
    if answers.of(first.place, "kind") == "images" or not (known or label or _numbers(schema)):
        _add_pools(found, splits, image, answers)
    elif label is not None:
        _add_set(found, splits, image, label, known)
    elif known:
        text = "which of its columns is the class?"
        found.questions.append(Question(first.place, text, "class", tuple(known)))
    else:
        text = (
            f"its column {_numbers(schema)} has numbers without names of classes: write its "
            "source by hand, with classes=, or use its images as unlabeled ones"
        )
        found.questions.append(Question(first.place, text, "kind", ("images",)))


def _label_columns(schema: Any) -> list[str]:
    """Return the columns of classes with names: those of ClassLabel, and texts that are so called.

    Args:
        schema: of an Arrow table.
    """
    from pyarrow import types

    called = (*CLASS_COLUMNS, *_LABELS)
    return [
        field.name
        for field in schema
        if class_names(schema, field.name)
        or (types.is_string(field.type) and field.name.lower() in called)
    ]


def _numbers(schema: Any) -> str | None:
    """Return the column of whole numbers that is called a label, or None."""
    from pyarrow import types

    named = (f.name for f in schema if types.is_integer(f.type) and f.name.lower() in _LABELS)
    return next(named, None)


def _add_set(
    found: Findings, splits: Mapping[str, Shards], image: str, label: str, known: list[str]
) -> None:
    parts = {
        split: part(ParquetImages, files=shards.files, image=image, label=label)
        for split, shards in splits.items()
    }
    if not {TRAIN, WHOLE} & parts.keys():  # Of one for tests alone, splits are made.
        parts = {WHOLE: next(iter(parts.values()))}
    places = {shards.place for shards in splits.values()}
    place = places.pop() if len(places) == 1 else places.pop().parent
    others = ", ".join(f"'{place}:class={one}'" for one in known if one != label)
    remarks = (f"{label} is the class; for another: {others}",) if others else ()
    found.sets.append(
        FoundSet(
            kind=Classes(),
            form=_FORM,
            place=place,
            parts=parts,
            takes_classes=True,
            has_order=False,
            remarks=remarks,
        )
    )


def _add_pools(found: Findings, splits: Mapping[str, Shards], image: str, answers: Answers) -> None:
    for split, shards in splits.items():
        if split in (VALIDATION, TEST) and answers.of(shards.place, "kind") != "images":
            why = "its images are unlabeled, and its name is"
            found.unused[shards.first] = for_tests(shards.place, why)
            continue
        source = part(ParquetImages, files=shards.files, image=image)
        found.pools.append(FoundPool(place=shards.place, part=source, form=_FORM))
