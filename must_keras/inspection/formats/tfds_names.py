"""TensorFlow datasets by name."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from must_keras.data.sources import (
    LabelSpace,
    Reading,
    TfdsSource,
    box_reading,
    class_reading,
    depth_reading,
    map_reading,
    tfds_builder,
)
from must_keras.errors import UserError, not_allowed, reason
from must_keras.inspection.answers import TFDS, Answers, Question
from must_keras.inspection.code import Call, Text
from must_keras.inspection.found import TRAIN, WHOLE, Findings, FoundSet, Part
from must_keras.inspection.kinds import Boxes, Classes, Kind
from must_keras.inspection.map_readings import MAX_LABELS, MapReading, reading_of
from must_keras.inspection.pixel_samples import Pixels, Sample
from must_keras.inspection.tree import split_named

# The feature that most datasets call their label, and their image.
_USUAL, _IMAGE = "label", "image"
# Maps that are read to learn what a feature is.
_NUM_MAPS = 8


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
        _add(found, name, _builder(name), answers)
    return found


def _add(found: Findings, name: str, builder: tfds.core.DatasetBuilder, answers: Answers) -> None:
    """Add the labeled set of a dataset, or a question about it."""
    place, info = pathlib.Path(f"{TFDS}{name}"), builder.info
    features, image = ", ".join(info.features), _image_of(info.features)
    if not info.splits:
        text = (
            f"TFDS knows it, and {builder.data_path} does not exist: prepare it (it may be "
            f"downloaded) with `tfds build {name}`, then inspect it again"
        )
        found.questions.append(Question(place, text))
        return
    if image is None:
        text = f"which of its features ({features}) is the image? write its source by hand"
        found.questions.append(Question(place, text))
        return
    dataset = _Dataset(name, builder, image)
    known, stated = dataset.readings(answers), answers.at(place, "class")
    if stated is not None and stated not in known:
        raise not_allowed(f"{place}:class={stated}", stated, list(known))
    if not known:
        text = (
            f"of its features ({features}) none is one class, boxes with classes, or a map of "
            "classes or depths; write its source by hand: a Reading for TfdsSource"
        )
        found.questions.append(Question(place, text))
        return
    if stated is None and len(known) > 1 and _USUAL not in known:
        text = "which of its features is the label?"
        found.questions.append(Question(place, text, "class", tuple(known)))
        return
    feature = stated or (_USUAL if _USUAL in known else next(iter(known)))
    own = Findings()
    known[feature].add_to(own, dataset.parts(feature))
    others = ", ".join(f"'{place}:class={one}'" for one in known if one != feature)
    remark = (f"{feature} is the label; for another: {others}",) if others else ()
    own.sets = [
        dataclasses.replace(
            one, form="TensorFlow dataset", has_order=False, remarks=(*remark, *one.remarks)
        )
        for one in own.sets
    ]
    found.add(own)


@dataclasses.dataclass(frozen=True)
class _Dataset:
    """A prepared dataset, and the feature that is its image."""

    name: str
    builder: tfds.core.DatasetBuilder
    image: str

    def parts(self, feature: str) -> dict[str, "_Labels"]:
        """Return {split: the labels that a feature has}."""
        splits = {split_named(split): split for split in self.builder.info.splits}
        splits.pop(WHOLE, None)
        if TRAIN not in splits:
            splits = {WHOLE: "+".join(self.builder.info.splits)}
        return {found: _Labels(self, feature, split) for found, split in splits.items()}

    def readings(self, answers: Answers) -> dict[str, MapReading]:
        """Return {feature: what it means} of all features that can be labels, boxes first."""
        boxes: dict[str, MapReading] = {}
        others: dict[str, MapReading] = {}
        for name, feature in self.builder.info.features.items():
            inner = getattr(feature, "feature", None)
            if isinstance(inner, tfds.features.FeaturesDict) and {"bbox", "label"} <= set(inner):
                boxes[name] = _Stated(Boxes(), box_reading)
            elif isinstance(feature, tfds.features.ClassLabel):
                others[name] = _Stated(Classes(), class_reading)
            elif name != self.image and _is_plane(feature):
                some = next(iter(self.parts(name).values()))
                sample = Sample(name.lower(), tuple(some.pixels(_NUM_MAPS)))
                reading = reading_of(sample, some.labels, answers)
                others |= {} if reading is None else {name: reading}
        return boxes | others


@dataclasses.dataclass(frozen=True)
class _Labels:
    """The labels of a split that one of its features has."""

    dataset: _Dataset
    feature: str
    split: str

    @property
    def labels(self) -> pathlib.Path:
        return pathlib.Path(f"{TFDS}{self.dataset.name}")

    def part(self, function: Callable[..., Reading], **arguments: Any) -> Part:
        """Return the part that reads the feature by a function, with these arguments."""
        builder = Call(tfds_builder, positional=(self.dataset.name, Text("data_dir", None)))
        reading = Call(function, arguments, positional=(builder, self.feature))
        image = {} if self.dataset.image == _IMAGE else {"image": self.dataset.image}

        def named(source: str, head: str, **more: Any) -> Call:
            given = {"name": source, "builder": builder, "split": self.split}
            return Call(TfdsSource, given | {"labels": {head: reading}} | image | more)

        return named

    def pixels(self, most: int = MAX_LABELS) -> Iterator[Pixels]:
        """Yield the pixels of at most so many labels, evenly spread."""
        found: list[np.ndarray] = []

        def read(example: Any) -> None:
            array = np.asarray(example[self.feature])
            found.append(array.reshape(array.shape[:2]))

        source = TfdsSource(
            name=self.dataset.name,
            builder=self.dataset.builder,
            split=self.split,
            labels={"map": Reading(LabelSpace("metric"), read)},
            image=self.dataset.image,
        )
        for index in range(0, len(source), -(-len(source) // most)):
            source.labels(index)
            yield Pixels.of_numbers(found.pop())

    def class_names(self, place: pathlib.Path) -> tuple[str, ...]:
        """Return the names of a LabeledImage's classes."""
        feature = self.dataset.builder.info.features[self.feature]
        return tuple(getattr(feature, "names", None) or ())

    def maps(self, **arguments: Any) -> Part:
        return self.part(map_reading, **arguments)

    def depths(self, **arguments: Any) -> Part:
        return self.part(depth_reading, **arguments)

    def normals(self, **arguments: Any) -> Part:
        raise UserError(f"{self.labels}: normals of TensorFlow datasets are not read")


