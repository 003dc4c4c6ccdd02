"""SimCLR: two views of an image attract each other, all other views of the batch repel.

Chen, Kornblith, Norouzi, Hinton: "A Simple Framework for Contrastive Learning of Visual
Representations", ICML 2020 (arXiv 2002.05709).
"""

import dataclasses

from keras import ops

from must_keras.ops import Tensor
from must_keras.ops.sampling import fold
from must_keras.self_supervised.pairs import PairMethod, PairModel
from must_keras.self_supervised.views import RandomViews
from must_keras.training.network import Network
from must_keras.training.self_labeled import check_comparing
from must_keras.training.strategy import gather_over_replicas, replica_index

# A logit below all others.
_NEVER = -1e9


@dataclasses.dataclass(frozen=True, kw_only=True)
class SimCLR(PairMethod):
    """SimCLR with its published augmentation, projection head and loss.

    The optimizer is the recipe's: the paper's LARS is for batches of 4096. The projection head is
    the paper's formula, g(h) = W2 relu(W1 h), with biases; the authors' code has
    BatchNormalization in it. The views' blur follows the size of the images (see `distorted`).

    Attributes:
        temperature: of the softmax; 0.1 is the best of the paper's table 5, and its default.

    Example:
        training = mk.TrainingConfig(steps=1000, batch=64, learning_rate=0.01, optimizer=mk.SGD())
        mk.SimCLR(training=training)

    """

    name: str = "simclr"
    views: RandomViews = dataclasses.field(default_factory=RandomViews)
    temperature: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_comparing(self.where, self.training)

    def build(self, network: Network, *, seed: int, num_images: int) -> PairModel:
        return _Model(self, self.encoder(network, seed=seed))


class _Model(PairModel):
    def keys_of_passed(self, keys: Tensor) -> Tensor:
        # Branches of the two views of an image are dropped independently.
        return ops.concatenate([fold(keys, 1), fold(keys, 2)])

    def contrast(self, x: dict[str, Tensor], targets: None) -> tuple[Tensor, Tensor]:
        # One pass, as published: BatchNormalization normalizes both views of all images together.
        both = self(ops.concatenate([x["image"], x["other"]]), training=True)
        return compare_views(ops.normalize(both, axis=-1), temperature=self.method.temperature)


def compare_views(
    views: Tensor, *, temperature: float, shown: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the loss of each view against the views of the batch of all replicas: `nt_xent`.

    Args:
        views: [2 B, D], of length 1: the first views of this replica's images, then the others.
        temperature: of the softmax.
        shown: [B] bool, the images that are compared; the losses of the others mean nothing. None:
            all.

    Returns:
        [2 B] losses and [2 B] bool, whether the other view of the image is the most similar one.
    """
    everyone = _of_all_replicas(views)
    half, number = everyone.shape[0] // 2, views.shape[0] // 2
    first = replica_index() * number + ops.arange(number, dtype="int32")
    own = ops.concatenate([first, first + half])
    partner = ops.concatenate([first + half, first])
    among = None
    if shown is not None:
        among = _of_all_replicas(ops.tile(ops.cast(shown, views.dtype), (2,))) > 0.5
    options = {"own": own, "partner": partner, "temperature": temperature}
    return nt_xent(views, everyone, among=among, **options)


def _of_all_replicas(views: Tensor) -> Tensor:
    """Return the first views of all replicas, then the others, from those of this one."""
    return ops.concatenate([gather_over_replicas(side) for side in ops.split(views, 2)])


def nt_xent(
    anchors: Tensor,
    everyone: Tensor,
    *,
    own: Tensor,
    partner: Tensor,
    temperature: float,
    among: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the normalized temperature-scaled cross-entropy (arXiv 2002.05709, equation 1).

    -log(exp(z_i . z_j / t) / sum over k != i of exp(z_i . z_k / t)) for an anchor i, its partner j
    and all views k of the batch.

    Args:
        anchors: [A, D], of length 1.
        everyone: [C, D], of length 1, the anchors among them.
        own: [A] int, index of each anchor in `everyone`.
        partner: [A] int, index of the other view of its image.
        temperature: t.
        among: [C] bool, the views k; None: all.

    Returns:
        [A] losses and [A] bool, whether the partner is the most similar one.
    """
    logits = ops.matmul(anchors, ops.transpose(everyone)) / temperature
    places = ops.arange(everyone.shape[0], dtype="int32")
    itself = places[None] == ops.cast(own, "int32")[:, None]
    is_left_out = itself if among is None else itself | ~among[None]
    logits = ops.where(is_left_out, ops.cast(_NEVER, logits.dtype), logits)
    losses = ops.sparse_categorical_crossentropy(partner, logits, from_logits=True)
    return losses, ops.argmax(logits, axis=-1) == ops.cast(partner, "int32")
