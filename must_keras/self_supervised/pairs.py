"""Methods that compare two views of an image, and the model that they build."""

import abc
import dataclasses
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from must_keras.data.pipeline import MakeViews
from must_keras.errors import expect
from must_keras.ops import Tensor
from must_keras.ops.precision import full, policy
from must_keras.self_supervised.method import SelfSupervised
from must_keras.self_supervised.views import RandomViews, two_views
from must_keras.training.fitted import FittedModel
from must_keras.training.network import BACKBONE, Network
from must_keras.training.self_labeled import check_whole_batches
from must_keras.training.strategy import num_replicas, sum_over_replicas

PROJECTION = "projection"


class PairModel(FittedModel):
    """An encoder that is trained to recognize which two views belong to one image.

    `fit` takes pairs of {"image", "other"}, two views [B, H, W, 3] RGB in [0, 255], and of
    {"keys": [B] int32}. Views are compared with those of the batch of all replicas.

    Args:
        method: the values of the recipe; its name is that of the loss in the logs.
        encoder: images to projections, [B, D].

    Example:
        model = SimCLR(training=training).build(network, seed=0, num_images=1000)
        training.compile(model)

    """

    def __init__(self, method: "PairMethod", encoder: keras.Model):
        clip_norm = method.training.clip_norm
        super().__init__(encoder.input, encoder.output, clip_norm, name=method.name)
        self.method = method

    def targets(self, x: dict[str, Tensor]) -> Any:
        """Return what the loss compares with and no gradient flows through; update the state.

        None: gradients flow through everything that is compared.
        """

    def contrast(self, x: dict[str, Tensor], targets: Any) -> tuple[Tensor, Tensor]:
        """Return this replica's losses, and whether each comparison was right: [A], [A] bool."""
        raise NotImplementedError

    def keys_of_passed(self, keys: Tensor) -> Tensor:
        """Return the keys of the images that `contrast` encodes, from the keys [B] of the batch."""
        return keys

    @property
    def numbers(self) -> tuple[str, ...]:
        return (f"{self.name}_loss", "accuracy", "gradient_norm")

    def train_step(self, data: Any) -> dict[str, Tensor]:
        """Make one optimizer step; the loss is the mean over all comparisons of the batch."""
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        variables, targets = self.trainable_weights, self.targets(x)
        with self.sampling(self.keys_of_passed(y["keys"])):
            with tf.GradientTape() as tape:
                losses, hits = self.contrast(x, targets)
                count = float(losses.shape[0] * num_replicas())
                loss = ops.sum(losses) / count
                scaled = self.optimizer.scale_loss(loss)
            gradients = tape.gradient(scaled, [v.value for v in variables])
        pairs = zip(gradients, variables, strict=True)
        pairs = [(tf.convert_to_tensor(g), v) for g, v in pairs if g is not None]
        share = ops.sum(ops.cast(hits, loss.dtype)) / count
        logs = sum_over_replicas({f"{self.name}_loss": loss, "accuracy": share})
        return self.optimize(pairs, logs | {"loss": logs[f"{self.name}_loss"]})

    def without_optimizer(self) -> keras.Model:
        """Return the encoder: plain Keras layers, "backbone" among them."""
        return keras.Model(self.input, self.output, name=self.name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairMethod(SelfSupervised):
    """A self-supervised method that compares two random views of each image.

    The augmentation of its training is not used.

    Attributes:
        name: of the initialization, the folder and the loss.
        views: how the two views of an image are sampled.
        dimensions: length of a projection.

    Raises:
        UserError: a value is of another type or range.

    Example:
        methods = (SimCLR(training=training), MoCo(training=training))

    """

    views: RandomViews
    dimensions: int = 128

    metrics = ("loss", "accuracy")

    def __post_init__(self) -> None:
        expect(self.where, self, views=RandomViews)
        super().__post_init__()
        check_whole_batches(self.where, self.training)

    def make_views(self, *, size: int) -> MakeViews:
        return two_views(self.views, size=size)

    @abc.abstractmethod
    def build(self, network: Network, *, seed: int, num_images: int) -> PairModel:
        """See SelfSupervised.build."""

    def encoder(self, network: Network, *, seed: int) -> keras.Model:
        """Return a new model of images [B, H, W, 3] to projections [B, D], not normalized.

        The mean over the cells of C5, one hidden layer as wide as C5 with a ReLU, and a linear
        layer in full precision (arXiv 2002.05709, section 2.1; arXiv 2003.04297, section 3).
        """
        keras.utils.set_random_seed(seed)
        training = self.training
        with policy(training.precision):
            size = (network.size, network.size)
            image = keras.Input((*size, 3), name="image")
            backbone = network.backbone.build(size, training.norm(), name=BACKBONE)
            pooled = keras.layers.GlobalAveragePooling2D(name="pooled")(backbone(image)["C5"])
            width = pooled.shape[-1]
            hidden = keras.layers.Dense(width, "relu", name=f"{PROJECTION}_hidden")(pooled)
            last = keras.layers.Dense(self.dimensions, name=PROJECTION, dtype=full())
            encoder = keras.Model(image, last(hidden))
        self.start.apply(encoder, network)
        return encoder
