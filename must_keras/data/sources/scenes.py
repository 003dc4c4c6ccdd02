"""Drawn scenes: the data that comes with the project."""

from __future__ import annotations

import contextlib
import functools
import io
import pathlib
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from must_keras.data.io.records import Records
from must_keras.data.sources.source import LabelSpace, Source, Stored
from must_keras.data.stored import class_label, objects
from must_keras.errors import UserError
from must_keras.experiment import nearest
from must_keras.synthetic import SceneConfig, Scenes
from must_keras.synthetic.drawing import MASK_SIZE, example_id
from must_keras.synthetic.encoding import decode_normals

_KINDS = {
    "class": "classes",
    "objects": "boxes",
    "semantic": "map",
    "depth": "metric",
    "normals": "normals",
}
_preparing = threading.Lock()


class ScenesSource(Source):
    """A split of a scenes data set, drawn when it is first read.

    Args:
        name: of the source.
        config: which scenes.
        split: "train", "validation" or "test".
        heads: {feature: head that it labels}, features being "class", "objects", "semantic",
            "depth" and "normals"; empty for images alone.
        data_dir: where TFDS keeps its data sets; None: its own default.
    """

    def __init__(
        self,
        *,
        name: str,
        config: SceneConfig,
        split: str,
        heads: Mapping[str, str],
        data_dir: str | None = None,
    ):
        self.name = name
        self._config, self._split, self._data_dir = config, split, data_dir
        if not isinstance(heads, Mapping):
            raise UserError(
                f"source {name!r}: heads={heads!r}: expected {{feature: head}}, with features of "
                f"{', '.join(_KINDS)}"
            )
        self._heads = dict(heads)
        for feature in self._heads:
            if feature not in _KINDS:
                raise UserError(
                    f"source {name!r}: heads names the feature {feature!r}; "
                    f"{nearest(feature, tuple(_KINDS))}"
                )
        classes = {
            "class": config.classes,
            "objects": config.categories,
            "semantic": config.semantic_classes,
        }
        self.label_spaces = {
            head: LabelSpace(_KINDS[feature], tuple(classes.get(feature, ())))
            for feature, head in self._heads.items()
        }

    def __len__(self) -> int:
        return self._config.splits.get(self._split, 0)

    def image_id(self, index: int) -> str:
        return example_id(self._config, self._split, self._config.first + index)

    def image(self, index: int) -> np.ndarray:
        return _picture(self._example(index)["image"])

    def labels(self, index: int) -> dict[str, Stored]:
        if not self._heads:
            return {}
        example = self._example(index)
        found = {}
        for feature, head in self._heads.items():
            label = _STORED[feature](example, len(self.label_spaces[head].classes))
            if label is not None:
                found[head] = label
        return found

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "scenes": f"{self._config.family}-{self._config.size}px",
            "images": self._config.splits,
            "first": self._config.first,
            "data_seed": self._config.data_seed,
            "version": str(Scenes.VERSION),
            "split": self._split,
            "heads": self._heads,
        }

    @functools.cached_property
    def _records(self) -> Records:
        with _preparing:
            builder = Scenes(config=self._config, data_dir=self._data_dir)
            with contextlib.redirect_stdout(io.StringIO()):  # It speaks of a download.
                builder.download_and_prepare()
        folder = pathlib.Path(builder.data_path)
        return Records(sorted(folder.glob(f"scenes-{self._split}.tfrecord-*")))

    def _example(self, index: int) -> Mapping[str, Any]:
        return tf.train.Example.FromString(self._records.read(index)).features.feature


def _picture(feature: tf.train.Feature) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(feature.bytes_list.value[0])))


def _class(example: Mapping[str, Any], num_classes: int) -> Stored | None:
    index = example["class"].int64_list.value[0]
    if index < 0:
        return None
    return class_label(index, num_classes)


def _objects(example: Mapping[str, Any], num_classes: int) -> Stored:
    masks = np.array(example["objects/mask"].int64_list.value, np.uint8)
    return objects(
        boxes=example["objects/bbox"].float_list.value,
        classes=example["objects/label"].int64_list.value,
        masks=masks.reshape(-1, MASK_SIZE, MASK_SIZE),
    )


def _semantic(example: Mapping[str, Any], num_classes: int) -> Stored:
    return {"map": _picture(example["semantic"])}


def _depth(example: Mapping[str, Any], num_classes: int) -> Stored:
    return {"depth": np.asarray(_picture(example["depth"]), np.float32) / 1000.0}


def _normals(example: Mapping[str, Any], num_classes: int) -> Stored:
    return {"normals": decode_normals(_picture(example["normals"]))}


_STORED: dict[str, Callable[[Mapping[str, Any], int], Stored | None]] = {
    "class": _class,
    "objects": _objects,
    "semantic": _semantic,
    "depth": _depth,
    "normals": _normals,
}
