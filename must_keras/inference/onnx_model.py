"""An ONNX file as an external model, run by ONNX Runtime."""

import dataclasses
import hashlib
import importlib.util
import os
import pathlib
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from must_keras.errors import UserError, expect, listed, reason
from must_keras.files import file_sha256
from must_keras.inference.external import AnyExternalModel, Shape

# Of ONNX Runtime's names of types, those that images can have.
_DTYPES = {
    "tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8, "tensor(int8)": np.int8, "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}  # fmt: skip
# Where they are, in this order.
_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
# Ends of the names of files with the weights of a file that is too large for one.
_WEIGHTS = (".data", "_data")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnnxModel(AnyExternalModel):
    """An ONNX file of one input, images; ONNX Runtime runs it.

    A graph of operations is read as data: nothing else in the file is executed. Images have the
    type that the input declares, and whole numbers are rounded. A batch of images is predicted one
    by one where the file takes one image.

    Attributes:
        model: the file; "<file>.data" or "<file>_data" beside it is a part of it.
        layout: as PyTorch exports; "channels_last" for files from TensorFlow.

    Raises:
        UserError: see AnyExternalModel, which has the other attributes.

    Example:
        mk.ExternalTeacher(
            name="depth", task=mk.Depth(name="depth", kind="relative_inverse"), loss_weight=1.0,
            model=mk.OnnxModel("depth.onnx", size=518, form="relative_inverse",
                               offset=(123.675, 116.28, 103.53), scale=(58.395, 57.12, 57.375)),
        )
    """

    model: str | os.PathLike[str] = dataclasses.field(kw_only=False)
    layout: Literal["channels_last", "channels_first"] = "channels_first"

    def __post_init__(self) -> None:
        super().__post_init__()
        expect("an external model", self, model=str | os.PathLike)

    def sha256(self) -> str:
        """Return the SHA-256 of the file, with its weights where they lie beside it."""
        path = pathlib.Path(self.model)
        if not path.is_file():
            raise UserError(f"there is no file {path}", path=path, key="model")
        beside = [path.with_name(path.name + end) for end in _WEIGHTS]
        digests = [file_sha256(one) for one in (path, *beside) if one.is_file()]
        whole = hashlib.sha256("\n".join(digests).encode()).hexdigest()
        return digests[0] if len(digests) == 1 else whole

    def load(self) -> Callable[[Any], Any]:
        path = pathlib.Path(self.model)
        if importlib.util.find_spec("onnxruntime") is None:
            remedy = "pip install onnxruntime, or the extra must-keras[onnx]"
            raise UserError(f"{path} needs onnxruntime: {remedy}", key="model", remedy=remedy)
        self.sha256()
        function = OnnxFunction(path)
        self.check_input(path, function.shape, function.dtype)
        return function


class OnnxFunction:
    """An ONNX file as a function of a batch of images.

    Args:
        path: of the file.

    Attributes:
        dtype: of the images that it takes.
        shape: of the images that it takes, None where any.

    Raises:
        UserError: it cannot be read, or takes anything but one tensor of numbers.

    Example:
        OnnxFunction(pathlib.Path("depth.onnx"))(images)["predicted_depth"]
    """

    def __init__(self, path: pathlib.Path):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # Errors, which it raises too.
        present = onnxruntime.get_available_providers()
        providers = [name for name in _PROVIDERS if name in present]
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # Its exceptions have no common base.
            remedy = "check the file, or give another model"
            problem = f"cannot be read by ONNX Runtime: {reason(error)}; {remedy}"
            raise UserError.at(path, problem, remedy=remedy) from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            names = listed([one.name for one in inputs], limit=8)
            raise UserError.at(path, f"takes several tensors ({names}), expected images alone")
        (images,) = inputs
        if images.type not in _DTYPES:
            allowed = ", ".join(_DTYPES)
            problem = f"takes images of the type {images.type}; allowed are {allowed}"
            raise UserError.at(path, problem, value=images.type, allowed=_DTYPES)
        self.dtype = np.dtype(_DTYPES[images.type])
        # Names stand for sides of any length.
        sides = (side if isinstance(side, int) else None for side in images.shape or ())
        self.shape: Shape = tuple(sides)
        self._input, self._names = images.name, [one.name for one in self._session.get_outputs()]

    def __call__(self, images: Any) -> dict[str, np.ndarray]:
        """Return {output: prediction} for [B, ...] images."""
        values = np.asarray(images)
        if np.issubdtype(self.dtype, np.integer):
            limits = np.iinfo(self.dtype)
            values = np.clip(np.rint(values), limits.min, limits.max)
        values = values.astype(self.dtype)
        size = 1 if self.shape[:1] == (1,) else len(values)
        parts = [self._run(values[i : i + size]) for i in range(0, len(values), size)]
        return {name: np.concatenate([part[name] for part in parts]) for name in self._names}

    def _run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        found = self._session.run(self._names, {self._input: images})
        return {
            name: np.reshape(value, (1,)) if np.ndim(value) == 0 else np.asarray(value)
            for name, value in zip(self._names, found, strict=True)
        }
