"""TensorFlow datasets by name."""

import pathlib
from collections.abc import Iterable
from typing import Any

import tensorflow_datasets as tfds

from must_keras.data.sources import TfdsSource, box_reading, class_reading, tfds_builder
from must_keras.errors import UserError, not_allowed, reason
from must_keras.inspection.answers import TFDS, Question
from must_keras.inspection.code import Call, Text
from must_keras.inspection.found import TEST, TRAIN, VALIDATION, WHOLE, Findings, FoundSet, Part
from must_keras.inspection.kinds import Boxes, Classes, Kind

_SPLITS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
Reading = tuple[Kind, Any, str]


def find(names: Iterable[str]) -> Findings:
    """Return the labeled sets of TFDS datasets that are prepared; nothing is downloaded.

    Raises:
        UserError: TFDS knows no such dataset.

    Example:
        find(["eurosat"]).sets
    """
    found = Findings()
    for name in names:
        place, builder = pathlib.Path(f"{TFDS}{name}"), _builder(name)
        if not builder.info.splits:
            text = (
                f"TFDS knows it, and {builder.data_path} does not exist: prepare it (it may be "
                f"downloaded) with `tfds build {name}`, and repeat this command"
            )
            found.questions.append(Question(place, text))
            continue
        reading = _reading(builder)
        if reading is None:
            features = ", ".join(builder.info.features)
            text = (
                f"of its features ({features}) none is one class, or boxes with classes; write "
                "its source by hand: box_reading, map_reading and depth_reading"
            )
            found.questions.append(Question(place, text))
            continue
        kind, function, feature = reading
        splits = {_SPLITS[split]: split for split in builder.info.splits if split in _SPLITS}
        if TRAIN not in splits:
            splits = {WHOLE: "+".join(builder.info.splits)}
        parts = {part: _part(name, split, function, feature) for part, split in splits.items()}
        found.sets.append(FoundSet(kind=kind, form="TensorFlow dataset", place=place, parts=parts))
    return found


def _part(name: str, split: str, function: Any, feature: str) -> Part:
    builder = Call(tfds_builder, positional=(name, Text("data_dir", None)))

    def named(source: str, head: str, **more: Any) -> Call:
        labels = {head: Call(function, positional=(builder, feature))}
        arguments = {"name": source, "builder": builder, "split": split, "labels": labels}
        return Call(TfdsSource, arguments | more)

    return named


def _builder(name: str) -> tfds.core.DatasetBuilder:
    try:
        return tfds.builder(name)
    except (tfds.core.DatasetNotFoundError, ValueError):
        known = tfds.list_builders(with_community_datasets=False)
        short = name.split("/")[0].split(":")[0]
        near = [one for one in known if one[:1] == short[:1]]
        raise not_allowed(f"TFDS has no dataset {name!r}", short, near[:20]) from None
    except Exception as error:  # What a damaged folder raises is no closed list.
        raise UserError(f"TFDS cannot open {name!r}: {reason(error)}") from error


def _reading(builder: tfds.core.DatasetBuilder) -> Reading | None:
    """Return the kind of labels of a dataset, how they are read, and their feature."""
    for name, feature in builder.info.features.items():
        inner = getattr(feature, "feature", None)
        is_boxes = isinstance(inner, tfds.features.FeaturesDict) and "bbox" in inner
        if is_boxes and "label" in inner:
            return Boxes(), box_reading, name
    for name, feature in builder.info.features.items():
        if isinstance(feature, tfds.features.ClassLabel):
            return Classes(), class_reading, name
    return None
