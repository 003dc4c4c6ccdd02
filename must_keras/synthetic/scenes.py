"""The drawn scenes as a TensorFlow data set."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds

from must_keras.progress import track
from must_keras.synthetic.config import SceneConfig
from must_keras.synthetic.drawing import MASK_SIZE
from must_keras.synthetic.workers import examples

_PICTURES = ("image", "semantic", "depth", "normals")


class Scenes(tfds.core.GeneratorBasedBuilder):
    """Small 3-D worlds with exact labels for classes, boxes, masks, maps, depth and normals.

    Examples are stored by index: read without shuffling, record i is image i. See drawing.draw for
    what each feature means; as stored, depth is uint16 millimeters (0: invalid), normals are
    uint8 ``round(127.5 (n + 1))`` ((0, 0, 0): invalid; encoding.decode_normals), the class is -1
    where there is none.

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
    RELEASE_NOTES = {"1.0.0": "First drawing."}  # noqa: RUF012

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
            description="Drawn 3-D scenes with exact labels.",
            features=features,
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(
                classes=list(config.classes),
                categories=list(config.categories),
                semantic_classes=list(config.semantic_classes),
            ),
        )

    def _split_generators(self, dl_manager) -> dict[str, Iterator]:
        del dl_manager  # Nothing is downloaded.
        return {split: self._generate_examples(split) for split in self.builder_config.splits}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        config = self.builder_config
        drawn = examples(config, split)
        total = config.splits[split]
        for index, example in enumerate(track(drawn, f"drawing {config.family} {split}", total)):
            yield index, _as_features(example)

    def download_and_prepare(self, **arguments) -> None:
        """As in TFDS, with one progress bar a split (TFDS's own know no total)."""
        shown = getattr(tfds.core.utils.tqdm_utils, "_active", True)
        tfds.core.utils.tqdm_utils.display_progress_bar(False)
        try:
            super().download_and_prepare(**arguments)
        finally:
            tfds.core.utils.tqdm_utils.display_progress_bar(shown)


def _as_features(example: dict) -> dict:
    """PNG bytes go in as streams; boxes and masks as one dict an object."""
    objects = example["objects"]
    pictures = {name: io.BytesIO(example[name]) for name in _PICTURES}
    boxes = [
        {"bbox": tfds.features.BBox(*map(float, bbox)), "label": label, "mask": mask}
        for bbox, label, mask in zip(
            objects["bbox"], objects["label"], objects["mask"], strict=True
        )
    ]
    return {"id": example["id"], "class": example["class"], "objects": boxes, **pictures}
