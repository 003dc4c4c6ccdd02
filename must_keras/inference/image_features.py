"""One vector for every image, of a trained model's backbone."""

from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf

from must_keras.data.examples import LabeledExamples
from must_keras.data.pipeline import images_in_sizes
from must_keras.data.sources import TolerantSource
from must_keras.modeling.heads import mean_over_area
from must_keras.progress import track
from must_keras.training.model import MultiTaskModel
from must_keras.training.network import BACKBONE


class ImageFeatures:
    """A level of a model's backbone, averaged over the cells that are not padding.

    Args:
        model: the model.
        level: of C2 to C5; C4 separates images of another kind best (see
            docs/how_to/domain_gates.md).
        unit_length: whether vectors are scaled to the length 1.

    Example:
        vectors = ImageFeatures(model)(x)  # [B, C] float32 of {"image", "area"}

    Reference: Mahalanobis++: Improving OOD Detection via Feature Normalization (arXiv 2505.18032)
    for the length; there it is that of a classifier's last features.

    """

    def __init__(self, model: MultiTaskModel, *, level: str = "C4", unit_length: bool = True):
        backbone, self.size = model.get_layer(BACKBONE), model.size

        @tf.function(autograph=False)
        def step(image: tf.Tensor, area: tf.Tensor) -> tf.Tensor:
            levels = backbone(tf.cast(image, tf.float32), training=False)
            means = mean_over_area(tf.cast(levels[level], tf.float32), area, self.size)
            return tf.math.l2_normalize(means, axis=-1) if unit_length else means

        self._step = step

    def __call__(self, x: Mapping[str, tf.Tensor]) -> np.ndarray:
        """Return the vectors of a batch: [B, C] float32."""
        return self._step(x["image"], x["area"]).numpy()


def vectors_of(
    images: TolerantSource, models: Mapping[str, ImageFeatures], *, batch: int, title: str
) -> Iterator[dict[str, np.ndarray]]:
    """Yield {model: vectors [b, C]} of a source's images in their order, each image decoded once.

    Args:
        images: the images, without labels; the vectors of an unreadable one are NaN.
        models: each with the size of its input.
        batch: images of a batch: all batches are of one shape, and the last one is filled.
        title: beside the progress bar.
    """
    sides = list(dict.fromkeys(features.size[0] for features in models.values()))
    dataset = images_in_sizes(
        LabeledExamples(images, []), sizes=sides, batch=batch, ranges=[range(len(images))]
    )
    for inputs, places in track(dataset, title, len(dataset)):
        indices = places.numpy()
        indices = indices[indices >= 0]
        is_unreadable = [int(index) in images.unreadable for index in indices]
        x = dict(zip(sides, inputs, strict=True))
        found = {name: one(x[one.size[0]])[: len(indices)] for name, one in models.items()}
        for vectors in found.values():
            vectors[is_unreadable] = np.nan
        yield found
