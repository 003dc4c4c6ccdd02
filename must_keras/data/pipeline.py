"""From sources to batches: which example comes when, decoded, seen through one view, batched.

The order is a function of (seed, position) alone, so that a run can start at any step without
reading what came before.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from must_keras.data.augmentation import Augmentation, WholeImages
from must_keras.errors import DataError, UserError
from must_keras.ops import keyed_random
from must_keras.ops.resampling import sample_array
from must_keras.ops.views import View, letterbox, mirrored, visible_area
from must_keras.tasks.base import Spec, Task

# RGB mean of ImageNet's training images: the color of padding.
MEAN_COLOR = (123.675, 116.28, 103.53)
PADDING = tuple(map(round, MEAN_COLOR))
_PARALLEL_READS = 4


# What is made of an image in training: called with the image [h, w, 3] uint8, {head: stored label}
# and the draws' key (int32 scalar), it gives the network's inputs and {head: label}.
Look = Callable[
    [tf.Tensor, Mapping[str, Any], tf.Tensor],
    tuple[dict[str, tf.Tensor], dict[str, dict[str, tf.Tensor]]],
]


class Examples(Protocol):
    """Random access to images with a stored label for every head."""

    def __len__(self) -> int: ...

    def load(self, index: int) -> tuple[np.ndarray, dict[str, dict[str, np.ndarray]]]:
        """[h, w, 3] uint8, and {head: stored label} with exactly the heads asked for."""

    def image_id(self, index: int) -> str:
        """What a person calls it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Reader:
    """Reads examples as the flat lists of arrays that tf.numpy_function wants."""

    examples: Examples
    tasks: tuple[Task, ...]
    parts: tuple[tuple[str, str, Spec], ...]

    @classmethod
    def create(cls, examples: Examples, tasks: Sequence[Task]) -> _Reader:
        return cls(
            examples=examples,
            tasks=tuple(tasks),
            parts=tuple(
                (task.name, key, spec)
                for task in tasks
                for key, spec in sorted(task.stored_spec().items())
            ),
        )

    def read(self, index: tf.Tensor) -> tuple[tf.Tensor, dict[str, dict[str, tf.Tensor]]]:
        def load(i: np.int64) -> list[np.ndarray]:
            image, stored = self.examples.load(int(i))
            labels = {task.name: task.compact(stored[task.name]) for task in self.tasks}
            flat = [np.asarray(labels[head][key], spec.dtype) for head, key, spec in self.parts]
            return [np.ascontiguousarray(image), *flat]

        dtypes = [tf.uint8, *(tf.as_dtype(spec.dtype) for _, _, spec in self.parts)]
        image, *flat = tf.numpy_function(load, [index], dtypes, stateful=False)
        image.set_shape((None, None, 3))
        labels: dict[str, dict[str, tf.Tensor]] = {}
        for (head, key, spec), tensor in zip(self.parts, flat, strict=True):
            tensor.set_shape(spec.shape)
            labels.setdefault(head, {})[key] = tensor
        return image, labels


@contextlib.contextmanager
def errors_of_sources() -> Iterator[None]:
    """Turns what TensorFlow makes of a source's UserError or DataError into that error again."""
    try:
        yield
    except tf.errors.OpError as error:
        for kind in (UserError, DataError):
            found = re.search(rf"\b{kind.__name__}: (.*)", error.message)
            if found:
                raise kind(found[1]) from None
        raise


