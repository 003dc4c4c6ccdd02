"""From examples to batches: which example comes when, read, seen through its views, batched.

The order is a function of (seed, position) alone, so that a run can start at any step without
reading the examples before it. `training.input_pipeline` builds the batches of a training from
`training_batches`; scoring and labeling use `evaluation_batches` and `images_in_sizes`.
"""

import contextlib
import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from must_keras.data.augmentation import Augmentation, WholeImages
from must_keras.errors import DataError, UserError
from must_keras.ops import sampling
from must_keras.ops.letterboxing import PADDING_COLOR, letterbox
from must_keras.ops.resampling import sample_array
from must_keras.ops.views import View, mirrored, visible_area
from must_keras.tasks.base import Task
from must_keras.tasks.parts import Spec
from must_keras.tasks.streams import Stream, make_all

_PARALLEL_READS = 4

# {head: label}, as tensors.
Labels = dict[str, dict[str, tf.Tensor]]
# What one step of a network consumes: its inputs, and {"labels": {head: label}, "keys": [B] int32
# or "index": [B] int64}; and of heads that do not learn from all sources "kept": {head: [B] bool}.
TrainingBatch = tuple[dict[str, tf.Tensor], dict[str, Any]]
# What is seen of one example: inputs, and {head: label}.
Example = tuple[dict[str, tf.Tensor], Labels]
# Makes the inputs and {head: label} of one example from the image [h, w, 3] uint8, {head: stored
# label} and the key of its random numbers, an int32 scalar.
MakeViews = Callable[[tf.Tensor, Mapping[str, Any], tf.Tensor], Example]
# Returns the example, an int64 scalar, at a position of the endless stream with a seed.
Order = Callable[[tf.Tensor, int], tf.Tensor]
# Changes an image [H, W, 3] uint8, given its example and the key of its random numbers.
Recolor = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
# Combines an example with its partner, which the second argument reads; then the key of the
# example's random numbers, and the indices of both: see data.mixing.
Mix = Callable[[Example, Callable[[], Example], tf.Tensor, tuple[tf.Tensor, tf.Tensor]], Example]


class Examples(Protocol):
    """Random access to images with a stored label for every head.

    Example:
        image, labels = examples.load(0)
        image.shape, labels["surfaces"]["map"].shape
    """

    def __len__(self) -> int: ...

    def load(self, index: int) -> tuple[np.ndarray, dict[str, dict[str, np.ndarray]]]:
        """Return the image, [h, w, 3] uint8, and {head: stored label} of exactly the heads."""

    def image_id(self, index: int) -> str:
        """Return the image's name for messages."""


# ---- one example ---------------------------------------------------------------------------------


def _read(examples: Examples, tasks: Sequence[Task], index: tf.Tensor) -> tuple[tf.Tensor, Labels]:
    """Return the image and {head: stored label} of an example."""
    parts: list[tuple[str, str, Spec]] = [
        (task.name, key, spec)
        for task in tasks
        for key, spec in sorted(task.labels.stored_spec().items())
    ]

    # A flat list of arrays is what tf.numpy_function returns.
    def load(i: np.int64) -> list[np.ndarray]:
        image, stored = examples.load(int(i))
        labels = {task.name: task.labels.compact(stored[task.name]) for task in tasks}
        flat = [np.asarray(labels[head][key], spec.dtype) for head, key, spec in parts]
        return [np.ascontiguousarray(image), *flat]

    dtypes = [tf.uint8, *(tf.as_dtype(spec.dtype) for _, _, spec in parts)]
    image, *flat = tf.numpy_function(load, [index], dtypes, stateful=False)
    image.set_shape((None, None, 3))
    labels: Labels = {}
    for (head, key, spec), tensor in zip(parts, flat, strict=True):
        tensor.set_shape(spec.shape)
        labels.setdefault(head, {})[key] = tensor
    return image, labels


@contextlib.contextmanager
def errors_of_sources() -> Iterator[None]:
    """Raise a source's UserError or DataError again from the error that TensorFlow made of it."""
    try:
        yield
    except tf.errors.OpError as error:
        for kind in (UserError, DataError):
            found = re.search(rf"\b{kind.__name__}: (.*)", error.message)
            if found:
                raise kind(found[1]) from None
        raise


