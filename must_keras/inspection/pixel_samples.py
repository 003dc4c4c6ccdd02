"""What the pixels of a folder of label files are, by a few of them."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from must_keras.data.io.images import FORMATS, read_numbers, read_triples
from must_keras.errors import UserError
from must_keras.inspection.tree import ARRAYS

_NUM_FILES = 8
# A lossy picture has no exact values.
_LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".avif")
# Photos have more colors, maps of classes fewer.
_MAX_CLASSES = 64
# Values or colors that are kept of a file.
_MAX_KEPT = 4096


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pixels:
    """The pixels of one file.

    Attributes:
        mode: "numbers" (16 bits and more), "floats", "indices" (of a palette), "gray" or "colors".
        values: sorted distinct values, or colors as red * 65536 + green * 256 + blue, at most 4096.
        known: sorted values or colors of a sample of the pixels, without 0 and the largest number
            of their type, which stand for unknown.

    Example:
        Pixels.of(pathlib.Path("a.png")).mode
    """

    mode: str
    values: np.ndarray
    known: np.ndarray

    @classmethod
    def of(cls, path: pathlib.Path) -> "Pixels":
        """Read a file.

        Raises:
            UserError: it cannot be read as label.
        """
        if path.suffix.lower() in ARRAYS:
            numbers = read_numbers(path)
            return cls._of("floats" if numbers.dtype.kind == "f" else "numbers", numbers)
        try:
            with Image.open(path, formats=FORMATS) as image:
                mode = image.mode
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise UserError.at(path, f"cannot be read: {error}") from None
        if mode in ("RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV"):
            triples = read_triples(path).astype(np.int64)
            codes = triples[..., 0] << 16 | triples[..., 1] << 8 | triples[..., 2]
            return cls._of("colors", codes)
        numbers = read_numbers(path)
        return cls._of("indices", numbers) if mode == "P" else cls.of_numbers(numbers)

    @classmethod
    def of_numbers(cls, numbers: np.ndarray) -> "Pixels":
        """Return the pixels of [H, W] numbers that are no indices of a palette."""
        if numbers.dtype.kind == "f":
            return cls._of("floats", numbers)
        return cls._of("gray" if numbers.dtype.itemsize == 1 else "numbers", numbers)

    @classmethod
    def _of(cls, mode: str, numbers: np.ndarray) -> "Pixels":
        largest = np.iinfo(numbers.dtype).max if numbers.dtype.kind in "ui" else np.inf
        valid = numbers[np.isfinite(numbers) & (numbers != 0) & (numbers != largest)]
        step = max(valid.size // _MAX_KEPT, 1)
        return cls(
            mode=mode,
            values=np.unique(numbers)[:_MAX_KEPT],
            known=np.sort(valid.reshape(-1)[::step]),
        )


@dataclasses.dataclass(frozen=True)
class Sample:
    """A few files of one folder that may be labels.

    Attributes:
        name: path of the folder below the root, which may contain "depth" or "normals".
        pixels: of the files.

    Example:
        sample = Sample.of("garden/depth", files)
    """

    name: str
    pixels: tuple[Pixels, ...]

    @classmethod
    def of(cls, name: str, files: Sequence[pathlib.Path]) -> "Sample":
        """Read some of the files; those that cannot be read, and lossy pictures, are left out."""
        exact = [path for path in files if not path.name.lower().endswith(_LOSSY)]
        found = []
        for path in exact[:: max(len(exact) // _NUM_FILES, 1)][:_NUM_FILES]:
            try:
                found.append(Pixels.of(path))
            except UserError:
                continue
        return cls(name.lower(), tuple(found))

    def is_all(self, *modes: str) -> bool:
        """Return whether there are files and all are of these modes."""
        return bool(self.pixels) and all(one.mode in modes for one in self.pixels)

    @property
    def has_few_values(self) -> bool:
        """Whether each file has as few values or colors as a map of classes."""
        return bool(self.pixels) and all(len(one.values) <= _MAX_CLASSES for one in self.pixels)

    @property
    def has_instances(self) -> bool:
        """Whether each file counts its objects: 0, 1, ... to a number of its own."""
        counts = [int(one.values.max()) for one in self.pixels]
        are_whole = [
            len(one.values) + (one.values.min() > 0) == count + 1
            for one, count in zip(self.pixels, counts, strict=True)
        ]
        return bool(counts) and all(are_whole) and len(set(counts)) > 1

    @property
    def share_of_directions(self) -> float:
        """Share of the known colors that are unit vectors, as round((n + 1) / 2 * 255)."""
        colors = np.concatenate([one.known for one in self.pixels])
        if not colors.size:
            return 0.0
        triples = np.stack([colors >> 16, colors >> 8 & 255, colors & 255], axis=-1)
        lengths = np.linalg.norm(triples / 127.5 - 1, axis=-1)
        return float(np.mean((lengths > 0.9) & (lengths < 1.1)))

    @property
    def mean_blue(self) -> float:
        """Mean of the known colors' blue."""
        colors = np.concatenate([one.known for one in self.pixels])
        return float(np.mean(colors & 255))

    @property
    def median(self) -> float:
        """Median of the known values; 0 where there are none."""
        known = np.concatenate([one.known for one in self.pixels])
        return float(np.median(known)) if known.size else 0.0
