"""A prepared TensorFlow data set, read by position."""

import functools
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from must_keras.data.io import images, pixel_bits
from must_keras.data.io.notices import Notices
from must_keras.data.io.records import Records
from must_keras.data.sources.source import Source, Stored
from must_keras.data.sources.tfds_readings import Reading
from must_keras.errors import DataError, UserError, nearest, reason


class TfdsSource(Source):
    """A split of a TensorFlow data set that has been prepared as TFRecord files.

    Args:
        name: of the source.
        builder: the data set; `tfds_builder(...)` or `tfds_folder(...)`. TFDS' own functions
            import what the folder's features.json names: only for folders that you trust.
        split: as TFDS writes it: "train", "train[:80%]", "train+test".
        labels: {head: reading of its label}; {} for images alone. Complete artifacts of a run do
            not depend on the code of a reading's function.
        image: the feature that is the image, of 8 or 16 bits: gray and 16 bits become RGB,
            transparent pixels show white. As in TFDS, EXIF orientations are not applied: images
            and labels are in the frame of the pixels as stored.
        image_id: the feature that names it; None for "<shard's file>:<record>", without reading.
        bits: bits that are used of pixels with 16; see images.read_image.

    Raises:
        UserError: the data set is not prepared, or its files are no TFRecord files.

    Example:
        builder = mk.tfds_builder("cifar100")
        mk.TfdsSource(name="cifar", builder=builder, split="train[:80%]",
                      labels={"things": mk.class_reading(builder, "label")})
    """

    def __init__(
        self,
        *,
        name: str,
        builder: tfds.core.DatasetBuilder,
        split: str,
        labels: Mapping[str, Reading],
        image: str = "image",
        image_id: str | None = None,
        bits: int | None = None,
    ):
        _check_arguments(name, builder, labels)
        pixel_bits.check_bits(f"source {name!r}", bits)
        self.name, self._bits = name, bits
        self._notices = Notices("")  # Names of examples contain the source's.
        self.label_spaces = {head: reading.space for head, reading in labels.items()}
        self._labels, self._image, self._image_id = dict(labels), image, image_id
        self._meanings = {head: space.labels(head) for head, space in self.label_spaces.items()}
        self._builder, self._split = builder, split
        self._instructions = _instructions(builder, split)
        self._features = {
            key: tfds.features.FeaturesDict({key: feature})
            for key, feature in builder.info.features.items()
        }
        needed = {image} if image_id is None else {image, image_id}
        for key in sorted(needed - self._features.keys()):
            raise UserError(
                f"{builder.info.full_name} has no feature {key!r}; it has "
                f"{', '.join(self._features)}"
            )
        counts = [instruction.examples_in_shard for instruction in self._instructions]
        self._firsts = np.cumsum([0, *counts])
        self._positions = np.concatenate(
            [
                np.arange(first + part.skip, first + part.skip + part.take)
                for first, part in zip(self._firsts[:-1], self._instructions, strict=True)
            ]
        )

    def __len__(self) -> int:
        return len(self._positions)

    def image_id(self, index: int) -> str:
        if self._image_id is not None:
            return _text(self._example(index)[self._image_id])
        position = self._positions[index]
        shard = np.searchsorted(self._firsts, position, side="right") - 1
        file = self._instructions[shard].filename.replace("\\", "/").rsplit("/", 1)[-1]
        return f"{file}:{position - self._firsts[shard]}"

    def image(self, index: int) -> np.ndarray:
        try:
            return self._example(index).rgb(self._image, self._bits, self._notices)
        except (UserError, DataError):
            raise
        except Exception as error:  # No list of what decoders raise has ever been complete.
            raise UserError(
                f"{self._where(index)}: the feature {self._image!r} is no image of 8 or 16 bits, "
                f"gray or RGB: {' '.join(str(error).split()) or type(error).__name__}"
            ) from error

    def labels(self, index: int) -> dict[str, Stored]:
        if not self._labels:
            return {}
        example = self._example(index)
        found = {}
        for head, reading in self._labels.items():
            try:
                label = self._read(reading, example)
                if label is not None:
                    self._check_classes(head, label)
                    found[head] = label
            except UserError as error:
                problem = str(error).removeprefix(f"{example.where}: ")
                raise UserError(f"{self._where(index)}, head {head!r}: {problem}") from error
        return found

    def _check_classes(self, head: str, label: Stored) -> None:
        """Raise UserError where a map or a box is of a class that is none."""
        meaning = self._meanings[head]
        # A part that a stored label lacks is reported with its task.
        if meaning and isinstance(label, Mapping) and meaning.stored_spec().keys() <= label.keys():
            meaning.check_classes(label)

    def _read(self, reading: Reading, example: "_Decoded") -> Stored | None:
        try:
            return reading.read(example)
        except (UserError, DataError):
            raise
        except KeyError as error:
            feature = error.args[0] if error.args else None
            if isinstance(feature, str) and feature not in self._features:
                hint = nearest(feature, tuple(self._features))
                raise UserError(f"the data set has no feature {feature!r}; {hint}") from None
            raise UserError(f"its label cannot be read: KeyError: {error}") from error
        except Exception as error:  # A user's own function.
            problem = f"{type(error).__name__}: {reason(error)}"
            raise UserError(f"its label cannot be read: {problem}") from error

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "label_spaces": self.label_spaces,
            "dataset": self._builder.info.full_name,
            "split": self._split,
            "images": len(self),
        } | self.describe_reading()

    def describe_reading(self, ids: Sequence[str] | None = None) -> dict[str, Any]:
        readings = {head: r.described for head, r in self._labels.items() if r.described}
        found = {"readings": readings} if readings else {}
        if self._bits is None:
            return found
        feature = self._builder.info.features[self._image]
        is_deep = np.dtype(feature.np_dtype) == np.uint16 and feature.shape[-1] in (3, 4)
        # 2: of several colors of 16 bits, too.
        return found | {"bits": self._bits} | ({"bits_version": 2} if is_deep else {})

    @functools.cached_property
    def _records(self) -> Records:
        records = Records([part.filename for part in self._instructions])
        if len(records) != self._firsts[-1]:
            raise DataError(
                f"{self._builder.data_path} holds {len(records)} records for split "
                f"{self._split!r}, its metadata have {self._firsts[-1]}"
            )
        return records

    def _where(self, index: int) -> str:
        return f"source {self.name!r}, image {index} ({self.image_id(index)})"

    def _example(self, index: int) -> "_Decoded":
        payload = self._records.read(int(self._positions[index]))
        return _Decoded(payload, self._features, f"source {self.name!r}, image {index}")


