"""TensorFlow datasets by name."""

import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow_datasets as tfds

from must_keras.data.sources import TfdsSource, box_reading, class_reading, tfds_builder
from must_keras.errors import UserError, not_allowed, reason
from must_keras.inspection.answers import TFDS, Answers, Question
from must_keras.inspection.code import Call, Text
from must_keras.inspection.found import TEST, TRAIN, VALIDATION, WHOLE, Findings, FoundSet, Part
from must_keras.inspection.kinds import Boxes, Classes, Kind

_SPLITS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
# The feature that most datasets call their label.
_USUAL = "label"


def find(names: Iterable[str], answers: Answers) -> Findings:
    """Return the labeled sets of TFDS datasets that are prepared; nothing is downloaded.

    Args:
        names: as TFDS has them: "coco/2017".
        answers: of the user; "class" names the feature that is read, of several.

    Raises:
        UserError: TFDS knows no such dataset, or it has no such feature.

    Example:
        find(["eurosat"], Answers({})).sets
    """
    found = Findings()
    for name in names:
        place, builder = pathlib.Path(f"{TFDS}{name}"), _builder(name)
        known, stated = _readings(builder), answers.at(place, "class")
        question = _question(place, name, builder, known)
        if stated is not None and stated not in known:
            raise not_allowed(f"{place}:class={stated}", stated, list(known))
        if question is not None and (stated is None or not builder.info.splits):
            found.questions.append(question)
            continue
        feature = stated or (_USUAL if _USUAL in known else next(iter(known)))
        kind, function = known[feature]
        others = [f"'{place}:class={one}'" for one in known if one != feature]
        splits = {_SPLITS[split]: split for split in builder.info.splits if split in _SPLITS}
        if TRAIN not in splits:
            splits = {WHOLE: "+".join(builder.info.splits)}
        found.sets.append(
            FoundSet(
                kind=kind,
                form="TensorFlow dataset",
                place=place,
                parts={p: _part(name, split, function, feature) for p, split in splits.items()},
                has_order=False,
                remarks=(f"{feature} is the label; {others[0]} reads another",) if others else (),
            )
        )
    return found


def _question(
    place: pathlib.Path, name: str, builder: tfds.core.DatasetBuilder, known: Mapping[str, Any]
) -> Question | None:
    """Return why a dataset cannot be used as it is, or None."""
    if not builder.info.splits:
        text = (
            f"TFDS knows it, and {builder.data_path} does not exist: prepare it (it may be "
            f"downloaded) with `tfds build {name}`, and repeat this command"
        )
        return Question(place, text)
    if not known:
        features = ", ".join(builder.info.features)
        text = (
            f"of its features ({features}) none is one class, or boxes with classes; write its "
            "source by hand: box_reading, map_reading and depth_reading"
        )
        return Question(place, text)
    if len(known) > 1 and _USUAL not in known:
        return Question(place, "which of its features is the label?", "class", tuple(known))
    return None


def _part(name: str, split: str, function: Any, feature: str) -> Part:
    data_dir = Text("data_dir", None)
    builder = Call(tfds_builder, positional=(name, data_dir))

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


def _readings(builder: tfds.core.DatasetBuilder) -> dict[str, tuple[Kind, Any]]:
    """Return {feature: its kind of labels, and the function that reads it}, of boxes if any are."""
    boxes: dict[str, tuple[Kind, Any]] = {}
    classes: dict[str, tuple[Kind, Any]] = {}
    for name, feature in builder.info.features.items():
        inner = getattr(feature, "feature", None)
        if isinstance(inner, tfds.features.FeaturesDict) and {"bbox", "label"} <= set(inner):
            boxes[name] = Boxes(), box_reading
        elif isinstance(feature, tfds.features.ClassLabel):
            classes[name] = Classes(), class_reading
    return boxes or classes