@dataclasses.dataclass(frozen=True)
class _Stated:
    """A feature whose meaning its type states."""

    kind: Kind
    function: Callable[..., Reading]

    @property
    def noun(self) -> str:
        return self.kind.noun

    def add_to(self, found: Findings, parts: dict[str, _Labels]) -> None:
        """Add the set."""
        place = next(iter(parts.values())).labels
        sources = {split: one.part(self.function) for split, one in parts.items()}
        found.sets.append(FoundSet(kind=self.kind, form="", place=place, parts=sources))


def _is_plane(feature: tfds.features.FeatureConnector) -> bool:
    """Return whether a feature is one number a pixel."""
    shape = feature.shape if isinstance(feature, tfds.features.Tensor) else ()
    if isinstance(feature, tfds.features.Image):
        return feature.shape[-1] == 1
    has_sides = all(side is None or side > 1 for side in shape[:2])
    return (len(shape) == 2 or (len(shape) == 3 and shape[2] == 1)) and has_sides


def _image_of(features: tfds.features.FeaturesDict) -> str | None:
    """Return the feature that is the image: the one so called, or the only one in colors."""
    if _IMAGE in features:
        return _IMAGE
    colored = [
        name
        for name, feature in features.items()
        if isinstance(feature, tfds.features.Image) and feature.shape[-1] == 3
    ]
    return colored[0] if len(colored) == 1 else None


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
