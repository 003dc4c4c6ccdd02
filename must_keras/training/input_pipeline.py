"""The input of a training: batches from any step on, for every replica its share.

Inputs are images, or features that were computed once where they fit into memory.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from must_keras.data import mixing, pipeline
from must_keras.data.augmentation import WholeImages
from must_keras.data.equal_sources import taking_turns
from must_keras.data.ground_truth_share import interleaved
from must_keras.data.strong_views import StrongViews
from must_keras.errors import UserError
from must_keras.progress import track
from must_keras.tasks.base import Task
from must_keras.training.config import TrainingConfig
from must_keras.training.self_labeled import SelfLabeled, limits_of, streams_of
from must_keras.training.strategy import num_replicas

# Bytes of features and labels that a process may keep.
MAX_CACHE_BYTES = 2 * 2**30
# More steps than are ever read.
_ENDLESS = 2**31


class FeatureCache:
    """The features and labels of every view of some images, in memory.

    Args:
        examples: images with a stored label for every task.
        tasks: the heads.
        features: returns the features of a batch's inputs.
        views: which views of an image there are.
        size: pixels a side of the images.
        batch: images for which features are computed at once.
        title: beside the progress bar.

    Example:
        cache = FeatureCache(
            examples, tasks, lambda x: backbone(x["image"]), WholeImages(), size=64, batch=8,
            title="features",
        )
        pipeline = InputPipeline(examples, tasks, training, size=64, seed=0, cache=cache)

    """

    def __init__(
        self,
        examples: pipeline.Examples,
        tasks: Sequence[Task],
        features: Callable[[Mapping[str, tf.Tensor]], dict[str, tf.Tensor]],
        views: WholeImages,
        *,
        size: int,
        batch: int,
        title: str,
    ):
        self._number, self._views = len(examples), views
        options = {"size": size, "batch": batch, "ranges": [range(self._number)]}
        rows = []
        for mirror in (False, True) if views.mirror else (False,):
            batches = pipeline.evaluation_batches(examples, tasks, mirror=mirror, **options)
            for x, y in track(batches, title, len(batches)):
                keep, pair = y["index"] >= 0, (features(x), y["labels"])
                with tf.device("CPU"):
                    pair = tf.nest.map_structure(tf.identity, pair)
                rows.append(tf.nest.map_structure(lambda v, k=keep: tf.boolean_mask(v, k), pair))
        with tf.device("CPU"):
            self._kept = tf.nest.map_structure(lambda *some: tf.concat(some, axis=0), *rows)

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
        """Return data.pipeline.training_batches of the same images, with features for images."""
        own = batch // shares

        @tf.autograph.experimental.do_not_convert
        def row_at(place: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            index, key = pipeline.example_at(
                place, num_examples=self._number, seed=seed, batch=batch, share=share, shares=shares
            )
            second = tf.cast(self._views.is_mirrored(key), index.dtype)
            return index + second * self._number, key

        @tf.autograph.experimental.do_not_convert
        def look_up(rows: tf.Tensor, keys: tf.Tensor):
            x, labels = tf.nest.map_structure(lambda v: tf.gather(v, rows), self._kept)
            return x, {"labels": labels, "keys": keys}

        dataset = tf.data.Dataset.range(steps.start * own, steps.stop * own).map(row_at)
        dataset = dataset.batch(per_replica or own, drop_remainder=True)
        return pipeline.untuned(dataset.map(look_up).prefetch(2))


class InputPipeline:
    """Batches as functions of their step; see data.pipeline.training_batches.

    Args:
        examples: images with a stored label for every task; strong views and a share need their
            `has_ground_truth`, see data.examples.
        tasks: the heads.
        training: batch, steps, augmentation and mixing.
        size: pixels a side.
        seed: of order, views and sampling.
        make_views: makes inputs and labels of each image; None: one view with the augmentation.
        cache: features of the examples, in place of their images: without mixing, views of its
            own, strong views and a share.
        strong_views: changes of the images without ground truth.
        ground_truth_share: share of the images of a batch that have ground truth; None: all images
            are equally likely.
        equal_sources: whether every source has an equal share of a batch; needs the examples'
            `source_numbers`.
        self_labeled: heads whose streams are made, and whose sources are marked; those of some
            sources need the examples' `is_of`, see data.examples.

    Raises:
        UserError: a share is asked for, and all images have ground truth, or no image has; there
            are strong views, and all have; or a cache makes an option one without effect.

    Example:
        pipeline = InputPipeline(examples, tasks, training, size=64, seed=0)
        x, y = pipeline.batch_of(0)

    """

    def __init__(
        self,
        examples: pipeline.Examples,
        tasks: Sequence[Task],
        training: TrainingConfig,
        *,
        size: int,
        seed: int,
        make_views: pipeline.MakeViews | None = None,
        cache: FeatureCache | None = None,
        strong_views: StrongViews | None = None,
        ground_truth_share: float | None = None,
        self_labeled: Sequence[SelfLabeled] = (),
        equal_sources: bool = False,
    ):
        self._examples, self._training, self._seed = examples, training, seed
        if cache is not None:
            of_images = {"mixing": training.mixing, "make_views": make_views}
            of_images |= {"strong_views": strong_views, "ground_truth_share": ground_truth_share}
            of_images |= {"self_labeled": self_labeled, "equal_sources": equal_sources}
            _check_unused(of_images)
        order, recolor = pipeline.uniform_order(len(examples)), None
        if ground_truth_share is not None:
            order = interleaved(examples.has_ground_truth, ground_truth_share)
        if equal_sources:
            order = taking_turns(examples.source_numbers)
        if strong_views is not None:
            recolor = strong_views.unless(examples.has_ground_truth)
        make_batches, augmentation = pipeline.training_batches, training.augmentation
        views = make_views or pipeline.one_view(tasks, size=size, augmentation=augmentation)
        mix = mixing.mixer(training.mixing, examples, tasks)
        images = functools.partial(
            make_batches,
            examples,
            tuple(tasks),
            make_views=views,
            order=order,
            recolor=recolor,
            mix=mix,
            streams=streams_of(self_labeled),
            limits=limits_of(self_labeled, examples),
        )
        self._order = order
        batches = images if cache is None else cache.batches
        self._batches = functools.partial(batches, batch=training.batch, seed=seed)

    @functools.cached_property
    def _whole(self) -> tf.data.Dataset | tf.distribute.DistributedDataset:
        return self._build(0)

    def batches(self, first: int = 0) -> tf.data.Dataset | tf.distribute.DistributedDataset:
        """Return the batches of the steps from `first` on, for `fit` under the current strategy.

        Those of the whole training are built once.
        """
        return self._build(first) if first else self._whole

    def batch_of(self, step: int) -> tuple[dict[str, tf.Tensor], dict[str, Any]]:
        """Return the batch, over all replicas, of optimizer step `step` (the first is 0)."""
        return next(iter(self._batches(steps=range(step, step + 1))))

    def inputs(self) -> Iterator[dict[str, tf.Tensor]]:
        """Yield the inputs of each step, over all replicas, from the first one on; without end."""
        for x, _ in self._batches(steps=range(_ENDLESS)):
            yield x

    def ids_of(self, step: int) -> list[str]:
        """Return the ids of the images of that batch, without the partners of mixed ones."""
        batch = self._training.batch
        positions = tf.range(step * batch, (step + 1) * batch, dtype=tf.int64)
        places = [self._order(position, self._seed) for position in positions]
        return [self._examples.image_id(int(place)) for place in places]

    def _build(self, first: int) -> tf.data.Dataset | tf.distribute.DistributedDataset:
        steps, replicas = range(first, self._training.steps), num_replicas()
        per_replica = self._training.batch // replicas
        own = functools.partial(self._batches, steps=steps, per_replica=per_replica)
        if replicas == 1:
            return own()
        return tf.distribute.get_strategy().distribute_datasets_from_function(
            lambda context: own(share=context.input_pipeline_id, shares=context.num_input_pipelines)
        )


def _check_unused(options: Mapping[str, Any]) -> None:
    """Raise UserError where an option of images is given for cached features."""
    for name, value in options.items():
        if value:
            problem = "features of whole images are cached, which it cannot change; remove it"
            raise UserError(f"the input: {name}: {problem}", key=name, value=value)
