"""The interface of an export format: a student as one file of another runtime.

Every file has one input, `images` [B, H, W, 3] uint8 RGB in [0, 255], and the outputs of the
SavedModel's `serve` under the same names: the letterbox, the suppression of boxes and the return to
the pixels of the images are inside.
"""

import abc
import dataclasses
import importlib.util
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from must_keras import naming
from must_keras.errors import UserError, expect_each, listed, not_allowed

if TYPE_CHECKING:  # Recipes and command lines name formats before TensorFlow is imported.
    from must_keras.training.model import MultiTaskModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportFormat(abc.ABC):
    """A format to which a run exports its student.

    Attributes:
        name: of its folder in export/.
        heads: names of the heads whose outputs the file has; empty for all.

    Raises:
        UserError: the name cannot be that of a folder, or heads are no tuple of names.

    Example:
        mk.Recipe(..., exports=(mk.Onnx(), mk.LiteRT(heads=("kind",))))
    """

    name: str
    heads: tuple[str, ...] = ()

    file: ClassVar[str]
    """Name of the file in the folder."""

    program: ClassVar[pathlib.Path]
    """The Python program that predicts with a file alone: MODEL IMAGES.npz PREDICTIONS.npz."""

    packages: ClassVar[tuple[str, ...]]
    """The modules that write the file and read it, beside those of must_keras."""

    def __post_init__(self) -> None:
        naming.check_name(self.name, "an export")
        expect_each(f"export {self.name!r}", self, heads=str)

    def check_heads(self, heads: Sequence[str]) -> None:
        """Raise UserError where it asks for a head that is none of a student's."""
        for head in self.heads:
            if head not in heads:
                what = f"export {self.name!r}: heads contain {head!r}"
                raise not_allowed(what, head, heads, key="heads")

    def check_installed(self) -> None:
        """Raise UserError where a package is missing that writes or reads the file."""
        missing = [name for name in self.packages if importlib.util.find_spec(name) is None]
        if missing:
            remedy = "pip install -r requirements-export.txt, or the extra must-keras[export]"
            problem = f"export {self.name!r} needs {listed(missing)}: {remedy}"
            raise UserError(problem, value=missing[0], remedy=remedy)

    def image_size(self, model: "MultiTaskModel") -> tuple[int, int] | None:
        """Return the (height, width) of the images that the file takes; None for any."""
        return None

    @abc.abstractmethod
    def write(self, model: "MultiTaskModel", path: pathlib.Path) -> None:
        """Write the file.

        Args:
            model: the student.
            path: of the file.

        Raises:
            UserError: the format has no form for an operation of the model; names it.
        """

    def refused(self, operations: dict[str, Sequence[str]]) -> UserError:
        """Return the error for operations that have no form in the format.

        Args:
            operations: {operation: the heads that use it}, not empty.
        """
        found = [
            f"{operation} ({'head' if len(heads) == 1 else 'heads'} {', '.join(heads)})"
            for operation, heads in operations.items()
        ]
        which = "the operation" if len(found) == 1 else "the operations"
        return UserError(
            f"export {self.name!r}: {which} {listed(found, limit=8)} cannot be converted; leave "
            "out by heads=(...) what uses it, or use the SavedModel",
            key="heads",
            value=self.heads,
        )
