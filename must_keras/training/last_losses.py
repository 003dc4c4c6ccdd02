"""Weights that are a function of the losses of the step before."""

from collections.abc import Callable, Mapping, Sequence

from keras import ops

from must_keras.ops import Tensor
from must_keras.ops.precision import full
from must_keras.training.loss_weights import LearnedWeights


class LastLosses(LearnedWeights):
    """Weights by a rule on each head's last loss; they add up to the number of heads.

    The losses are those of the last step in which a batch had a label for the head and its loss was
    finite: of the whole batch, over all replicas and microbatches, which is not known before the
    gradients of its own step. Weights are equal before every head has had one.

    Args:
        names: of the heads.
        rule: returns numbers above 0, [K], in proportion to the weights, of losses [K].
        name: of the layer.

    Example:
        LastLosses(["boxes", "depth"], ops.softmax, name="weights").factors()
    """

    def __init__(self, names: Sequence[str], rule: Callable[[Tensor], Tensor], *, name: str):
        super().__init__(name=name, dtype=full())
        self._names, self._rule = tuple(names), rule
        options = {"dtype": full(), "trainable": False, "aggregation": "only_first_replica"}
        shape = (len(names),)
        self.last = self.add_weight(shape=shape, initializer="zeros", name="last", **options)
        self.known = self.add_weight(shape=shape, initializer="zeros", name="known", **options)

    def factors(self) -> dict[str, Tensor]:
        weights = self._rule(ops.convert_to_tensor(self.last))
        weights = len(self._names) * weights / ops.sum(weights)
        weights = ops.where(ops.all(self.known > 0.0), weights, ops.ones_like(weights))
        return {name: weights[i] for i, name in enumerate(self._names)}

    def update(self, losses: Mapping[str, Tensor], labeled: Mapping[str, Tensor]) -> None:
        loss, known = (ops.stack([x[name] for name in self._names]) for x in (losses, labeled))
        is_new = ops.logical_and(known > 0.0, ops.isfinite(loss))
        self.last.assign(ops.where(is_new, loss, self.last))
        self.known.assign(ops.where(is_new, 1.0, self.known))