def see(image: tf.Tensor, view: View) -> tf.Tensor:
    """An image through a view: [H, W, 3] uint8; see "averaged" in `resampling.sample_array`.

    Images are whole numbers until a network's input layer: what is sampled is rounded once.
    """

    def run(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        return sample_array(image, matrix, view.size, interpolation="averaged", fill=PADDING)

    seen = tf.numpy_function(run, [image, view.matrix], tf.uint8, stateful=False)
    return tf.ensure_shape(seen, (*view.size, 3))


def _example(
    image: tf.Tensor,
    stored: Mapping[str, Any],
    view: View,
    tasks: Sequence[Task],
) -> tuple[dict[str, tf.Tensor], dict[str, dict[str, tf.Tensor]]]:
    labels = {}
    for task in tasks:
        label = task.warp(stored[task.name], view)
        spec = task.label_spec(view.size)
        labels[task.name] = {k: tf.ensure_shape(label[k], spec[k].shape) for k in spec}
    return {"image": see(image, view), "area": visible_area(view)}, labels


def shuffled(position: tf.Tensor, *, num_examples: int, seed: int) -> tf.Tensor:
    """The example at a position of an endless stream: every epoch is another permutation.

    Args:
        position: int64 scalar, 0 and up.
        num_examples: of one epoch.
        seed: of the stream.
    """
    epoch, place = position // num_examples, position % num_examples
    key = tf.cast(tf.stack([tf.cast(seed, tf.int64), epoch]), tf.int32)
    return tf.random.experimental.index_shuffle(place, key, num_examples - 1)


def one_view(tasks: Sequence[Task], *, size: int, augmentation: Augmentation | WholeImages) -> Look:
    """One view of an image and of all its labels: inputs {"image", "area"}.

    Args:
        tasks: the heads.
        size: pixels a side.
        augmentation: views and colors.
    """

    def look(image: tf.Tensor, stored: Mapping[str, Any], key: tf.Tensor) -> Any:
        view = augmentation.view(tf.shape(image)[:2], (size, size), key)
        x, labels = _example(image, stored, view, tasks)
        return x | {"image": augmentation.colors(x["image"], key)}, labels

    return look


def drawn(
    place: tf.Tensor, *, num_examples: int, seed: int, batch: int, share: int, shares: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """The example at a place of one machine's stream, and the key, int32, of its random numbers.

    Args:
        place: int64 scalar, 0 and up, in the machine's own part of the endless stream.
        num_examples: of one epoch.
        seed: of the stream.
        batch: images of a step, over all machines.
        share: which machine's part of every batch.
        shares: number of machines.
    """
    own = batch // shares
    position = place // own * batch + share * own + place % own
    stream = keyed_random.fold(tf.constant([seed], tf.int32), 1)
    key = keyed_random.fold(keyed_random.fold(stream, position // 2**31), position % 2**31)[0]
    return shuffled(position, num_examples=num_examples, seed=seed), key


def training_batches(
    examples: Examples,
    tasks: Sequence[Task],
    *,
    look: Look,
    batch: int,
    seed: int,
    steps: range,
    share: int = 0,
    shares: int = 1,
    per_replica: int | None = None,
) -> tf.data.Dataset:
    """Batches for optimizer steps `steps.start` to `steps.stop` - 1, or one machine's share.

    Args:
        examples: images with a stored label for every task.
        tasks: the heads.
        look: what is made of each image.
        batch: images of a step, over all machines.
        seed: of order, views and sampling.
        steps: the optimizer steps.
        share: which machine's part of every batch.
        shares: number of machines.
        per_replica: a machine's part comes as batches of so many images; None: as one.

    Returns:
        A dataset of (inputs, {"labels": {head: label}, "keys": [B] int32}).
    """
    reader = _Reader.create(examples, tasks)
    own = batch // shares

    @tf.autograph.experimental.do_not_convert
    def build(place: tf.Tensor):
        index, key = drawn(
            place,
            num_examples=len(examples),
            seed=seed,
            batch=batch,
            share=share,
            shares=shares,
        )
        image, stored = reader.read(index)
        x, labels = look(image, stored, key)
        return x, {"labels": labels, "keys": key}

    dataset = tf.data.Dataset.range(steps.start * own, steps.stop * own)
    dataset = dataset.map(build, num_parallel_calls=_PARALLEL_READS, deterministic=True)
    return untuned(dataset.batch(per_replica or own, drop_remainder=True).prefetch(2))


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The same without the thread that tunes it: all numbers are given, so it has nothing to do.

    It can outlast the last batch by many seconds: see FittedModel.release_input.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def images_in_sizes(
    examples: Examples, *, sizes: Sequence[int], batch: int, ranges: Sequence[range]
) -> tf.data.Dataset:
    """As `evaluation_batches` of images alone, each decoded once for inputs of several sizes.

    Args:
        examples: images.
        sizes: of the networks' inputs.
        batch: images of a batch: all batches are of one shape.
        ranges: of indices; no batch holds images of two.

    Returns:
        A dataset of (({"image", "area"} of each size), [B] int64); an index of -1 is a filler.
    """
    reader = _Reader.create(examples, [])

    @tf.autograph.experimental.do_not_convert
    def build(place: tf.Tensor):
        image, _ = reader.read(tf.maximum(place, 0))
        views = [letterbox(tf.shape(image)[:2], (size, size)) for size in sizes]
        return tuple({"image": see(image, v), "area": visible_area(v)} for v in views), place

    return _whole_batches(build, batch, ranges)


def evaluation_batches(
    examples: Examples,
    tasks: Sequence[Task],
    *,
    size: int,
    batch: int,
    ranges: Sequence[range],
    mirror: bool = False,
) -> tf.data.Dataset:
    """The whole of each image, letterboxed, in order; the last batch of a range is filled up.

    Args:
        examples: images with a stored label for every task.
        tasks: the heads.
        size: of the network's input.
        batch: images of a batch: all batches are of one shape.
        ranges: of indices; no batch holds images of two.
        mirror: whether all images are mirrored left to right.

    Returns:
        A dataset of ({"image", "area"}, {"labels": {head: label}, "index": [B] int64}); an index
        of -1 marks a filler.
    """
    reader = _Reader.create(examples, tasks)

    @tf.autograph.experimental.do_not_convert
    def build(place: tf.Tensor):
        index = tf.maximum(place, 0)
        image, stored = reader.read(index)
        view = letterbox(tf.shape(image)[:2], (size, size))
        x, labels = _example(image, stored, mirrored(view) if mirror else view, tasks)
        return x, {"labels": labels, "index": place}

    return _whole_batches(build, batch, ranges)


def _whole_batches(
    build: Callable[[tf.Tensor], Any], batch: int, ranges: Sequence[range]
) -> tf.data.Dataset:
    """Batches of one shape of what is built for each index; the last of a range is filled up."""
    places = [np.arange(r.start, r.start + -(-len(r) // batch) * batch) for r in ranges]
    places = [np.where(p < r.stop, p, -1) for p, r in zip(places, ranges, strict=True)]
    dataset = tf.data.Dataset.from_tensor_slices(np.concatenate(places).astype(np.int64))
    dataset = dataset.map(build, num_parallel_calls=_PARALLEL_READS, deterministic=True)
    return untuned(dataset.batch(batch, drop_remainder=True).prefetch(2))
