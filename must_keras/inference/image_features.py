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

# Of C2 to C5 the level that separates other images best: see docs/how_to/domain_gates.md.
_LEVEL = "C4"


class ImageFeatures:
    """C4 of a model's backbone, averaged over the cells that are not padding, of length 1.

    Args:
        model: the model.

    Example:
        vectors = ImageFeatures(model)(x)  # [B, C] float32 of {"image", "area"}

    Reference: Mahalanobis++: Improving OOD Detection via Feature Normalization (arXiv 2505.18032)
    for the length; there it is that of a classifier's last features.

    """

    def __init__(self, model: MultiTaskModel):
        backbone, self.size = model.get_layer(BACKBONE), model.size

        @tf.function(autograph=False)
        def step(image: tf.Tensor, area: tf.Tensor) -> tf.Tensor:
            levels = backbone(tf.cast(image, tf.float32), training=False)
            means = mean_over_area(tf.cast(levels[_LEVEL], tf.float32), area, self.size)
            return tf.math.l2_normalize(means, axis=-1)

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
        models: of one input size.
        batch: images of a batch: all batches are of one shape, and the last one is filled.
        title: beside the progress bar.
    """
    (side,) = {features.size[0] for features in models.values()}
    dataset = images_in_sizes(
        LabeledExamples(images, []), sizes=[side], batch=batch, ranges=[range(len(images))]
    )
    for (x,), places in track(dataset, title, len(dataset)):
        indices = places.numpy()
        indices = indices[indices >= 0]
        is_unreadable = [int(index) in images.unreadable for index in indices]
        found = {name: features(x)[: len(indices)] for name, features in models.items()}
        for vectors in found.values():
            vectors[is_unreadable] = np.nan
        yield found
