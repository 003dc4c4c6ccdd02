"""The input of a training run, from any step on, for every replica its share."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from must_keras.data.pipeline import Examples, Look, one_view, shuffled, training_batches
from must_keras.tasks.base import Task
from must_keras.training.config import TrainingConfig
from must_keras.training.feature_cache import FeatureCache
from must_keras.training.strategy import num_replicas


class InputPipeline:
    """Batches as functions of their step; see data.pipeline.training_batches.

    Args:
        examples: images with a stored label for every task.
        tasks: the heads.
        training: batch, steps and augmentation.
        size: pixels a side.
        seed: of order, views and sampling.
        look: what is made of each image; None: one view, as the augmentation says.
        cache: features of the examples, which stand for their images.
    """

    def __init__(
        self,
        examples: Examples,
        tasks: Sequence[Task],
        training: TrainingConfig,
        *,
        size: int,
        seed: int,
        look: Look | None = None,
        cache: FeatureCache | None = None,
    ):
        self._examples, self._tasks, self._training = examples, tuple(tasks), training
        self._look = look or one_view(tasks, size=size, augmentation=training.augmentation)
        self._seed, self._cache = seed, cache
        self._whole: Any = None

    def batches(self, first: int = 0) -> tf.data.Dataset | tf.distribute.DistributedDataset:
        """The batches of the steps from `first` on, for `fit` under the current strategy.

        The whole run's are built once.
        """
        if first:
            return self._build(first)
        if self._whole is None:
            self._whole = self._build(0)
        return self._whole

    def batch_of(self, step: int) -> tuple[dict[str, tf.Tensor], dict[str, Any]]:
        """The whole batch, over all replicas, of optimizer step `step` (the first is 0)."""
        return next(iter(self._shares(range(step, step + 1), 0, 1, self._training.batch)))

    def ids_of(self, step: int) -> list[str]:
        """The ids of the images of that batch."""
        batch, number = self._training.batch, len(self._examples)
        places = [
            int(shuffled(tf.constant(p, tf.int64), num_examples=number, seed=self._seed))
            for p in range(step * batch, (step + 1) * batch)
        ]
        return [self._examples.image_id(place) for place in places]

    def _build(self, first: int) -> tf.data.Dataset | tf.distribute.DistributedDataset:
        steps, replicas = range(first, self._training.steps), num_replicas()
        per_replica = self._training.batch // replicas
        if replicas == 1:
            return self._shares(steps, 0, 1, per_replica)
        return tf.distribute.get_strategy().distribute_datasets_from_function(
            lambda c: self._shares(steps, c.input_pipeline_id, c.num_input_pipelines, per_replica)
        )

    def _shares(self, steps: range, share: int, shares: int, per_replica: int) -> tf.data.Dataset:
        if self._cache is not None:
            batches = self._cache.batches
        else:
            batches = functools.partial(
                training_batches, self._examples, self._tasks, look=self._look
            )
        return batches(
            batch=self._training.batch,
            seed=self._seed,
            steps=steps,
            share=share,
            shares=shares,
            per_replica=per_replica,
        )