class _Decoded(Mapping):
    """The features of an example, each decoded on access.

    Attributes:
        where: names the example, for notices.
    """

    def __init__(
        self, payload: bytes, features: Mapping[str, tfds.features.FeaturesDict], where: str
    ):
        self._payload, self._features, self.where = payload, features, where

    def __getitem__(self, key: str) -> Any:
        alone = self._features[key]
        # TFDS's own decoding of pictures without OpenCV supports neither 16 bits nor gray JPEGs.
        if isinstance(alone[key], tfds.features.Image):
            return self._picture(key, alone[key])
        return alone.deserialize_example_np(self._payload)[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._features)

    def __len__(self) -> int:
        return len(self._features)

    def rgb(self, key: str, bits: int | None, notices: Notices) -> np.ndarray:
        """Return a feature that is an image as [h, w, 3] uint8; see images.rgb.

        Raises:
            TypeError, ValueError: it is none.
        """
        feature = self._features[key][key]
        if feature.np_dtype not in (np.uint8, np.uint16):
            raise ValueError(f"it is of {np.dtype(feature.np_dtype).name}")
        if isinstance(feature, tfds.features.Image):
            stored = self._stored(key)
            image = Image.open(io.BytesIO(stored))
        else:
            pixels, stored = self[key], b""
            if pixels.ndim == 3 and pixels.shape[2] == 1:
                pixels = pixels[:, :, 0]
            image = Image.fromarray(pixels)
        image, bits = pixel_bits.used(image, stored, self.where, bits=bits, notices=notices)
        return images.rgb(image, bits=bits)

    def _stored(self, key: str) -> bytes:
        stored = tf.train.Example.FromString(self._payload).features.feature[key]
        return stored.bytes_list.value[0]

    def _picture(self, key: str, feature: tfds.features.Image) -> np.ndarray:
        """Return a picture, [h, w, C], of the feature's dtype."""
        with Image.open(io.BytesIO(self._stored(key))) as image:
            if feature.shape[-1] == 3:
                return images.rgb(image)
            pixels = np.asarray(image)
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        if feature.np_dtype == np.float32:
            # TFDS stores the four bytes of a float as four colors.
            return np.ascontiguousarray(pixels).view(np.float32)
        return pixels.astype(feature.np_dtype, copy=False)


def _check_arguments(name: str, builder: Any, labels: Any) -> None:
    """Raise UserError where arguments of a source are of another kind."""
    where = f"source {name!r}"
    if not isinstance(builder, tfds.core.DatasetBuilder):
        raise UserError.of(
            where, "builder", builder, "expected tfds_builder(...) or tfds_folder(...)"
        )
    if not isinstance(labels, Mapping):
        raise UserError.of(where, "labels", labels, "expected {head: class_reading(...)}")
    for head, reading in labels.items():
        if not isinstance(reading, Reading) or not callable(reading.read):
            raise UserError(
                f"{where}: the label of head {head!r} is {reading!r}: expected "
                "labels={head: class_reading(...), map_reading(...), ... or a Reading}"
            )


def _instructions(builder: tfds.core.DatasetBuilder, split: str) -> list[Any]:
    """Return TFDS's (filename, skip, take, examples_in_shard) of every shard of a split."""
    info = builder.info
    where = f"{info.full_name} in {builder.data_path}"
    if not info.splits:
        raise UserError(f"{where} is not prepared: call download_and_prepare() first")
    if info.file_format != tfds.core.FileFormat.TFRECORD:
        raise UserError(f"{where} is stored as {info.file_format.value}, expected tfrecord")
    try:
        found = info.splits[split].file_instructions
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{where} has no split {split!r}; it has {', '.join(info.splits)} ({error})"
        ) from None
    if not found:
        raise UserError(f"split {split!r} of {where} is empty")
    return found


def _text(value: Any) -> str:
    value = np.asarray(value).item()
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
