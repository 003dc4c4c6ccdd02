"""A TensorFlow data set by its name, and what its features mean."""

import difflib
import json
import os
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from must_keras.data.io.depth_codes import DepthValues
from must_keras.data.io.map_codes import Values
from must_keras.data.io.notices import Notices
from must_keras.data.sources.source import LabelSpace, Stored, class_label, objects
from must_keras.errors import UserError, check_classes, not_allowed, reason

Builder = tfds.core.DatasetBuilder
Example = Mapping[str, Any]

_OWN_FEATURE = re.compile(r"tensorflow_datasets\.core\.features\.[\w.]+")
# Features of an object that keep it out of training and scores, where a data set has them.
_IGNORED = ("is_crowd", "is_difficult", "is_group_of")


class Reading(NamedTuple):
    """How the label of a head is made from an example.

    Attributes:
        space: what the label means.
        read: {feature: array} to a stored label (see source.py), or None where the image has
            none. Only the features that it asks for are decoded.
        described: what the label depends on besides the data set, as plain data.

    Example:
        Reading(space, lambda example: {"class": int(example["label"])}, {"feature": "label"})
    """

    space: LabelSpace
    read: Callable[[Example], Stored | None]
    described: Mapping[str, Any] = {}


def tfds_builder(name: str, data_dir: str | None = None) -> Builder:
    """A data set by its name in TFDS ("coco/2017"), prepared: downloaded unless it is there.

    Args:
        name: "<data set>", "<data set>/<config>" or "<data set>:<version>".
        data_dir: where TFDS keeps its data sets; None: its default.

    Raises:
        UserError: TFDS knows no such data set, or it could not be prepared.

    Example:
        builder = mk.tfds_builder("coco/2017")
    """
    short = name.split("/")[0].split(":")[0]
    folder = pathlib.Path(data_dir or tfds.core.constants.DATA_DIR).expanduser() / short
    for path in sorted(folder.glob("**/features.json")) if folder.is_dir() else ():
        check_features(path.parent)
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        known = tfds.list_builders(with_community_datasets=False)
        hint = str(error) if short in known else _near(short, known)
        raise UserError(f"TFDS has no data set {name!r}: {hint}") from None
    except Exception as error:  # A damaged folder.
        raise UserError(f"TFDS could not open {name!r}: {reason(error)}") from error
    try:
        builder.download_and_prepare()
    except Exception as error:
        # Whatever the data set's own code and the network may raise.
        raise UserError(
            f"TFDS could not prepare {name!r} in {builder.data_path}: {error}"
        ) from error
    return builder


def tfds_folder(path: str | os.PathLike[str]) -> Builder:
    """Return the data set in a folder that TFDS prepared, whoever made it.

    As `tfds.builder_from_directory`, which imports whatever module the folder's features.json
    names; here TFDS' own features alone are allowed.

    Args:
        path: the folder with features.json and dataset_info.json.

    Raises:
        UserError: there is no data set, or its features are not TFDS' own.

    Example:
        builder = tfds_folder("data/flowers/1.0.0")
        TfdsSource(name="flowers", builder=builder, split="train", labels={})

    """
    check_features(pathlib.Path(path))
    try:
        return tfds.builder_from_directory(path)
    except Exception as error:  # What a damaged folder raises is no closed list.
        raise UserError.at(path, f"cannot be read as a TFDS data set: {reason(error)}") from error


def check_features(folder: pathlib.Path) -> None:
    """Raise UserError where a TFDS folder names other classes of features than TFDS' own."""
    path = folder / "features.json"
    try:
        waiting = [json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, RecursionError) as error:
        raise UserError.at(path, f"cannot be read as JSON: {reason(error)}") from None
    if not isinstance(waiting[0], dict):
        raise UserError.at(path, "contains no object, so that it names no features")
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
            # What older versions of TFDS wrote has "type"; nested features may be JSON in a text.
            for key in ("pythonClassName", "python_class_name", "type"):
                name = value.get(key)
                if isinstance(name, str) and "." in name and not _OWN_FEATURE.fullmatch(name):
                    raise UserError(
                        f"{path} names the class {name}, which TFDS would import; allowed are "
                        "TFDS' own features. Where you trust the folder, import that module in "
                        "your recipe and call tfds.builder_from_directory there"
                    )
        elif isinstance(value, str) and value.lstrip().startswith(("{", "[")):
            try:
                waiting.append(json.loads(value))
            except (ValueError, RecursionError):
                continue


def class_reading(builder: Builder, feature: str = "label") -> Reading:
    """One class an image; -1, where a split is not labeled, is no label.

    Raises:
        UserError: there is no such feature, or it is no class.

    Example:
        mk.class_reading(mk.tfds_builder("cifar100"), "coarse_label")
    """
    names = _names(builder, builder.info.features, feature)

    def read(example: Example) -> Stored | None:
        index = int(example[feature])
        return None if index < 0 else class_label(index, len(names))

    return Reading(LabelSpace("classes", names), read)


def tags_reading(builder: Builder, feature: str = "labels") -> Reading:
    """Any number of tags an image: a sequence of classes, which names all that the image has.

    Raises:
        UserError: there is no such feature, or it is no sequence of classes.

    Example:
        mk.tags_reading(mk.tfds_builder("bigearthnet/rgb"))
    """
    inner = getattr(_feature(builder, builder.info.features, feature), "feature", None)
    if not isinstance(inner, tfds.features.ClassLabel):
        raise UserError(f"{builder.info.full_name}: feature {feature!r} is no sequence of classes")
    classes = tuple(inner.names)

    def read(example: Example) -> Stored:
        has = np.zeros(len(classes), np.float32)
        has[np.asarray(example[feature], np.int64)] = 1.0
        return {"tags": has}

    return Reading(LabelSpace("tags", classes), read)


