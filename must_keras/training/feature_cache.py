"""Features of whole images that are computed once, where they fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from must_keras.data.augmentation import WholeImages
from must_keras.data.pipeline import Examples, drawn, evaluation_batches, untuned
from must_keras.progress import track
from must_keras.tasks.base import Task

# Bytes of features and labels that a process may keep.
MOST_BYTES = 2 * 2**30


class FeatureCache:
    """The inputs and labels of every view of some images, in memory.

    Args:
        examples: images with a stored label for every task.
        tasks: the heads.
        features: from a batch's inputs to what is kept.
        views: which views an image has.
        size: pixels a side of the images.
        batch: images for which features are computed at once.
        title: beside the progress bar.
    """

    def __init__(
        self,
        examples: Examples,
        tasks: Sequence[Task],
        features: Callable[[Mapping[str, tf.Tensor]], dict[str, tf.Tensor]],
        views: WholeImages,
        *,
        size: int,
        batch: int,
        title: str,
    ):
        self._number, self._views = len(examples), views
        rows = []
        for mirror in (False, True) if views.mirror else (False,):
            batches = evaluation_batches(
                examples, tasks, size=size, batch=batch, ranges=[range(self._number)], mirror=mirror
            )
            for x, y in track(batches, title, len(batches)):
                keep = y["index"] >= 0
                pair = (features(x), y["labels"])
                rows.append(
                    tf.nest.map_structure(lambda v, k=keep: tf.boolean_mask(_on_host(v), k), pair)
                )
        with tf.device("CPU"):
            self._kept = tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *rows)

    def batches(
        self,
        *,
        batch: int,
        seed: int,
        steps: range,
        share: int = 0,
        shares: int = 1,
        per_replica: int | None = None,
    ) -> tf.data.Dataset:
        """As data.pipeline.training_batches of the same images and views, features for images."""
        own = batch // shares

        @tf.autograph.experimental.do_not_convert
        def draw(place: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            index, key = drawn(
                place, num_examples=self._number, seed=seed, batch=batch, share=share, shares=shares
            )
            second = tf.cast(self._views.is_mirrored(key), index.dtype)
            return index + second * self._number, key

        @tf.autograph.experimental.do_not_convert
        def look_up(rows: tf.Tensor, keys: tf.Tensor):
            x, labels = tf.nest.map_structure(lambda v: tf.gather(v, rows), self._kept)
            return x, {"labels": labels, "keys": keys}

        dataset = tf.data.Dataset.range(steps.start * own, steps.stop * own).map(draw)
        dataset = dataset.batch(per_replica or own, drop_remainder=True)
        return untuned(dataset.map(look_up).prefetch(2))


def _on_host(value: tf.Tensor) -> tf.Tensor:
    with tf.device("CPU"):
        return tf.identity(value)
