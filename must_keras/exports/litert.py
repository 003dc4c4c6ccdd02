"""LiteRT (.tflite): for telephones and small computers."""

import dataclasses
import pathlib
from typing import TYPE_CHECKING, ClassVar

from must_keras import command
from must_keras.errors import UserError, reason
from must_keras.exports.format import ExportFormat

if TYPE_CHECKING:
    from must_keras.training.model import MultiTaskModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class LiteRT(ExportFormat):
    """A LiteRT file, model.tflite, of built-in operations: one image of one size at a time.

    Attributes:
        size: (height, width) of the image in pixels; None for those of the network's input. An
            image of another size is to be resized to it first.

    Raises:
        UserError: the size is no pair of positive whole numbers.

    Example:
        mk.Recipe(..., exports=(mk.LiteRT(size=(480, 640)),))
        # interpreter.get_signature_runner()(images=image[None])
    """

    name: str = "litert"
    size: tuple[int, int] | None = None

    file: ClassVar[str] = "model.tflite"
    program: ClassVar[pathlib.Path] = pathlib.Path(__file__).with_name("run_litert.py")
    packages: ClassVar[tuple[str, ...]] = ("ai_edge_litert",)

    def __post_init__(self) -> None:
        super().__post_init__()
        is_pair = isinstance(self.size, tuple | list) and len(self.size) == 2
        if self.size is not None and not (
            is_pair and all(type(side) is int and side > 0 for side in self.size)
        ):
            problem = "expected (height, width) in pixels, or None"
            raise UserError.of(f"export {self.name!r}", "size", self.size, problem)

    def image_size(self, model: "MultiTaskModel") -> tuple[int, int]:
        return model.size if self.size is None else tuple(self.size)

    def write(self, model: "MultiTaskModel", path: pathlib.Path) -> None:
        import tensorflow as tf
        from tensorflow.lite.python.convert_phase import ConverterError

        from must_keras.exports.frozen import freeze

        frozen = freeze(model, (1, *self.image_size(model), 3), heads=self.heads)
        module = tf.Module()
        module.serve = frozen.function
        function = frozen.function.get_concrete_function()
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
        failed = None
        with command.quiet_stderr():
            try:
                converted = converter.convert()
            except ConverterError as error:
                failed = error
        if failed is not None:
            names = {one.operator.name.removeprefix("tf.") for one in failed.errors}
            names = sorted(filter(None, names))
            if names:
                raise self.refused(frozen.heads_with(names)) from failed
            raise UserError(f"export {self.name!r} cannot be converted: {reason(failed)}")
        path.write_bytes(converted)
