"""The student as a function without variables, which converters take."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from must_keras.inference.model import serve
from must_keras.training.model import MultiTaskModel

# Attributes of operations that name functions: of loops and conditions.
_FUNCTIONS = ("body", "cond", "then_branch", "else_branch", "f")


@dataclasses.dataclass(frozen=True)
class Frozen:
    """`serve` of some heads, with the weights as constants.

    Attributes:
        function: of images, uint8, to {"<head>.<output>": tensor}.
        spec: of the images.
        outputs: {"<head>.<output>": its tensor in the graph}.

    Example:
        frozen = freeze(model, (None, None, None, 3), heads=())
        frozen.function(images)["objects.boxes"]
    """

    function: Callable[[tf.Tensor], dict[str, tf.Tensor]]
    spec: tf.TensorSpec
    outputs: dict[str, tf.Tensor]

    def heads_with(self, operations: Sequence[str]) -> dict[str, list[str]]:
        """Return {operation: the heads whose outputs depend on it}, by types of operations."""
        found: dict[str, dict[str, None]] = {operation: {} for operation in operations}
        for name, tensor in self.outputs.items():
            used = set(_operations(tensor))
            for operation in used.intersection(operations):
                found[operation][name.rpartition(".")[0]] = None
        return {operation: list(heads) for operation, heads in found.items()}


def freeze(model: MultiTaskModel, shape: tuple[int | None, ...], *, heads: Sequence[str]) -> Frozen:
    """Return `serve` of some heads as a function without variables.

    Args:
        model: the model.
        shape: (B, H, W, 3) of the images; None for any.
        heads: their names; empty for all.
    """
    spec = tf.TensorSpec(shape, tf.uint8, name="images")

    def of_heads(images: tf.Tensor) -> dict[str, tf.Tensor]:
        found = serve(model, images).items()
        return {key: v for key, v in found if not heads or key.rpartition(".")[0] in heads}

    traced = tf.function(of_heads, autograph=False).get_concrete_function(spec)
    # Converters follow variables only where they are a SavedModel's.
    constant = convert_variables_to_constants_v2(traced, lower_control_flow=False)
    outputs = dict(zip(sorted(traced.structured_outputs), constant.outputs, strict=True))
    function = tf.function(
        lambda images: dict(zip(outputs, constant(images), strict=True)),
        input_signature=[spec],
        autograph=False,
    )
    return Frozen(function, spec, outputs)


def _operations(tensor: tf.Tensor) -> Iterator[str]:
    """Yield the types of the operations that a tensor depends on, those of loops included."""
    library = {f.signature.name: f for f in tensor.graph.as_graph_def().library.function}
    waiting, seen = [tensor.op], {tensor.op.name}
    while waiting:
        operation = waiting.pop()
        yield operation.type
        for name in _FUNCTIONS:
            if name in operation.node_def.attr:
                nodes = library[operation.node_def.attr[name].func.name].node_def
                yield from (node.op for node in nodes)
        for value in operation.inputs:
            if value.op.name not in seen:
                seen.add(value.op.name)
                waiting.append(value.op)