def sample_image(image: tf.Tensor, view: View) -> tf.Tensor:
    """Sample an image through a view: [H, W, 3] uint8; see "averaged" in `sample_array`.

    Images are whole numbers until a network's input layer: samples are rounded once.
    """

    def run(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        return sample_array(image, matrix, view.size, interpolation="averaged", fill=PADDING_COLOR)

    sampled = tf.numpy_function(run, [image, view.matrix], tf.uint8, stateful=False)
    return tf.ensure_shape(sampled, (*view.size, 3))


@functools.lru_cache(maxsize=64)
def _warp(task: Task, size: tuple[int, int], axis_aligned: bool) -> Callable[..., Any]:
    """Return `task.labels.warp` of (stored label, matrix of the view), traced once.

    A trace takes up to a second, and every stage reads several datasets.
    """
    specs = task.labels.stored_spec().items()
    stored = {key: tf.TensorSpec(spec.shape, spec.dtype) for key, spec in specs}

    def warp(stored: Mapping[str, tf.Tensor], matrix: tf.Tensor) -> Any:
        view = View(matrix=matrix, size=size, axis_aligned=axis_aligned)
        return task.labels.warp(stored, view)

    signature = [stored, tf.TensorSpec((2, 3), tf.float32)]
    return tf.function(warp, input_signature=signature, autograph=False)


def _through(
    view: View, image: tf.Tensor, stored: Mapping[str, Any], tasks: Sequence[Task]
) -> tuple[dict[str, tf.Tensor], Labels]:
    """Return the inputs {"image", "area"} and {head: label} of an example through one view."""
    labels = {}
    for task in tasks:
        warp = _warp(task, view.size, view.axis_aligned)
        label = warp(stored[task.name], view.matrix)
        spec = task.labels.spec(view.size)
        labels[task.name] = {k: tf.ensure_shape(label[k], spec[k].shape) for k in spec}
    return {"image": sample_image(image, view), "area": visible_area(view)}, labels


def one_view(
    tasks: Sequence[Task], *, size: int, augmentation: Augmentation | WholeImages
) -> MakeViews:
    """Return what makes one view of an image and all its labels: inputs {"image", "area"}.

    Args:
        tasks: the heads.
        size: pixels a side.
        augmentation: views and colors.
    """

    def make(image: tf.Tensor, stored: Mapping[str, Any], key: tf.Tensor) -> Any:
        view = augmentation.view(tf.shape(image)[:2], (size, size), key)
        x, labels = _through(view, image, stored, tasks)
        return x | {"image": augmentation.colors(x["image"], key)}, labels

    return make


def unlabeled(task: Task, size: tuple[int, int]) -> dict[str, tf.Tensor]:
    """Return the label of an image of (H, W) pixels in which nothing is labeled."""
    whole = tf.constant([[1.0 / size[0], 0.0, 0.0], [0.0, 1.0 / size[1], 0.0]])
    return _warp(task, size, True)(task.labels.missing(), whole)


# ---- the order of the stream ---------------------------------------------------------------------


def shuffled(position: tf.Tensor, *, num_examples: int, seed: int) -> tf.Tensor:
    """Return the example at a position of an endless stream: every epoch is another permutation.

    Args:
        position: int64 scalar, 0 and up.
        num_examples: of one epoch.
        seed: of the stream.
    """
    epoch, place = position // num_examples, position % num_examples
    key = tf.cast(tf.stack([tf.cast(seed, tf.int64), epoch]), tf.int32)
    return tf.random.experimental.index_shuffle(place, key, num_examples - 1)


def uniform_order(num_examples: int) -> Order:
    """Return the order in which all of so many examples are equally likely: see `shuffled`."""
    return lambda position, seed: shuffled(position, num_examples=num_examples, seed=seed)


def example_at(
    place: tf.Tensor,
    *,
    num_examples: int,
    seed: int,
    batch: int,
    share: int,
    shares: int,
    order: Order | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the example at a place of one machine's stream, and its key of random numbers, int32.

    Args:
        place: int64 scalar, 0 and up, in the machine's own share of the endless stream.
        num_examples: of one epoch.
        seed: of the stream.
        batch: images of a step, over all machines.
        share: which machine's share of every batch.
        shares: number of machines.
        order: of the stream; None: `shuffled`.
    """
    own = batch // shares
    position = place // own * batch + share * own + place % own
    stream = sampling.fold(tf.constant([seed], tf.int32), 1)
    key = sampling.fold(sampling.fold(stream, position // 2**31), position % 2**31)[0]
    order = order or uniform_order(num_examples)
    return order(position, seed), key


# ---- batches -------------------------------------------------------------------------------------


def training_batches(
    examples: Examples,
    tasks: Sequence[Task],
    *,
    make_views: MakeViews,
    mix: Mix | None = None,
    batch: int,
    seed: int,
    steps: range,
    share: int = 0,
    shares: int = 1,
    per_replica: int | None = None,
    order: Order | None = None,
    recolor: Recolor | None = None,
    streams: Sequence[Stream] = (),
    limits: Mapping[str, np.ndarray] | None = None,
) -> tf.data.Dataset:
    """Return the batches of optimizer steps `steps`, or one machine's share of them.

    Args:
        examples: images with a stored label for every task.
        tasks: the heads.
        make_views: makes inputs and labels of each example.
        mix: combines examples with their partners, at the same place of a stream with another seed
            and the same order; None: examples stay as they are.
        batch: images of a step, over all machines.
        seed: of order, views and sampling.
        steps: the optimizer steps.
        share: which machine's share of every batch.
        shares: number of machines.
        per_replica: a machine's share comes as batches of so many images; None: as one.
        order: of the examples; None: `shuffled`.
        recolor: changes the input "image" after `make_views`; None: it stays.
        streams: further views of each example, made of what `make_views` returns.
        limits: {head: [N] bool, the examples that it learns from}, of heads that do not learn from
            all.

    Returns:
        A dataset of `TrainingBatch`: (inputs, {"labels": {head: label}, "keys": [B] int32}).
    """
    own, number = batch // shares, len(examples)
    with tf.device("CPU"):
        flags = {head: tf.constant(learned) for head, learned in (limits or {}).items()}

    def at(place: tf.Tensor, seed: int) -> tuple[tf.Tensor, tf.Tensor]:
        return example_at(
            place,
            num_examples=number,
            seed=seed,
            batch=batch,
            share=share,
            shares=shares,
            order=order,
        )

    def see(index: tf.Tensor, key: tf.Tensor) -> Example:
        image, stored = _read(examples, tasks, index)
        x, labels = make_views(image, stored, key)
        x = x | make_all(streams, image, x, key)
        if recolor is not None:
            x = x | {"image": recolor(x["image"], index, key)}
        return x, labels

    def build(place: tf.Tensor) -> TrainingBatch:
        index, key = at(place, seed)
        x, labels = see(index, key)
        if mix is not None:
            partner, its_key = at(place, sampling.derived_seed(seed, "partners"))
            x, labels = mix((x, labels), lambda: see(partner, its_key), key, (index, partner))
        kept = {"kept": {head: learned[index] for head, learned in flags.items()}} if flags else {}
        return x, {"labels": labels, "keys": key} | kept

    places = tf.data.Dataset.range(steps.start * own, steps.stop * own)
    return _batched(places, build, per_replica or own)


def images_in_sizes(
    examples: Examples, *, sizes: Sequence[int], batch: int, ranges: Sequence[range]
) -> tf.data.Dataset:
    """Return `evaluation_batches` of images alone, each decoded once for inputs of several sizes.

    Args:
        examples: images.
        sizes: of the networks' inputs.
        batch: images of a batch: all batches are of one shape.
        ranges: of indices; no batch contains images of two.

    Returns:
        A dataset of (({"image", "area"} of each size), [B] int64); an index of -1 is a filler.
    """

    def build(place: tf.Tensor) -> Any:
        image, _ = _read(examples, (), tf.maximum(place, 0))
        views = [letterbox(tf.shape(image)[:2], (size, size)) for size in sizes]
        return tuple(_through(view, image, {}, ())[0] for view in views), place

    return _batched(_places(batch, ranges), build, batch)


def evaluation_batches(
    examples: Examples,
    tasks: Sequence[Task],
    *,
    size: int,
    batch: int,
    ranges: Sequence[range],
    mirror: bool = False,
    streams: Sequence[Stream] = (),
) -> tf.data.Dataset:
    """Return the whole of each image, letterboxed, in order; the last batch of a range is filled.

    Args:
        examples: images with a stored label for every task.
        tasks: the heads.
        size: of the network's input.
        batch: images of a batch: all batches are of one shape.
        ranges: of indices; no batch contains images of two.
        mirror: whether all images are mirrored left to right.
        streams: further views of each image, whose key is its index.

    Returns:
        A dataset of `TrainingBatch`: ({"image", "area"}, {"labels": {head: label}, "index": [B]
        int64}); an index of -1 marks a filler.
    """

    def build(place: tf.Tensor) -> TrainingBatch:
        image, stored = _read(examples, tasks, tf.maximum(place, 0))
        view = letterbox(tf.shape(image)[:2], (size, size))
        x, labels = _through(mirrored(view) if mirror else view, image, stored, tasks)
        x = x | make_all(streams, image, x, tf.cast(place, tf.int32))
        return x, {"labels": labels, "index": place}

    return _batched(_places(batch, ranges), build, batch)


def _places(batch: int, ranges: Sequence[range]) -> tf.data.Dataset:
    """Return the indices of ranges, each filled up with -1 to whole batches."""
    places = [np.arange(r.start, r.start + -(-len(r) // batch) * batch) for r in ranges]
    places = [np.where(p < r.stop, p, -1) for p, r in zip(places, ranges, strict=True)]
    return tf.data.Dataset.from_tensor_slices(np.concatenate(places).astype(np.int64))


def _batched(
    places: tf.data.Dataset, build: Callable[[tf.Tensor], Any], batch: int
) -> tf.data.Dataset:
    """Return batches, all of one shape, of what is built for each place."""
    build = tf.autograph.experimental.do_not_convert(build)
    built = places.map(build, num_parallel_calls=_PARALLEL_READS, deterministic=True)
    return untuned(built.batch(batch, drop_remainder=True).prefetch(2))


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Return a data set without the thread that tunes it, which all given numbers leave idle.

    It can outlast the last batch by many seconds: see FittedModel.release_input.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