def box_reading(
    builder: Builder, feature: str = "objects", *, box: str = "bbox", label: str = "label"
) -> Reading:
    """Boxes with classes, without masks. Crowds, groups and difficult objects are ignored regions.

    Args:
        builder: the data set.
        feature: a sequence of objects.
        box: its feature that is the box.
        label: its feature that is the class.

    Raises:
        UserError: there is no such feature, or it is not of that kind.

    Example:
        mk.box_reading(mk.tfds_builder("coco/2017"), "objects")
    """
    parts = _feature(builder, builder.info.features, feature)
    inner = getattr(parts, "feature", None)
    if not isinstance(inner, tfds.features.FeaturesDict):
        raise UserError(f"{builder.info.full_name}: feature {feature!r} is no sequence of objects")
    names = _names(builder, inner, label)
    if not isinstance(_feature(builder, inner, box), tfds.features.BBoxFeature):
        raise UserError(f"{builder.info.full_name}: feature {box!r} of {feature!r} is no box")
    ignored = [key for key in _IGNORED if key in inner]

    def read(example: Example) -> Stored:
        found = example[feature]
        boxes = np.asarray(found[box], np.float32).reshape(-1, 4)
        ignore = np.zeros(len(boxes), bool)
        for key in ignored:
            # -1 stands for unknown, as in Open Images.
            ignore |= np.asarray(found[key], np.int64) > 0
        kept = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        classes = np.asarray(found[label], np.int64).reshape(-1)
        odd = classes[(classes < 0) | (classes >= len(names))]
        if odd.size:
            raise UserError(f"an object is of class {odd[0]}; classes are 0 to {len(names) - 1}")
        return objects(boxes=boxes[kept], classes=classes[kept], ignore=ignore[kept])

    # 2: -1 is not ignored.
    is_counted = any(np.dtype(inner[key].np_dtype) != np.bool_ for key in ignored)
    return Reading(LabelSpace("boxes", names), read, {"version": 2} if is_counted else {})


def map_reading(
    builder: Builder,
    feature: str,
    *,
    classes: Sequence[str],
    values: Sequence[int] | None = None,
    ignore: Sequence[int] = (),
) -> Reading:
    """A label map: a picture or a tensor of one integer a pixel, or of three equal ones.

    Args:
        builder: the data set.
        feature: the map.
        classes: names, at most 255.
        values: the value of each class; None: 0, 1, ...
        ignore: further values, of pixels that nobody labeled.

    Raises:
        UserError: there is no such feature; or a class has no value, or a value two meanings.

    Example:
        builder = mk.tfds_builder("oxford_iiit_pet")
        mk.map_reading(builder, "segmentation_mask", classes=("pet", "background", "border"),
                       values=(1, 2, 3))
    """
    _feature(builder, builder.info.features, feature)
    check_classes(builder.info.full_name, classes)
    code = Values(builder.info.full_name, len(classes), values, ignore)

    def read(example: Example) -> Stored:
        return {"map": code.classes(_plane(example[feature], feature), f"feature {feature!r}")}

    return Reading(LabelSpace("map", tuple(classes)), read)


def depth_reading(
    builder: Builder,
    feature: str = "depth",
    *,
    depth_scale: float = 1.0,
    unknown: Sequence[float] | None = None,
) -> Reading:
    """Depth along the camera's axis; what is not finite or not positive is unknown.

    Args:
        builder: the data set.
        feature: a tensor or picture of one number a pixel.
        depth_scale: the unit.
        unknown: further numbers that stand for unknown; see sources.DepthMaps.

    Raises:
        UserError: there is no such feature. Reading raises it where the median is nearer than 2 cm
            or farther than 1 km: it looks like another unit.

    Example:
        mk.depth_reading(mk.tfds_builder("nyu_depth_v2"), "depth")
    """
    _feature(builder, builder.info.features, feature)
    where = f"{builder.info.full_name}, feature {feature!r}"
    values, notices = DepthValues(where, depth_scale, unknown), Notices(where)

    def read(example: Example) -> Stored:
        counts = _plane(example[feature], feature)
        name = getattr(example, "where", "an example")
        return {"depth": values.meters(counts, where=name, notices=notices)}

    unit = {} if depth_scale == 1.0 else {"depth_scale": depth_scale}
    return Reading(LabelSpace("metric"), read, values.describe() | unit)


def _plane(value: Any, feature: str) -> np.ndarray:
    """[h, w] of [h, w], [h, w, 1] or three equal values a pixel."""
    pixels = np.asarray(value)
    if pixels.ndim == 3 and np.all(pixels == pixels[:, :, :1]):
        pixels = pixels[:, :, 0]
    if pixels.ndim != 2:
        raise UserError(f"feature {feature!r} has the shape {pixels.shape}: not one number a pixel")
    return pixels


def _feature(
    builder: Builder, features: Mapping[str, Any], name: str
) -> tfds.features.FeatureConnector:
    if name not in features:
        raise not_allowed(f"{builder.info.full_name} has no feature {name!r}", name, list(features))
    return features[name]


def _names(builder: Builder, features: Mapping[str, Any], name: str) -> tuple[str, ...]:
    feature = _feature(builder, features, name)
    if not isinstance(feature, tfds.features.ClassLabel):
        raise UserError(f"{builder.info.full_name}: feature {name!r} is no class")
    return tuple(feature.names)


def _near(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"it knows {len(known)} others"
