"""Synthetic scenes, the data that comes with the project: a TFDS data set, and its source."""

import contextlib
import functools
import io
import pathlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from must_keras.data.io.records import Records
from must_keras.data.sources.source import LabelSpace, Source, Stored, class_label, objects
from must_keras.errors import UserError, not_allowed
from must_keras.progress import track
from must_keras.synthetic.examples import MASK_SIZE, example_id, rendered_examples
from must_keras.synthetic.families import SceneConfig
from must_keras.tasks.normals import from_colors

_preparing = threading.Lock()
_PICTURES = ("image", "semantic", "depth", "normals")


class Scenes(tfds.core.GeneratorBasedBuilder):
    """Small 3-D worlds with exact labels for classes, boxes, masks, maps, depth and normals.

    Examples are stored by index: read without shuffling, record i is image i. The features are
    those of examples.render_example; as stored, depth is uint16 millimeters (0: invalid), normals
    are uint8 ``round(127.5 (n + 1))`` ((0, 0, 0): invalid; normals.from_colors), the class is
    -1 for images without one.

    Args:
        config: a SceneConfig.
        data_dir: where TFDS keeps its data sets.

    Example:
        builder = Scenes(config=SceneConfig(family="crowd", train=500), data_dir="data")
        builder.download_and_prepare()
        for example in builder.as_dataset(split="train"):
            ...
        tfds.builder_from_directory(builder.data_dir)  # without this class
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First rendering."}  # noqa: RUF012

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        if not isinstance(config, SceneConfig):
            raise ValueError(f"config must be a SceneConfig, received {config!r}.")
        square = (config.size, config.size)
        features = tfds.features.FeaturesDict(
            {
                "id": tfds.features.Text(),
                "image": tfds.features.Image(shape=(*square, 3), encoding_format="png"),
                "class": tfds.features.Scalar(np.int64),
                "objects": tfds.features.Sequence(
                    {
                        "bbox": tfds.features.BBoxFeature(),
                        "label": tfds.features.Scalar(np.int64),
                        "mask": tfds.features.Tensor(shape=(MASK_SIZE, MASK_SIZE), dtype=np.uint8),
                    }
                ),
                "semantic": tfds.features.Image(shape=(*square, 1), encoding_format="png"),
                "depth": tfds.features.Image(
                    shape=(*square, 1), dtype=np.uint16, encoding_format="png"
                ),
                "normals": tfds.features.Image(shape=(*square, 3), encoding_format="png"),
            }
        )
        return tfds.core.DatasetInfo(
            builder=self,
            description="Synthetic 3-D scenes with exact labels.",
            features=features,
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(
                classes=list(config.classes),
                categories=list(config.categories),
                semantic_classes=list(config.semantic_classes),
            ),
        )

    def _split_generators(self, dl_manager) -> dict[str, Iterator]:
        return {split: self._generate_examples(split) for split in self.builder_config.splits}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        config = self.builder_config
        rendered = rendered_examples(config, split)
        title, total = f"rendering {config.family} {split}", config.splits[split]
        for index, example in enumerate(track(rendered, title, total)):
            yield index, _as_features(example)

    def download_and_prepare(self, **arguments) -> None:
        """Prepare as TFDS does, with one progress bar a split (TFDS's own have no total)."""
        shown = getattr(tfds.core.utils.tqdm_utils, "_active", True)
        tfds.core.utils.tqdm_utils.display_progress_bar(False)
        try:
            super().download_and_prepare(**arguments)
        finally:
            tfds.core.utils.tqdm_utils.display_progress_bar(shown)


def _as_features(example: dict) -> dict:
    """Return PNG bytes as streams, and boxes and masks as one dict an object."""
    objects = example["objects"]
    pictures = {name: io.BytesIO(example[name]) for name in _PICTURES}
    boxes = [
        {"bbox": tfds.features.BBox(*map(float, bbox)), "label": label, "mask": mask}
        for bbox, label, mask in zip(
            objects["bbox"], objects["label"], objects["mask"], strict=True
        )
    ]
    return {"id": example["id"], "class": example["class"], "objects": boxes, **pictures}


class ScenesSource(Source):
    """A split of a data set of synthetic scenes, rendered when it is first read.

    Args:
        name: of the source.
        config: of the scenes.
        split: "train", "validation" or "test".
        heads: {feature: head that it labels}, features being "class", "objects", "semantic",
            "depth" and "normals"; empty for images alone.
        data_dir: where TFDS keeps its data sets; None for its default.

    Raises:
        UserError: `heads` names an unknown feature.

    Example:
        config = SceneConfig(family="crowd", train=500)
        ScenesSource(name="crowd", config=config, split="train", heads={"objects": "boxes"})
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
                f"{', '.join(_READINGS)}"
            )
        self._heads = dict(heads)
        for feature in self._heads:
            if feature not in _READINGS:
                where = f"source {name!r}: heads names the feature {feature!r}"
                raise not_allowed(where, feature, tuple(_READINGS))
        classes = {
            "class": config.classes,
            "objects": config.categories,
            "semantic": config.semantic_classes,
        }
        self.label_spaces = {
            head: LabelSpace(_READINGS[feature].kind, tuple(classes.get(feature, ())))
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
            label = _READINGS[feature].read(example, len(self.label_spaces[head].classes))
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
            with contextlib.redirect_stdout(io.StringIO()):  # It announces a download.
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
    return {"normals": from_colors(_picture(example["normals"]))}


class _Reading(NamedTuple):
    """The kind of a feature's labels, and how a label is read from an example."""

    kind: str
    read: Callable[[Mapping[str, Any], int], Stored | None]


_READINGS = {
    "class": _Reading("classes", _class),
    "objects": _Reading("boxes", _objects),
    "semantic": _Reading("map", _semantic),
    "depth": _Reading("metric", _depth),
    "normals": _Reading("normals", _normals),
}
