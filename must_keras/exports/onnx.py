"""ONNX: for ONNX Runtime, and what reads its files."""

import contextlib
import dataclasses
import logging
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from must_keras.exports.format import ExportFormat

if TYPE_CHECKING:
    from must_keras.training.model import MultiTaskModel

# The newest that tf2onnx 1.17 writes.
_OPSET = 18


@dataclasses.dataclass(frozen=True, kw_only=True)
class Onnx(ExportFormat):
    """An ONNX file, model.onnx: images of any size, several of one size at a time.

    Example:
        mk.Recipe(..., exports=(mk.Onnx(),))
        # session.run(None, {"images": images})
    """

    name: str = "onnx"

    file: ClassVar[str] = "model.onnx"
    program: ClassVar[pathlib.Path] = pathlib.Path(__file__).with_name("run_onnx.py")
    packages: ClassVar[tuple[str, ...]] = ("tf2onnx", "onnx", "onnxruntime")

    def write(self, model: "MultiTaskModel", path: pathlib.Path) -> None:
        with _quiet():
            import tf2onnx

            from must_keras.exports.frozen import freeze

            frozen = freeze(model, (None, None, None, 3), heads=self.heads)
            proto, _ = tf2onnx.convert.from_function(
                frozen.function,
                input_signature=[frozen.spec],
                opset=_OPSET,
                custom_op_handlers={"SelectV2": (_select, [])},
            )
        unknown = sorted(_unknown(proto.graph))
        if unknown:
            raise self.refused(frozen.heads_with(unknown))
        shape = proto.graph.input[0].type.tensor_type.shape
        for dimension, name in zip(shape.dim[:3], ("batch", "height", "width"), strict=True):
            dimension.dim_param = name
        path.write_bytes(proto.SerializeToString())


def _select(context: Any, node: Any, name: str, arguments: Any) -> None:
    """Convert a selection to one; tf2onnx' own a * c + b * (1 - c) is not finite where a is not."""
    node.type = "Where"


def _unknown(graph: Any) -> Iterator[str]:
    """Yield the types of operations in a graph that ONNX does not have."""
    import onnx

    for node in graph.node:
        if node.domain or not onnx.defs.has(node.op_type, max_inclusive_version=_OPSET):
            yield node.op_type
        for attribute in node.attribute:
            yield from _unknown(attribute.g)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide what tf2onnx logs of operations: those that are left over raise an error."""
    logger = logging.getLogger("tf2onnx")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
