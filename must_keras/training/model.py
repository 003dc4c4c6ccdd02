"""The multi-task network: one backbone, one pyramid, a head for every task."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import keras
import tensorflow as tf
from keras import ops

from must_keras.tasks.base import Task
from must_keras.tasks.self_labeled import SelfLabeledTask
from must_keras.tasks.streams import PLAIN
from must_keras.training import head_dropping
from must_keras.training.fitted import FittedModel, Gradients, Inputs, Losses, Targets
from must_keras.training.loss_weights import LearnedWeights
from must_keras.training.network import BACKBONE, losses_over, valid_counts
from must_keras.training.strategy import num_replicas, sum_over_replicas
from must_keras.training.stream_networks import StreamNetworks

Tensor = Any
# {task name: decoded prediction}
Decoded = dict[str, dict[str, Tensor]]


@keras.saving.register_keras_serializable(package="must_keras")
class MultiTaskModel(FittedModel):
    """A functional model whose outputs are named by task, with the tasks' own losses.

    Inputs are {"image": [B, H, W, 3] RGB in [0, 255], uint8 in batches and float32 from the input
    layer on, "area": [B, 4] the image without padding, (ymin, xmin, ymax, xmax) in pixels}; outputs
    are {task name: the head's prediction}. `fit` takes pairs of inputs and {"labels": {task name:
    label}, "keys": [B] int32}. `predict` returns decoded predictions: {task name: {"boxes": ...,
    "scores": ...}}.

    A training step returns its own batch's losses (see FittedModel); a test step, and so
    `evaluate`, the means over the batches so far.

    Args:
        inputs: as above.
        outputs: as above.
        tasks: the tasks, one for every output.
        loss_weights: {task name: weight}; 1 where a name is absent.
        clip_norm: see FittedModel.
        untaught: {task name: keys of its predictions (Labels.teachable) that no label has taught};
            they are left out of `decode`, and so of everything that the model predicts.
        self_labeled: tasks whose labels are computed in the step. Those that receive the plain view
            have an output too. Their heads take part in the loss alone: they predict nothing, and
            no saved model has them.
        streams: the passes of the other ones; None: there are none.

    Attributes:
        heads: {name: task} of all outputs: `tasks`, then `self_labeled`.
        drop_heads: probability with which a training step drops a head of an image (see
            head_dropping.py).
        learned_weights: learns the weights of the losses, in place of `loss_weights`; set before
            `compile`. A saved model has their values at that time.

    Example:
        model = build_model(network, tasks, seed=0, norm=training.norm())
        training.compile(model)
        model.fit(pipeline.batches(), steps_per_epoch=training.steps)
        model.predict(images)["objects"]["boxes"]

    """

    def __init__(
        self,
        inputs: Any,
        outputs: Any,
        tasks: Sequence[Task] = (),
        loss_weights: Mapping[str, float] | None = None,
        clip_norm: float | None = None,
        untaught: Mapping[str, Sequence[str]] | None = None,
        self_labeled: Sequence[SelfLabeledTask] = (),
        streams: StreamNetworks | None = None,
        **kwargs: Any,
    ):
        super().__init__(inputs, outputs, clip_norm, **kwargs)
        self.untaught = untaught or {}
        self.tasks = {task.name: task for task in tasks}
        self.self_labeled = {task.name: task for task in self_labeled}
        self.heads = {**self.tasks, **self.self_labeled}
        self.streams = streams
        # Layers that the plain view does not reach: tracked here.
        known = {id(layer) for layer in self.layers}
        networks = streams.networks if streams else ()
        found = {layer.name: layer for n in networks for layer in n.layers if layer.weights}
        self.stream_layers = [layer for layer in found.values() if id(layer) not in known]
        self.drop_heads = 0.0
        self._fixed_weights = {name: 1.0 for name in self.heads} | dict(loss_weights or {})
        self.learned_weights: LearnedWeights | None = None

    @property
    def untaught(self) -> dict[str, tuple[str, ...]]:
        """{task name: keys of its outputs that no label has taught}; set before predicting."""
        return dict(self._untaught)

    @untaught.setter
    def untaught(self, value: Mapping[str, Sequence[str]]) -> None:
        self._untaught = {name: tuple(parts) for name, parts in value.items() if parts}

    @property
    def numbers(self) -> tuple[str, ...]:
        losses = (f"{name}_loss" for name in self.heads)
        weights = (f"{name}_weight" for name in self.heads if self.learned_weights)
        return (*losses, "gradient_norm", *weights)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the input in pixels."""
        return tuple(self.input["image"].shape[1:3])

    @property
    def task_weights(self) -> dict[str, float]:
        """{task name: current factor of its loss}."""
        if self.learned_weights is None:
            return dict(self._fixed_weights)
        return {name: float(value) for name, value in self.learned_weights.factors().items()}

    def call(self, inputs: Inputs, training: bool | None = None, mask: Any = None) -> Any:
        """Return the heads' predictions: {task name: prediction}."""
        # Keras warns of inputs whose keys are in another order, as a tf.function passes them.
        ordered = {key: inputs[key] for key in self.input}
        return super().call(ordered, training=training, mask=mask)

    def predictions(self, x: Inputs, *, training: bool) -> dict[str, Any]:
        """Return the predictions of all heads: `call`, and those of streams."""
        if self.streams is None:
            return self(x, training=training)
        is_plain = bool(self.heads.keys() & self.output.keys())
        plain = self(x, training=training) if is_plain else {}
        reached = self.layers if is_plain else ()
        return plain | self.streams.predictions(x, plain, reached, training=training)

    def get_layer(self, name: str | None = None, index: int | None = None) -> keras.Layer:
        """Return a layer by its name, a head that receives streams alone among them, or its place.

        See keras.Model.get_layer.
        """
        own = (layer for layer in self.stream_layers if name is not None and layer.name == name)
        return next(own, None) or super().get_layer(name, index)

    def targets(self, x: Inputs, y: Targets) -> Targets:
        """Return the labels of a batch with those that its inputs determine and that it lacks."""
        tasks = {n: task for n, task in self.self_labeled.items() if n not in y["labels"]}
        if not tasks:
            return y
        kept, everywhere = y.get("kept", {}), ops.ones_like(y["keys"], dtype="bool")
        own = {
            name: task.labels.label({**x, "shown": kept.get(name, everywhere)}, y["keys"])
            for name, task in tasks.items()
        }
        return {**y, "labels": {**y["labels"], **own}}

    def training_targets(self, x: Inputs, y: Targets) -> Targets:
        """Return `targets` without the heads that a training step drops."""
        y = self.targets(x, y)
        if not self.drop_heads:
            return y
        return {**y, "kept": head_dropping.kept(self.heads, y, self.drop_heads)}

    def losses_by_task(self, y: Targets, y_pred: Mapping[str, Any]) -> Losses:
        """Return each task's loss on this replica: {task name: scalar}.

        The sum over this replica's valid elements is divided by the number of valid elements in the
        whole batch of all replicas. Labels of self-labeled tasks must be among those of y: see
        `targets`.
        """
        return self.losses_over(y, y_pred, self.valid_counts(y))

    def valid_counts(self, y: Targets) -> Tensor:
        """Return each task's number of valid elements in the batch of all replicas: [tasks]."""
        return sum_over_replicas(valid_counts(self.heads.values(), y))

    def losses_over(self, y: Targets, y_pred: Mapping[str, Any], counts: Tensor) -> Losses:
        """Return `losses_by_task` of a microbatch, for a batch with so many valid elements."""
        return losses_over(self, self.heads.values(), y, y_pred, counts)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Return the weighted sum of the tasks' losses: one replica's term of the global loss."""
        y = self.targets(x, y)
        counts = self.valid_counts(y)
        return self._weighted(self.losses_over(y, y_pred, counts), counts)

    def _weighted(self, losses: Losses, counts: Tensor, shares: int = 1) -> Tensor:
        """Return the weighted sum of the losses of a replica, or of one of its microbatches."""
        total = sum(self.weighted_losses(losses).values())
        if self.learned_weights is None:
            return total
        labeled = _labeled(losses, counts)
        return total + self.learned_weights.penalty(labeled) / (num_replicas() * shares)

    def weighted_losses(self, losses: Losses) -> Losses:
        """Return the losses, each times its weight."""
        learned = self.learned_weights
        factors = self._fixed_weights if learned is None else learned.factors()
        return {name: factors[name] * loss for name, loss in losses.items()}

    def train_step(self, data: Any) -> dict[str, Tensor]:
        """Make one optimizer step on TensorFlow; see FittedModel.optimize."""
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        y = self.training_targets(x, y)
        counts = self.valid_counts(y)
        losses, pairs, of_heads = self._gradients(x, y, counts)
        logs = self._summed(losses, counts)
        if self.learned_weights is not None:
            factors = self.learned_weights.factors()
            logs |= {f"{name}_weight": tf.identity(value) for name, value in factors.items()}
            summed = {name: logs[f"{name}_loss"] for name in losses}
            self.learned_weights.update(summed, _labeled(losses, counts))
            if self.learned_weights.uses_gradients:
                norms = {k: tf.norm(g) for k, g in sum_over_replicas(of_heads).items()}
                labeled = _labeled(losses, counts)
                self.learned_weights.update_by_gradients(summed, labeled, norms)
        return self.optimize(pairs, logs)

    def _summed(self, losses: Losses, counts: Tensor) -> dict[str, Tensor]:
        """Return {"<task>_loss", "loss"}, summed over replicas."""
        logs = {f"{name}_loss": value for name, value in losses.items()}
        return sum_over_replicas(logs | {"loss": self._weighted(losses, counts)})

    def _gradients(self, x: Inputs, y: Targets, counts: Tensor) -> "_Gradients":
        """Return this replica's losses and gradients, summed over its microbatches."""
        variables = self.trainable_weights
        shared = self._shared_kernel()
        losses: Losses = {}
        of_heads: dict[str, Tensor] = {}
        total: list[Tensor | None] = [None] * len(variables)
        for index in range(self.accumulate):
            # A microbatch waits for the gradients of the one before: their features need not
            # coexist.
            with tf.control_dependencies([tf.group(*(g for g in total if g is not None))]):
                some_x, some_y = self.microbatch((x, y), index)
            with self.sampling(some_y["keys"]):
                with tf.GradientTape(persistent=shared is not None) as tape:
                    found = self.losses_over(
                        some_y, self.predictions(some_x, training=True), counts
                    )
                    loss = self._weighted(found, counts, self.accumulate)
                    scaled = self.optimizer.scale_loss(loss)
                gradients = tape.gradient(scaled, [v.value for v in variables])
            gradients = [g if g is None else tf.convert_to_tensor(g) for g in gradients]
            total = [g if t is None else t + g for t, g in zip(total, gradients, strict=True)]
            losses = {name: losses.get(name, 0.0) + value for name, value in found.items()}
            for name, value in found.items() if shared is not None else ():
                gradient = tape.gradient(value, shared.value, unconnected_gradients="zero")
                of_heads[name] = of_heads.get(name, 0.0) + tf.cast(gradient, tf.float32)
        pairs = zip(total, variables, strict=True)
        return _Gradients(losses, [(g, v) for g, v in pairs if g is not None], of_heads)

    def _shared_kernel(self) -> keras.Variable | None:
        """Return the backbone's last kernel, where the loss weights depend on its gradients."""
        if self.learned_weights is None or not self.learned_weights.uses_gradients:
            return None
        return [v for v in self.get_layer(BACKBONE).trainable_variables if len(v.shape) > 1][-1]

    def microbatch(self, batch: Any, index: int) -> Any:
        """Return one of the `accumulate` microbatches of a replica's batch."""
        if self.accumulate == 1:
            return batch
        return tf.nest.map_structure(lambda v: tf.identity(v[index :: self.accumulate]), batch)

    def test_step(self, data: Any) -> dict[str, Tensor]:
        """Return the losses in inference mode: their means since the metrics were reset."""
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        y = self.targets(x, y)
        counts = self.valid_counts(y)
        predictions = self.predictions(x, training=False)
        logs = self._summed(self.losses_over(y, predictions, counts), counts)
        self.add_to_means(logs)
        return {mean.name: mean.result() for mean in self.metrics if mean.name in logs}

    def decode(self, x: Inputs, map_size: tuple[int, int] | None = None) -> Decoded:
        """Return every head's decoded prediction of a batch: {task name: outputs}.

        Args:
            x: the inputs.
            map_size: (H', W') of per-pixel outputs; default is the input's size.
        """
        predictions = self(x, training=False)
        found = {}
        for name, task in self.tasks.items():
            layer = self.get_layer(name)
            decoded = task.predictions.decode(predictions[name], layer, map_size or self.size)
            left_out = self._untaught.get(name, ())
            found[name] = {key: value for key, value in decoded.items() if key not in left_out}
        return found

    def predict_step(self, data: Any) -> Decoded:
        """Return `decode` of {"image", "area"}, or of images without padding: [B, H, W, 3]."""
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self.decode(x if isinstance(x, dict) else self.without_padding(x))

    def without_padding(self, image: Tensor) -> Inputs:
        """Return the inputs of images, [B, H, W, 3], that have no padding."""
        area = ops.convert_to_tensor([[0.0, 0.0, *self.size]], dtype="float32")
        image = ops.cast(image, "float32")
        return {"image": image, "area": ops.tile(area, (ops.shape(image)[0], 1))}

    def without_optimizer(self) -> keras.Model:
        """Return a model of the same layers, in the same precision, without an optimizer.

        It has no self-labeled heads; where there are no others, it is of the backbone alone.
        """
        if self.tasks:
            return self._with_heads(())
        image = self.input["image"]
        return keras.Model(image, self.get_layer(BACKBONE)(image), name=self.name)

    def replayable(self) -> keras.Model:
        recorded = self._recorded()
        return self._with_heads(recorded) if self.tasks or recorded else self.without_optimizer()

    def _recorded(self) -> list[SelfLabeledTask]:
        # A model that is saved has the plain view alone.
        plain = [task for task in self.self_labeled.values() if task.streams == (PLAIN,)]
        found = [task.recorded() for task in plain]
        return [task for task in found if task is not None]

    def _with_heads(self, own: Sequence[SelfLabeledTask]) -> "MultiTaskModel":
        """Return a model of the same layers with these heads beside those of `tasks`."""
        names = [*self.tasks, *(task.name for task in own)]
        outputs = {name: value for name, value in self.output.items() if name in names}
        weights = {name: self.task_weights[name] for name in names}
        options = (weights, self.clip_norm, self._untaught, own)
        return MultiTaskModel(self.input, outputs, [*self.tasks.values()], *options)

    def get_config(self) -> dict[str, Any]:
        network = keras.Model(self.input, self.output)
        # Where everything is taught, the bytes are those of a model without these keys.
        untaught = {name: list(parts) for name, parts in self._untaught.items()}
        own = [keras.saving.serialize_keras_object(task) for task in self._recorded()]
        optional = {"untaught": untaught, "self_labeled": own}
        return {key: value for key, value in optional.items() if value} | {
            "network": keras.saving.serialize_keras_object(network),
            "tasks": [keras.saving.serialize_keras_object(t) for t in self.tasks.values()],
            "loss_weights": self.task_weights,
            "clip_norm": self.clip_norm,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        config = dict(config)
        network = keras.saving.deserialize_keras_object(config.pop("network"), custom_objects)
        tasks = [keras.saving.deserialize_keras_object(t) for t in config.pop("tasks")]
        own = config.pop("self_labeled", ())
        own = [keras.saving.deserialize_keras_object(t) for t in own]
        return cls(network.input, network.output, tasks, self_labeled=own, **config)


class _Gradients(NamedTuple):
    """The losses of a replica, its (gradient, variable), and each head's shared gradient, if any.

    Attributes:
        losses: {task name: scalar}.
        pairs: of the weighted sum of the losses.
        of_heads: {task name: gradient of its unweighted loss with respect to `_shared_kernel`}.
    """

    losses: Losses
    pairs: Gradients
    of_heads: dict[str, Tensor]


def _labeled(losses: Losses, counts: Tensor) -> Losses:
    """Return {head: 1.0 where the batch has a label for it, else 0.0}."""
    return {name: ops.cast(counts[i] > 0.0, counts.dtype) for i, name in enumerate(losses)}
